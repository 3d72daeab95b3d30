"""The errors a user of clusterbus can meet, sorted by whose fault they are.

Peer input never raises into user code: PeerError is for `clusterbus.wire`, where the caller hands bytes in
and asks for them to be read. The Rust core imports these classes; nothing else defines exceptions.
"""


class ClusterBusError(Exception):
    """Base of every error this package raises on purpose."""


class PeerError(ClusterBusError):
    """Bytes of a peer break the protocol; the text names the offset and the field."""


class ConfigError(ClusterBusError):
    """A directive, a file or an argument is wrong; the text names it, and the file and line if there is one."""


class StateError(ClusterBusError):
    """The call does not fit the present state (a closed engine, an unknown node, a slot already taken)."""


class InvariantError(ClusterBusError):
    """A simulated cluster broke a rule of the protocol; the text names virtual time, rule and node."""
