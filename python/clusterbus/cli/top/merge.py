"""Many views of one cluster become one: for each node the newest claim, and how many views hold what of it.

Owns the rules by which views that differ are brought together. Must never prefer a view for its place in the list where
epochs decide. Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clusterbus.survey.node_rows import NodeRow


@dataclass(slots=True)
class Merged:
    """`row` is the newest that any view has of a node. `judges` are the views that list it, without its own."""

    row: NodeRow
    is_own: bool
    views: int
    known_by: int = 0
    failed_by: int = 0
    suspected_by: int = 0
    judges: int = 0


def merge(views: Iterable[tuple[str, Iterable[NodeRow]]]) -> dict[str, Merged]:
    """The nodes by id, of views (id of the node whose view it is, its rows).

    The row of the highest config epoch tells role, primary and slots, since that is what the nodes themselves go by; of
    several it is the node's own. Nodes in handshake are left out: their ids are made up.
    """
    views = [(teller, rows) for teller, rows in views]
    merged: dict[str, Merged] = {}
    for teller, rows in views:
        for row in rows:
            if row.is_in_handshake:
                continue
            is_own = row.node_id == teller
            one = merged.get(row.node_id)
            if one is None:
                one = merged[row.node_id] = Merged(row, is_own, len(views))
            elif (row.config_epoch, is_own) > (one.row.config_epoch, one.is_own):
                one.row, one.is_own = row, is_own
            one.known_by += 1
            if not is_own:
                one.judges += 1
                one.failed_by += row.is_failed
                one.suspected_by += row.is_suspected
    return merged
