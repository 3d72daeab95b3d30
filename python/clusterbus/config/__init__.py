"""Configuration: valkey.conf's directives as one table, and `Config`, which holds their values.

Imports nothing of the package but `errors`. Owned by the main thread: read anywhere on it, changed through
`Config`.
"""

from clusterbus.config.address import BindAddress, address_text
from clusterbus.config.config import Config
from clusterbus.config.directives import BY_NAME, DIRECTIVES, Directive

__all__ = ["BY_NAME", "DIRECTIVES", "BindAddress", "Config", "Directive", "address_text"]
