"""The version of the package, which its core carries."""

from clusterbus._core import __version__

__all__ = ["__version__"]
