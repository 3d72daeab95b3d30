"""The gossip section we send: which nodes a heartbeat mentions, and what it says of each (S2).

Owns the selection. What a peer's gossip changes is in `gossip_in`. Changes no state but that of the
random numbers. Main loop only. Source: `clusterSendPing`, `clusterSetGossipEntry`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.model.node import Node
from clusterbus.wire import GossipEntry

NOT_GOSSIPED = c.FLAG_MYSELF | c.FLAG_HANDSHAKE | c.FLAG_MEET


def select(core: Core, receiver: Node | None) -> list[Node]:
    """The nodes to mention to `receiver`: a random tenth (at least 3), and every PFAIL node on top.

    Not mentioned: ourselves, the receiver, nodes in handshake, without address, well with neither link nor slots.
    """
    table = core.table
    fresh = len(table) - 2
    wanted = min(max(c.GOSSIP_MIN, len(table) // c.GOSSIP_PARTS), fresh)
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
    """Whether gossip may mention a node: past its handshake, somewhere, and of use, for it is held PFAIL, which has
    to be told also of a node with neither link nor slots, or has one of them.
    """
    if node.flags & (c.FLAG_HANDSHAKE | c.FLAG_NOADDR) or node.provisional or not node.ip:
        return False
    return bool(node.flags & c.FLAG_PFAIL) or node.link is not None or bool(node.slot_bits)
