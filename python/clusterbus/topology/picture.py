"""`Picture`: what a client knows of a cluster's topology, from a picture and the changes that follow it.

Owns the order: a change is applied to the picture that it changes, and nothing goes back. Plain data: opens nothing.
One thread at a time. The texts are those of the channel `__cluster__:topology`.
"""

from __future__ import annotations

import json
from typing import Any, Final

SLOTS: Final = 16_384

Row = list[Any]
"""One line of CLUSTER SLOTS: first, last, [host, port, id] of the primary, then those of the replicas."""


class GapError(Exception):
    """A change does not follow the picture: something was missed, so a new picture is needed."""


class Picture:
    """A cluster as the node that was heard last tells it."""

    def __init__(self) -> None:
        self.run_id = ""
        self.version = 0
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
        if not isinstance(told, dict) or not {"run_id", "version", "previous", "nodes", "gone", "slots"} <= set(told):
            raise ValueError("that is no topology")
        before = self.rows()
        if told["previous"] is None:
            self._begin(told)
        elif (told["run_id"], told["previous"]) != (self.run_id, self.version):
            raise GapError(f"a change to version {told['previous']}, and version {self.version} is known")
        else:
            self.nodes |= {node["id"]: node for node in told["nodes"]}
            for node_id in told["gone"]:
                self.nodes.pop(node_id, None)
            for first, last, owner in told["slots"]:
                self.owners[first : last + 1] = [owner] * (last - first + 1)
        self.run_id, self.version = told["run_id"], told["version"]
        return self.rows() != before

    def _begin(self, told: dict[str, Any]) -> None:
        """A whole picture, perhaps of another node, which may be behind: a slot goes to no owner with a smaller config
        epoch than the one that is known, as long as that one is a member.
        """
        old_nodes, old_owners = self.nodes, self.owners
        self.nodes = {node["id"]: node for node in told["nodes"]}
        owners: list[str | None] = [None] * SLOTS
        for first, last, owner in told["slots"]:
            owners[first : last + 1] = [owner] * (last - first + 1)
        epochs = {node_id: node["epoch"] for node_id, node in self.nodes.items()}
        newer = {
            node_id: node["epoch"]
            for node_id, node in old_nodes.items()
            if node_id in self.nodes and node["role"] == "primary"
        }
        for slot, known in enumerate(old_owners):
            told_owner = owners[slot]
            if known is None or known == told_owner or known not in newer:
                continue
            if told_owner is None or epochs.get(told_owner, 0) < newer[known]:
                owners[slot] = known
                self.nodes[known] = old_nodes[known]
        self.owners = owners

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
