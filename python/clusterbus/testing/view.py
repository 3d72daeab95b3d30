"""What one node sees of the cluster, and what several of them agree on.

Owns the question whether a cluster is well, for nodes of any kind. Plain data. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """One node in the eyes of another: `is_well` if there is a link, answered, and no suspicion."""

    is_well: bool
    is_failed: bool
    primary_id: str | None
    slots: Ranges


@dataclass(frozen=True, slots=True)
class View:
    """What the node `node_id` sees: whether the state is ok, and every node that it knows by id. `text` is CLUSTER
    NODES, or as much as tells the same.
    """

    node_id: str
    is_ok: bool
    nodes: Mapping[str, Seen]
    text: str

    @property
    def primary_id(self) -> str | None:
        """The primary of the node itself, None if it is one."""
        return self.nodes[self.node_id].primary_id

    @property
    def owners(self) -> set[str]:
        """The nodes that own slots."""
        return {node_id for node_id, seen in self.nodes.items() if seen.slots}

    def owner_id(self, slot: int) -> str | None:
        """The owner of a slot."""
        for node_id, seen in self.nodes.items():
            if any(first <= slot <= last for first, last in seen.slots):
                return node_id
        return None


def are_well(views: Iterable[View], *, owners: Set[str] | None) -> bool:
    """Whether each of these nodes sees each other one well, and all see the same roles and slots.

    With `owners`, they also hold the cluster ok, and no other node owns slots. A cluster without slots is never ok.
    """
    views = list(views)
    ids = {view.node_id for view in views}
    return (
        all(seen is not None and seen.is_well for view in views for seen in map(view.nodes.get, ids))
        and (owners is None or all(view.is_ok and view.owners <= owners for view in views))
        and len({_roles(view) for view in views}) <= 1
    )


def _roles(view: View) -> frozenset[tuple[str, str | None, Ranges]]:
    return frozenset((node_id, seen.primary_id, seen.slots) for node_id, seen in view.nodes.items())
