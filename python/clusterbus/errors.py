"""The errors that a user of clusterbus can meet, sorted by whose fault they are.

An argument of a wrong type is none of them: it raises TypeError, as Python itself does (`arguments`).

Peer input never raises into user code. PeerError belongs to `clusterbus.wire`, where the caller hands in bytes and asks
to have them read. The Rust core raises these same classes.
"""

from __future__ import annotations

from collections.abc import Mapping


class ClusterBusError(Exception):
    """Base of every error this package raises on purpose."""


class PeerError(ClusterBusError):
    """A peer's bytes break the protocol; the text names the offset and the field."""


class ConfigError(ClusterBusError):
    """A directive, a file or an argument is wrong; the text names it, with file and line where there are any."""


class StateError(ClusterBusError):
    """The call does not fit the present state: a closed engine, an unknown node, a slot that has an owner already."""


class JoinError(ClusterBusError, TimeoutError):
    """No seed could be joined in time; `reasons` says of each seed why."""

    def __init__(self, reasons: Mapping[str, str], timeout_s: float) -> None:
        self.reasons = dict(reasons)
        told = "; ".join(f"{seed}: {reason}" for seed, reason in self.reasons.items())
        super().__init__(f"no seed was joined within {timeout_s:g} s: {told}")


class InvariantError(ClusterBusError):
    """A simulated cluster broke a rule of the protocol; the text names virtual time, rule and node."""
