"""What `failover/epoch_bound` remembers of epochs. Data alone. Main thread."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class EpochBound:
    """`base`: the greatest epoch that was known at `since_ms`; one member's word counts up to so much above it.
    `claims`: by node id, the greatest epoch that was not believed in its last packet, and when it came.

    Invariant: `claims` has at most one entry for each known node, but for nodes that are gone since the last second.
    """

    base: int = 0
    since_ms: int = 0
    claims: dict[str, tuple[int, int]] = field(default_factory=dict)

    def forget(self) -> None:
        """The epochs that are known have changed by no packet: they are measured anew when it matters."""
        self.base = self.since_ms = 0
        self.claims.clear()
