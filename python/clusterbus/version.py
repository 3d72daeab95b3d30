"""The version of the package, as compiled into its core."""

from clusterbus._core import __version__

__all__ = ["__version__"]
