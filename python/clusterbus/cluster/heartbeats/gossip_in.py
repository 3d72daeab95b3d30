"""The gossip section of a peer: what its entries about other nodes change (S2, S3).

Owns the rules for entries; a report about a failing node goes on to `failure`. From an unknown sender it must take
nothing but nodes that are unknown too. Main thread. Source: `clusterProcessGossipSection`.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import NodeJoined
from clusterbus.cluster.failover import failure
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.membership import admission
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import GossipEntry, Packet


def apply(core: Core, sender: Node, entries: Iterable[GossipEntry]) -> None:
    """Applies gossip of a known sender: all entries of a packet, or those that are news."""
    core.history.begin_part(Cause.GOSSIP)
    myself = core.myself
    nodes = core.table.nodes
    for entry in entries:
        if entry.flags & c.GOSSIP_FLAGS_PRIVATE:
            _note_private_flags(core, sender.node_id)
        node = nodes.get(entry.node_id)
        if node is None:
            _meet_by_gossip(core, entry, sender.node_id, stranger=False)
        elif node is not myself:
            if node.provisional:
                core.table.confirm(node)
            _apply_known(core, sender, node, entry)


def apply_from_stranger(core: Core, packet: Packet) -> None:
    """Applies the gossip in the MEET of an unknown sender: only its entries about unknown nodes."""
    core.history.begin_part(Cause.GOSSIP)
    for entry in packet.gossip:
        if entry.flags & c.GOSSIP_FLAGS_PRIVATE:
            _note_private_flags(core, packet.sender)
        if core.table.find(entry.node_id) is None:
            _meet_by_gossip(core, entry, packet.sender, stranger=True)


def _note_private_flags(core: Core, sender_id: str) -> None:
    """Counts an entry with private flags (H25). No rule here reads these flags; the rest of the entry is applied."""
    core.refuse(Refusal.GOSSIP_FLAGS, sender_id, "mentions a node with private flags (myself, handshake): masked")


def _apply_known(core: Core, sender: Node, node: Node, entry: GossipEntry) -> None:
    flags = entry.flags
    if flags & c.FAILING:
        failure.report(core, node, sender)
        return
    if node.fail_reports:
        failure.withdraw(core, node, sender)
    elif node.ping_sent_ms == 0 and not node.flags & c.FAILING:
        pong_ms = entry.pong_received_s * 1000
        if node.pong_received_ms < pong_ms <= core.now_ms + c.GOSSIP_FUTURE_MAX_MS:
            node.pong_received_ms = pong_ms
    if node.flags & c.FAILING and not flags & c.FLAG_NOADDR:
        _move_failing(core, node, entry)


def _move_failing(core: Core, node: Node, entry: GossipEntry) -> None:
    """Moves a node that we cannot reach to the address where the sender can reach it."""
    port, tls_port = core.ports_of(entry)
    if not entry.ip or not entry.cport or admission.address_fault(core, entry.ip):
        return
    if (entry.ip, port, tls_port, entry.cport) != (node.ip, node.port, node.tls_port, node.cport):
        core.set_address(node, entry.ip, port, tls_port, entry.cport)


def _meet_by_gossip(core: Core, entry: GossipEntry, sender_id: str, *, stranger: bool) -> None:
    """Adds an unknown node under the id that the sender gives. The node's first PONG must confirm the id.

    There is no handshake under a made-up id, as in the real servers. A node of another cluster may have the address by
    now, and it must not be asked to join.
    """
    if entry.flags & c.FLAG_NOADDR or not entry.ip or not entry.cport or not c.NODE_ID.match(entry.node_id):
        return
    if core.leave.is_leaving or core.forgotten.has(entry.node_id, core.now_ms):
        return
    if core.is_full or (stranger and core.table.provisional_count >= core.config.cluster_max_trial_nodes):
        core.refuse(Refusal.NODE_CAP, sender_id, f"gossips of node {entry.node_id}, for which there is no room")
        return
    if not admission.admits(core, entry.ip, entry.node_id):
        return
    flags = entry.flags & c.GOSSIP_FLAGS_TAKEN
    if stranger:
        flags &= ~c.FLAG_FAIL
    node = Node(entry.node_id, flags, core.new_id(), core.now_ms)
    node.ip, node.cport = entry.ip, entry.cport
    node.port, node.tls_port = core.ports_of(entry)
    node.provisional = stranger
    node.is_hearsay = bool(core.applied.label)
    if flags & c.FLAG_FAIL:
        node.fail_time_ms = core.now_ms
    core.table.add(node)
    core.notify(NodeJoined(node.node_id, node.ip, core.client_port(node), node.cport))
    core.want_save()
