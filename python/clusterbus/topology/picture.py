"""`Picture`: what a client knows of a cluster's topology, from a picture and the changes that follow it.

Owns the order: a change is applied to the picture that it changes, and nothing goes back. Plain data: opens nothing.
One thread at a time. The texts are those of the channel `__cluster__:topology`.
"""

from __future__ import annotations

import json
from typing import Any, Final

SLOTS: Final = 16_384

_FIELDS: Final = {"run_id", "version", "previous", "state", "nodes", "gone", "slots"}

Row = list[Any]
"""One line of CLUSTER SLOTS: first, last, [host, port, id] of the primary, then those of the replicas."""


class GapError(Exception):
    """A change does not follow the picture: something was missed, so a new picture is needed."""


class Picture:
    """A cluster as the node that was heard last tells it."""

    def __init__(self) -> None:
        self.run_id = ""
        self.version = 0
        self.state = ""
        """`ok` or `fail`, as the node that told it sees the cluster."""
        self.nodes: dict[str, dict[str, Any]] = {}
        self.owners: list[str | None] = [None] * SLOTS

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known yet of any slot."""
        return not any(self.owners)

    def take(self, text: str | bytes) -> bool:
        """Applies a text. Returns whether a client must know of it: slots, roles or addresses are others than before.

        Raises GapError for a change to another picture, and ValueError for what is no such text.
        """
        told = json.loads(text)
        if not isinstance(told, dict) or not set(told) >= _FIELDS:
            raise ValueError("that is no topology")
        before, is_whole = self.rows(), told["previous"] is None
        if not is_whole and (told["run_id"], told["previous"]) != (self.run_id, self.version):
            raise GapError(f"a change to version {told['previous']}, and version {self.version} is known")
        self._take_nodes(told["nodes"], is_whole=is_whole)
        for node_id in told["gone"]:
            self.nodes.pop(node_id, None)
        self._take_slots(told["slots"], is_whole=is_whole)
        self.run_id, self.version, self.state = told["run_id"], told["version"], told["state"]
        return self.rows() != before

    def _take_nodes(self, rows: list[dict[str, Any]], *, is_whole: bool) -> None:
        """A primary that owns slots stays what it is for a teller who knows it under a smaller config epoch only."""
        owning, known = set(self.owners), self.nodes
        if is_whole:
            self.nodes = {}
        for row in rows:
            old = known.get(row["id"])
            is_old_news = (
                old is not None and row["id"] in owning and old["role"] == "primary" and old["epoch"] > row["epoch"]
            )
            self.nodes[row["id"]] = old | {"failing": row["failing"]} if old is not None and is_old_news else row

    def _take_slots(self, ranges: list[tuple[int, int, str | None]], *, is_whole: bool) -> None:
        """A slot stays with an owner that is a member under a greater config epoch than the one it is told to go to,
        and, if a whole picture leaves it out, with any that is one.
        """
        told: list[str | None] = [None] * SLOTS if is_whole else list(self.owners)
        for first, last, owner in ranges:
            told[first : last + 1] = [owner] * (last - first + 1)
        epochs = {node_id: node["epoch"] for node_id, node in self.nodes.items()}
        primaries = {node_id for node_id, node in self.nodes.items() if node["role"] == "primary"}
        for slot, known in enumerate(self.owners):
            owner = told[slot]
            if known is None or known == owner or known not in primaries:
                continue
            if is_whole if owner is None else epochs.get(owner, 0) < epochs[known]:
                told[slot] = known
        self.owners = told

    def rows(self, *, tls: bool = False) -> list[Row]:
        """CLUSTER SLOTS, as a node would answer it. Replicas that fail are left out."""
        replicas: dict[str, list[Row]] = {}
        for node in self.nodes.values():
            if node["role"] == "replica" and node["primary"] and node["failing"] != "fail":
                replicas.setdefault(node["primary"], []).append(_endpoint(node, tls=tls))
        rows: list[Row] = []
        first = 0
        for slot in range(1, SLOTS + 1):
            if slot < SLOTS and self.owners[slot] == self.owners[first]:
                continue
            owner = self.nodes.get(self.owners[first] or "")
            if owner is not None:
                rows.append([first, slot - 1, _endpoint(owner, tls=tls), *sorted(replicas.get(owner["id"], []))])
            first = slot
        return rows


def _endpoint(node: dict[str, Any], *, tls: bool) -> Row:
    return [node["ip"] or node["hostname"], node["tls_port"] if tls else node["port"], node["id"]]
