"""The gossip section of a peer: what its mentions of other nodes change (S2, S3).

Owns the rules for entries; a report about a failing node goes on to `failure`. Must never take anything but
unknown ids from a sender that is not known yet. Main loop only. Source: `clusterProcessGossipSection`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import NodeJoined
from clusterbus.cluster.failover import failure
from clusterbus.cluster.model.node import Node
from clusterbus.wire import GossipEntry, Packet


def apply(core: Core, sender: Node, packet: Packet) -> None:
    """Takes over what a known sender mentions."""
    myself = core.myself
    nodes = core.table.nodes
    reports = sender.is_voting
    for entry in packet.gossip:
        if entry.flags & c.GOSSIP_FLAGS_PRIVATE:
            _note_private_flags(core, sender.node_id)
        node = nodes.get(entry.node_id)
        if node is None:
            _meet_by_gossip(core, entry, stranger=False)
        elif node is not myself:
            if node.provisional:
                core.table.confirm(node)
            _apply_known(core, sender, node, entry, reports=reports)


def apply_from_stranger(core: Core, packet: Packet) -> None:
    """A MEET of a node not known yet: only what it says of nodes we do not know counts."""
    for entry in packet.gossip:
        if entry.flags & c.GOSSIP_FLAGS_PRIVATE:
            _note_private_flags(core, packet.sender)
        if core.table.find(entry.node_id) is None:
            _meet_by_gossip(core, entry, stranger=True)


def _note_private_flags(core: Core, sender_id: str) -> None:
    """The entry counts, the flags do not (H25): nothing below looks at them."""
    core.refuse("gossip_flags", sender_id, "mentions a node with private flags (myself, handshake): masked")


def _apply_known(core: Core, sender: Node, node: Node, entry: GossipEntry, *, reports: bool) -> None:
    flags = entry.flags
    if flags & c.FAILING:
        if reports:
            failure.report(core, node, sender)
        return
    if node.fail_reports:
        if reports:
            failure.withdraw(core, node, sender)
    elif node.ping_sent_ms == 0 and not node.flags & c.FAILING:
        pong_ms = entry.pong_received_s * 1000
        if node.pong_received_ms < pong_ms <= core.now_ms + c.GOSSIP_FUTURE_MAX_MS:
            node.pong_received_ms = pong_ms
    if node.flags & c.FAILING and not flags & c.FLAG_NOADDR:
        _move_failing(core, node, entry)


def _move_failing(core: Core, node: Node, entry: GossipEntry) -> None:
    """We cannot reach the node and the sender can, at another address: that is where it is."""
    port, tls_port = core.ports_of(entry)
    if not entry.ip or not entry.cport:
        return
    if (entry.ip, port, tls_port, entry.cport) != (node.ip, node.port, node.tls_port, node.cport):
        core.set_address(node, entry.ip, port, tls_port, entry.cport)


def _meet_by_gossip(core: Core, entry: GossipEntry, *, stranger: bool) -> None:
    """A node not heard of: it is added by the id the sender gives, and the first PONG must bear it out.

    No handshake with a made-up id: the address may have been reused, and a node of another cluster there
    must not be asked to join (the rule of the running servers).
    """
    if entry.flags & c.FLAG_NOADDR or not entry.ip or not entry.cport or not c.NODE_ID.match(entry.node_id):
        return
    if core.forgotten.has(entry.node_id, core.now_ms):
        return
    if core.table.is_full or (stranger and core.table.provisional_count >= c.PROVISIONAL_MAX):
        core.refuse("node_cap", "gossip", f"no room for node {entry.node_id}")
        return
    flags = entry.flags & c.GOSSIP_FLAGS_TAKEN
    if stranger:
        flags &= ~c.FLAG_FAIL
    node = Node(entry.node_id, flags, core.new_id(), core.now_ms)
    node.ip, node.cport = entry.ip, entry.cport
    node.port, node.tls_port = core.ports_of(entry)
    node.provisional = stranger
    if flags & c.FLAG_FAIL:
        node.fail_time_ms = core.now_ms
    core.table.add(node)
    core.notify(NodeJoined(node.node_id, node.ip, core.client_port(node), node.cport))
    core.want_save()
