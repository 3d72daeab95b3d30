"""What was found by a look at all nodes, kept as long as the version of the state stays the same.

Owns the results alone; the rules that look are in `health` and `replica_migration`. Nothing but viewed fields of nodes
may go into them, because only these move the version. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbus.cluster.model.node import Node


@dataclass(slots=True)
class Coverage:
    """Slots that nobody serves, the primaries with slots, and those of them that we reach."""

    version: int = 0
    unserved: int = 0
    voting: int = 0
    reachable: int = 0


@dataclass(slots=True)
class Survey:
    """The orphaned primaries, and how many working replicas each primary has that is not FAIL."""

    version: int = 0
    orphans: list[Node] = field(default_factory=list)
    working: dict[Node, int] = field(default_factory=dict)
