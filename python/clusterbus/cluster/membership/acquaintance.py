"""Half-made acquaintances: we know a node that does not know us, and send it a MEET again (P40).

That happens when the other side gave up its handshake, or when we know the node by gossip alone: it answers our PINGs
as a stranger's, and never dials us. Owns the decision who gets a MEET again, and when. Must never bring ourselves back
to nodes that have forgotten us: to FORGET a node is an operator's order. Main thread. Source:
`clusterNodeCronHandleReconnect`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Node


def tick(core: Core) -> None:
    """Once a second: notes which nodes know us, and sends MEET to those that do not."""
    if core.leave.is_leaving:
        return
    strangers = []
    half_known = core.table.half_known
    for node in list(half_known.values()):
        if node.inbound_link is not None:
            _note_proof(core, node)
            if node.knows_us:
                del half_known[node.node_id]
        elif _is_due(core, node):
            strangers.append(node)
    if not strangers or any(_has_forgotten_us(core, node) for node in half_known.values()):
        return
    for node in core.table.in_order(strangers):
        link = node.link
        assert link is not None
        node.meets_again += 1
        node.met_again_ms = core.now_ms
        core.log("notice", f"Node {node.name} does not seem to know this node: sending it a MEET")
        heartbeat.send(core, link, c.MEET)


def ask(core: Core, node_id: str) -> None:
    """Sends a PING to a node, whose answer may show that it knows us, unless it owes us a PONG."""
    node = core.table.find(node_id)
    if node is not None and node.link is not None and not node.in_handshake and not node.ping_sent_ms:
        heartbeat.send(core, node.link, c.PING)


def is_mutual(core: Core, node_id: str) -> bool:
    """Whether a node is within reach and has shown that it knows us, by one of two proofs.

    It has sent us more than one packet on its own link; or its answer to a PING came with extensions, after it had
    dialled us (`links.note_pong`). The second proof comes sooner, but not every server sends extensions.
    """
    node = core.table.find(node_id)
    if node is None or not node.is_within_reach:
        return False
    _note_proof(core, node)
    return node.inbound_link is not None and (node.knows_us or (node.link is not None and node.link.takes_light))


def _note_proof(core: Core, node: Node) -> None:
    """Notes whether a node has shown that it knows us.

    Within a handshake a node sends one packet on the link that it dials. So the proof are bytes that were read after
    the packet that told whose link it is.
    """
    link = node.inbound_link
    if node.knows_us or link is None:
        return
    age_ms = core.read_age_ms(link.link_id)
    node.knows_us = age_ms is not None and core.now_ms - age_ms > link.assigned_ms + c.READ_TIME_SLACK_MS


def _is_due(core: Core, node: Node) -> bool:
    """Whether a MEET to this node is due again.

    The node must have answered on the present link: at the address of a dead one there may be a node of another
    cluster. Its flag says that it takes a MEET of a node that it knows, as only newer servers do.
    """
    link = node.link
    if link is None or not link.has_answered or node.ping_sent_ms:
        return False
    if node.flags & (c.FLAG_HANDSHAKE | c.FAILING) or not node.flags & c.FLAG_LIGHT_MODULE:
        return False
    wait_ms = core.handshake_timeout_ms * c.MEET_AGAIN_GROWTH**node.meets_again
    if node.meets_again >= c.MEETS_AGAIN_MAX or core.now_ms - link.created_ms <= core.handshake_timeout_ms:
        return False
    if core.now_ms - max(node.inbound_lost_ms, node.met_again_ms) <= wait_ms:
        return False
    window_ms = min(c.MEET_AGAIN_MS, core.config.cluster_blacklist_ttl * 1000)
    has_dialled_us = node.inbound_lost_ms > node.created_ms
    return not has_dialled_us or core.now_ms - node.created_ms < window_ms


def _has_forgotten_us(core: Core, node: Node) -> bool:
    """Whether a node that knew us answers as if it did not. Then we do not push ourselves upon others either, such as
    a node that joined later and of which its gossip tells.
    """
    link = node.link
    return (
        node.knows_us
        and node.inbound_link is None
        and link is not None
        and link.has_answered
        and core.now_ms - max(node.inbound_lost_ms, link.created_ms) > core.handshake_timeout_ms
    )
