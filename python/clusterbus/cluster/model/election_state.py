"""What a node remembers of its own election, of a manual failover, and of epochs that others claim: plain data.

Owns the fields alone; the rules are in `election`, `manual_failover`, `replication`, `handover` and `epoch_bound`.
`Core` has one of each, and replaces it by a new one when it is over. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbus.cluster.model.node import Node


@dataclass(slots=True)
class Election:
    """An election of this node: planned, under way or over.

    `start_ms` is the time of the vote request, past or planned; None if no election is planned. `rank` and `shard_rank`
    lengthened the delay. Once `is_requested` these count: `epoch`, `voters` (the ids of those who voted for us in it)
    and `quorum` (the votes needed at the time of the request). `is_over`: won or lost, and reported. `blocked_reason`
    is the reason logged last why there is no failover.
    """

    start_ms: int | None = None
    rank: int = 0
    shard_rank: int = 0
    is_requested: bool = False
    is_over: bool = False
    epoch: int = 0
    voters: set[str] = field(default_factory=set)
    quorum: int = 0
    blocked_reason: str = ""
    blocked_logged_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Whether votes still count."""
        return self.is_requested and not self.is_over


@dataclass(slots=True)
class ManualFailover:
    """A manual failover that this node takes part in, until `end_ms`; None if there is none.

    On the primary, `replica` is the node that asked for it, and writes are paused. On the replica, `primary_offset` is
    the replication offset of the paused primary, None until the primary has sent it; with `can_start` the election may
    begin.
    """

    end_ms: int | None = None
    replica: Node | None = None
    primary_offset: int | None = None
    can_start: bool = False

    @property
    def pauses_writes(self) -> bool:
        """Whether this node is the primary of the failover. Its headers then announce that writes are paused."""
        return self.replica is not None


@dataclass(frozen=True, slots=True)
class Handover:
    """This primary wants to go, and has asked `heir`, a replica, to take over by `end_ms`."""

    begun_ms: int
    end_ms: int
    heir: Node


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
