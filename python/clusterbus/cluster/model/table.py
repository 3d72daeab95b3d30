"""The table of nodes: by id, for random picks, the failing ones, the handshakes; and who was forgotten.

Owns which nodes exist and the caps on them (H30). Decides nothing about roles, slots or failures; whoever
adds or removes a node through `Core` keeps the rest of the state in step. Main loop only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node, Version


class NodeTable:
    """All known nodes, this one included.

    Invariants: `nodes[n.node_id] is n`; `failing` holds exactly the nodes flagged PFAIL or FAIL (kept by
    `Core.set_failure_flags`); `reported` those with a failure report; `handshakes` maps the address of every
    node in handshake to it; `provisional` counts the nodes marked so.
    """

    def __init__(self, myself: Node) -> None:
        self.myself = myself
        self.version = Version(myself)
        self.nodes: dict[str, Node] = {}
        self.failing: dict[str, Node] = {}
        self.reported: dict[str, Node] = {}
        self.handshakes: dict[tuple[str, int], Node] = {}
        self.provisional_count = 0
        self._order: list[Node] = []
        self.add(myself)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._order))

    @property
    def all_nodes(self) -> Sequence[Node]:
        """Every node, uncopied: for loops that add and remove none."""
        return self._order

    @property
    def is_full(self) -> bool:
        return len(self._order) >= c.NODES_MAX

    def find(self, node_id: str) -> Node | None:
        """The node of that id, this one and those in handshake included."""
        return self.nodes.get(node_id)

    def add(self, node: Node) -> None:
        """Puts a node in. Its id must be new."""
        if node.node_id in self.nodes:
            raise ValueError(f"node {node.node_id} is in the table already")
        self.nodes[node.node_id] = node
        node.version = self.version
        self.version.move()
        node.table_index = len(self._order)
        self._order.append(node)
        if node.flags & c.FAILING:
            self.failing[node.node_id] = node
        if node.flags & c.FLAG_HANDSHAKE:
            self.handshakes[handshake_key(node)] = node
        if node.provisional:
            self.provisional_count += 1

    def remove(self, node: Node) -> None:
        """Takes a node out; constant time."""
        del self.nodes[node.node_id]
        last = self._order.pop()
        if last is not node:
            self._order[node.table_index] = last
            last.table_index = node.table_index
        node.table_index = -1
        node.version = None
        self.version.move_own_header()  # our heartbeats may tell that it is to be forgotten
        self.failing.pop(node.node_id, None)
        self.reported.pop(node.node_id, None)
        if node.flags & c.FLAG_HANDSHAKE:
            self._end_handshake(node)
        self.confirm(node)

    def rename(self, node: Node, node_id: str) -> None:
        """A handshake is done: the node gets its true id and leaves the handshakes."""
        if node_id in self.nodes:
            raise ValueError(f"node {node_id} is in the table already")
        del self.nodes[node.node_id]
        self.nodes[node_id] = node
        if self.failing.pop(node.node_id, None) is not None:
            self.failing[node_id] = node
        self._end_handshake(node)
        node.node_id = node_id
        node.flags &= ~c.FLAG_HANDSHAKE

    def confirm(self, node: Node) -> None:
        """A provisional node has proven itself (or is leaving)."""
        if node.provisional:
            node.provisional = False
            self.provisional_count -= 1

    def pick(self, random: Random) -> Node:
        """One node at random, this one included."""
        return self._order[int(random.random() * len(self._order))]

    def _end_handshake(self, node: Node) -> None:
        key = handshake_key(node)
        if self.handshakes.get(key) is node:
            del self.handshakes[key]


def handshake_key(node: Node) -> tuple[str, int]:
    """What makes two handshakes the same: the address dialled. It does not change while a handshake lasts."""
    return node.ip, node.cport


class ForgottenNodes:
    """Ids that may not come back before their time (`clusterBlacklist*`). At most FORGOTTEN_MAX."""

    def __init__(self) -> None:
        self._until_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._until_ms)

    def add(self, node_id: str, until_ms: int) -> None:
        """Keeps an id out until then; when the list is full the id that was added first goes."""
        self._until_ms.pop(node_id, None)
        if len(self._until_ms) >= c.FORGOTTEN_MAX:
            del self._until_ms[next(iter(self._until_ms))]
        self._until_ms[node_id] = until_ms

    def remove(self, node_id: str) -> None:
        """Lets an id in again (an operator met it anew)."""
        self._until_ms.pop(node_id, None)

    def clear(self) -> None:
        """Lets everybody in again."""
        self._until_ms.clear()

    def has(self, node_id: str, now_ms: int) -> bool:
        until_ms = self._until_ms.get(node_id)
        return until_ms is not None and until_ms > now_ms

    def expire(self, now_ms: int) -> None:
        """Drops what is over."""
        over = [node_id for node_id, until_ms in self._until_ms.items() if until_ms <= now_ms]
        for node_id in over:
            del self._until_ms[node_id]

    def remaining(self, now_ms: int) -> Iterator[tuple[str, int]]:
        """(id, whole seconds left), the latest first, of those with at least a second left."""
        for node_id in reversed(self._until_ms):
            left_s = (self._until_ms[node_id] - now_ms) // 1000
            if left_s > 0:
                yield node_id, left_s
