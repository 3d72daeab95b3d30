"""Clusters as they would tell of themselves, written down: CLUSTER NODES of every node, and a source of moments.

Owns no socket and no clock. A view is a text as a server writes it, so the reading of it is tested too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clusterbus.cli.top.feed import Feed
from clusterbus.cli.top.heard import Heard
from clusterbus.cli.top.picture import Painter, Picture
from clusterbus.cli.top.watch import Moment
from clusterbus.member.ports import Place
from clusterbus.survey.asking import Answer
from clusterbus.survey.node_rows import LinkRows, RowTable
from clusterbus.wire import CLUSTER_SLOTS

AT_MS = 1_700_000_000_000


@dataclass
class Node:
    """`failed` is what all others hold; `error` what a question to it comes to."""

    number: int
    primary: int | None = None
    slots: str = ""
    epoch: int = 1
    failed: str = ""
    error: str = ""
    id_salt: str = "0"

    @property
    def node_id(self) -> str:
        return f"{self.number:08x}{self.id_salt}".ljust(40, "a")

    @property
    def port(self) -> int:
        return 7000 + self.number

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def nodes_text(nodes: Sequence[Node], teller: Node) -> str:
    ids = {node.number: node.node_id for node in nodes}
    lines = []
    for node in nodes:
        flags = ["myself"] * (node is teller) + ["slave" if node.primary is not None else "master"]
        flags += [node.failed] * bool(node.failed and node is not teller)
        primary = ids[node.primary] if node.primary is not None else "-"
        where = f"{node.address}@{node.port + 10000}"
        lines.append(f"{node.node_id} {where} {','.join(flags)} {primary} 0 0 {node.epoch} connected {node.slots}")
    return "\n".join(lines) + "\n"


def info(count: int) -> dict[str, str]:
    names = {"messages_sent": 1, "messages_received": 1, "messages_ping_sent": 1, "messages_ping_received": 1}
    names |= {"bytes_sent": 2000, "bytes_received": 2000, "pubsub_bytes_sent": 500, "module_bytes_sent": 10}
    names |= {"pubsub_bytes_received": 0, "module_bytes_received": 0}
    return {"cluster_state": "ok"} | {f"cluster_stats_{name}": str(count * step) for name, step in names.items()}


class World:
    """Remembers what was heard, as the watch does; `picture(nodes)` is one refresh, a second after the one before."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._table = RowTable()
        self._heard: dict[str, Heard] = {}
        self._painter = Painter()
        self._feed = Feed()

    def picture(self, nodes: Sequence[Node], tellers: int | None = None) -> Picture:
        self.now_s += 1.0
        for place, node in enumerate(nodes):
            one = self._heard.setdefault(node.address, Heard(Place("127.0.0.1", node.port), node.address))
            tells = tellers is None or place < tellers
            one.take(self._answer(nodes, node, tells), self.now_s)
            if one.error:
                one.view = ()
        return self._painter.paint(self._heard.values(), self.now_s)

    def _answer(self, nodes: Sequence[Node], node: Node, tells: bool) -> Answer:
        if node.error:
            return Answer(node.address, error=node.error)
        rows = self._table.parse(nodes_text(nodes, node)).rows if tells else ()
        rtts_us = {other.node_id: 900 for other in nodes} if tells else {}
        links = LinkRows(frozenset(), frozenset(), 10, 100 * node.number, rtts_us)
        return Answer(
            node.address,
            node.node_id,
            nodes=rows,
            links=links if tells else None,
            info={"valkey_version": "9.1.2"},
            cluster_info=info(int(self.now_s) * (node.number + 1)),
            rtt_ms=0.25 + node.number / 10,
        )

    def moment(self, nodes: Sequence[Node]) -> Moment:
        picture = self.picture(nodes)
        self._feed.take(picture, AT_MS + int(self.now_s) * 1000)
        return Moment(picture, self._feed.events)


def six() -> list[Node]:
    primaries = [Node(1, slots="0-5460"), Node(2, slots="5461-10922", epoch=2), Node(3, slots="10923-16383", epoch=3)]
    return [*primaries, Node(4, primary=1), Node(5, primary=2, epoch=2), Node(6, primary=3, epoch=3)]


def after_failover() -> list[Node]:
    nodes = six()
    nodes[0] = Node(1, failed="fail", error="Connection refused")
    nodes[3] = Node(4, slots="0-5460", epoch=7)
    return nodes


def many(shards: int) -> list[Node]:
    """Shards with a replica each."""
    nodes = []
    for shard in range(shards):
        first, last = CLUSTER_SLOTS * shard // shards, CLUSTER_SLOTS * (shard + 1) // shards - 1
        nodes.append(Node(shard, slots=f"{first}-{last}", epoch=shard + 1))
        nodes.append(Node(shards + shard, primary=shard, epoch=shard + 1))
    return nodes


class Script:
    """A source whose moments a test hands over itself."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        self.on_screen: frozenset[str] = frozenset()
        self.details = ""
        self.is_paused = False
        self.deliver: Callable[[Moment], None] = lambda moment: None
        self._moments = moments

    def start(self, deliver: Callable[[Moment], None]) -> None:
        self.deliver = deliver
        for moment in self._moments:
            deliver(moment)

    def stop(self) -> None:
        return

    def hurry(self) -> None:
        return
