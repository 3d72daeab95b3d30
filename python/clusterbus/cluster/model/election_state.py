"""What a node remembers of its own election and of a manual failover: `Election`, `ManualFailover`.

Owns the fields alone; the rules are in `election`, `manual_failover` and `replication`. Plain data, one of each
in `Core`, replaced by a fresh one when it is over. Main loop only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbus.cluster.model.node import Node


@dataclass(slots=True)
class Election:
    """An election of this node, planned, under way or over.

    `start_ms` is when votes are, or were, asked for, None while no election is planned. `epoch`, `voters` (ids of
    those who voted for us in it) and `quorum`, the votes that were needed when they were asked for, count once
    `is_requested`. `is_over`: told as won or lost.
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
        """Whether votes count."""
        return self.is_requested and not self.is_over


@dataclass(slots=True)
class ManualFailover:
    """A manual failover this node takes part in, until `end_ms`; None when there is none.

    On the primary: `replica` asked for it, and writes are paused. On the replica: `primary_offset` is where the
    paused primary stands, None until it has told; with `can_start` the election may begin.
    """

    end_ms: int | None = None
    replica: Node | None = None
    primary_offset: int | None = None
    can_start: bool = False

    @property
    def pauses_writes(self) -> bool:
        """Whether this node is the primary of it: its headers say that writes are paused."""
        return self.replica is not None
