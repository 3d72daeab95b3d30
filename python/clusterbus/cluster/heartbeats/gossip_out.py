"""The gossip section that we send: which nodes a heartbeat mentions, and what it says of each (S2).

Owns the choice; what a peer's gossip changes is in `gossip_in`. Changes nothing but the state of the random source.
Main thread. Source: `clusterSendPing`, `clusterSetGossipEntry`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.model.node import Node
from clusterbus.wire import GossipEntry

NOT_GOSSIPED = c.FLAG_MYSELF | c.FLAG_HANDSHAKE | c.FLAG_MEET


def select(core: Core, receiver: Node | None) -> list[Node]:
    """The nodes to mention to `receiver`: a random tenth, or what `cluster-message-gossip-perc` says (at least 3), and
    every PFAIL node on top.

    Left out are ourselves, the receiver (unless it is PFAIL), and the nodes of which `is_gossiped` is False.
    """
    table = core.table
    fresh = len(table) - 2
    wanted = min(max(c.GOSSIP_MIN, len(table) * core.applied.gossip_percent // 100), fresh)
    chosen: dict[str, Node] = {}
    tries = wanted * c.GOSSIP_TRIES
    while fresh > 0 and len(chosen) < wanted and tries > 0:
        tries -= 1
        node = table.pick(core.random)
        if node is core.myself or node is receiver or node.flags & c.FLAG_PFAIL or node.node_id in chosen:
            continue
        fresh -= 1
        if is_gossiped(node):
            chosen[node.node_id] = node
    for node in table.failing.values():
        if node.flags & c.FLAG_PFAIL and is_gossiped(node):
            chosen[node.node_id] = node
    return list(chosen.values())[: c.GOSSIP_ENTRIES_MAX]


def entry_about(core: Core, node: Node) -> GossipEntry:
    """What we say about one node."""
    return GossipEntry(
        node_id=node.node_id,
        ping_sent_s=node.ping_sent_ms // 1000,
        pong_received_s=node.pong_received_ms // 1000,
        ip=node.ip,
        port=core.client_port(node),
        cport=node.cport,
        flags=node.flags & ~NOT_GOSSIPED,
        pport=core.other_port(node),
    )


def is_gossiped(node: Node) -> bool:
    """Whether gossip may mention a node.

    The node must have an address and be past its handshake, and must not be provisional. It must also have a link or
    slots, or be PFAIL: that has to be gossiped of every node.
    """
    if node.flags & (c.FLAG_HANDSHAKE | c.FLAG_NOADDR) or node.provisional or node.is_outsider or not node.ip:
        return False
    return bool(node.flags & c.FLAG_PFAIL) or node.link is not None or bool(node.slot_bits)
