"""The table of nodes: by id, by due time, for random picks, by what some are; and the list of forgotten ids.

Owns which nodes exist, and the caps on their number (H30). Decides nothing about roles, slots or failures. Nodes are
removed through `Core.remove_node`, which keeps the rest of the state consistent. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.agenda import Agenda
from clusterbus.cluster.model.node import SAVED_TOGETHER, Node, Version


class NodeTable:
    """All known nodes, including this one.

    Invariants: `nodes[n.node_id] is n`; `failing` holds exactly the nodes flagged PFAIL or FAIL
    (`Core.set_failure_flags` keeps it so); `reported` holds those with a failure report, `unreachable` those with that
    mark; `untold` has the ids of clusterbus nodes that have not answered yet what `tags` told them, and when it did so
    last; `handshakes` maps the address of every node in handshake to the node; `provisional_count` counts the
    provisional nodes. `agenda` says when the tick looks at which node; `half_known` holds at least the nodes without an
    inbound link and those that have not shown that they know us.
    """

    def __init__(self, myself: Node) -> None:
        self.myself = myself
        self.version = Version(myself)
        self.nodes: dict[str, Node] = {}
        self.failing: dict[str, Node] = {}
        self.reported: dict[str, Node] = {}
        self.unreachable: dict[str, Node] = {}
        self.untold: dict[str, int] = {}
        self.handshakes: dict[tuple[str, int], Node] = {}
        self.half_known: dict[str, Node] = {}
        self.provisional_count = 0
        self.agenda: Agenda[Node] = Agenda()
        self._order: list[Node] = []
        self.add(myself)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._order))

    @property
    def all_nodes(self) -> Sequence[Node]:
        """Every node, not copied: for loops that add and remove none."""
        return self._order

    def find(self, node_id: str) -> Node | None:
        """The node with that id, even if it is this one or in handshake."""
        return self.nodes.get(node_id)

    def add(self, node: Node) -> None:
        """Adds a node. Its id must be new."""
        if node.node_id in self.nodes:
            raise ValueError(f"node {node.node_id} is in the table already")
        self._tell_watcher(node)
        self.nodes[node.node_id] = node
        node.version = self.version
        node.outdate()
        self.version.move()
        node.table_index = len(self._order)
        self._unsave(node)
        self._order.append(node)
        if node.flags & c.FAILING:
            self.failing[node.node_id] = node
        if node.flags & c.FLAG_HANDSHAKE:
            self.handshakes[handshake_key(node)] = node
        if node.provisional:
            self.provisional_count += 1
        self.half_known[node.node_id] = node
        node.agenda = self.agenda
        self.agenda.put_first(node)

    def remove(self, node: Node) -> None:
        """Removes a node, in constant time."""
        self._tell_watcher(node)
        del self.nodes[node.node_id]
        last = self._order.pop()
        self._unsave(node)
        self._unsave(last)
        if last is not node:
            self._order[node.table_index] = last
            last.table_index = node.table_index
        node.table_index = -1
        node.version = None
        self.version.outdated.pop(node, None)
        if node.viewed_as:
            self.version.gone.append(node.viewed_as)
            node.viewed_as = ""
        self.version.move_own_header()  # our heartbeats may ask others to forget it
        self.failing.pop(node.node_id, None)
        self.reported.pop(node.node_id, None)
        self.unreachable.pop(node.node_id, None)
        self.untold.pop(node.node_id, None)
        self.half_known.pop(node.node_id, None)
        node.agenda = None
        self.agenda.remove(node)
        if node.flags & c.FLAG_HANDSHAKE:
            self._end_handshake(node)
        self.confirm(node)

    def rename(self, node: Node, node_id: str) -> None:
        """Ends a handshake: the node gets its true id."""
        if node_id in self.nodes:
            raise ValueError(f"node {node_id} is in the table already")
        del self.nodes[node.node_id]
        self.nodes[node_id] = node
        if self.failing.pop(node.node_id, None) is not None:
            self.failing[node_id] = node
        if self.half_known.pop(node.node_id, None) is not None:
            self.half_known[node_id] = node
        self._end_handshake(node)
        node.node_id = node_id
        node.flags &= ~c.FLAG_HANDSHAKE

    def confirm(self, node: Node) -> None:
        """A provisional node has answered, was mentioned by a known node, or is leaving."""
        if node.provisional:
            node.provisional = False
            self.provisional_count -= 1

    def in_order(self, nodes: Iterable[Node]) -> list[Node]:
        """Some of the nodes, in the order in which the table holds all."""
        return sorted(nodes, key=_table_index)

    def pick(self, random: Random) -> Node:
        """One node at random, possibly this one."""
        return self._order[int(random.random() * len(self._order))]

    def _tell_watcher(self, node: Node) -> None:
        if self.version.watcher is not None:
            self.version.watcher.note_table(node)

    def _unsave(self, node: Node) -> None:
        """The piece of nodes.conf that the node's line is in is another from now on."""
        self.version.unsaved.add(node.table_index // SAVED_TOGETHER)

    def _end_handshake(self, node: Node) -> None:
        key = handshake_key(node)
        if self.handshakes.get(key) is node:
            del self.handshakes[key]


def _table_index(node: Node) -> int:
    return node.table_index


def handshake_key(node: Node) -> tuple[str, int]:
    """The address that is dialled, which makes two handshakes the same. It does not change during a handshake."""
    return node.ip, node.cport


class ForgottenNodes:
    """Ids that may not come back before a certain time (`clusterBlacklist*`). At most FORGOTTEN_MAX."""

    def __init__(self) -> None:
        self._until_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._until_ms)

    def add(self, node_id: str, until_ms: int) -> None:
        """Keeps an id out until then. If the list is full, the id added first is dropped."""
        self._until_ms.pop(node_id, None)
        if len(self._until_ms) >= c.FORGOTTEN_MAX:
            del self._until_ms[next(iter(self._until_ms))]
        self._until_ms[node_id] = until_ms

    def remove(self, node_id: str) -> None:
        """Lets an id in again: an operator met the node anew."""
        self._until_ms.pop(node_id, None)

    def clear(self) -> None:
        """Lets all ids in again."""
        self._until_ms.clear()

    def has(self, node_id: str, now_ms: int) -> bool:
        until_ms = self._until_ms.get(node_id)
        return until_ms is not None and until_ms > now_ms

    def expire(self, now_ms: int) -> None:
        """Drops the ids whose time is over."""
        over = [node_id for node_id, until_ms in self._until_ms.items() if until_ms <= now_ms]
        for node_id in over:
            del self._until_ms[node_id]

    def remaining(self, now_ms: int) -> Iterator[tuple[str, int]]:
        """(id, seconds left) of the ids with at least a second left, the one added last first.

        A time over FORGET_TTL_EXACT_S is told in whole minutes: heartbeats that change every second are never quiet,
        and with a long cluster-blacklist-ttl none would be for all that time (P9).
        """
        for node_id in reversed(self._until_ms):
            left_s = (self._until_ms[node_id] - now_ms) // 1000
            if left_s > c.FORGET_TTL_EXACT_S:
                left_s -= left_s % 60
            if left_s > 0:
                yield node_id, left_s
