"""Handshakes: MEET in both directions, the true id in place of the made-up one, and the end of those that fail (S1).

Owns the nodes flagged HANDSHAKE, and which nodes join through one. Must never move a node that is well at its address
because another peer uses its id (H21, H22). Main thread. Source: `clusterStartHandshake`, `clusterProcessPacket`,
`clusterRenameNode`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import HandshakeFailed, LinkUp, NodeJoined
from clusterbus.cluster.membership import address, admission, labels, links
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import Packet

NO_ANSWER: Final = "no answer"
OWN_ADDRESS: Final = "this node's own address"


def start(core: Core, ip: str, port: int, tls_port: int, cport: int, *, asked_by_us: bool) -> Node | None:
    """Adds a node of unknown id at an address. The next tick dials it, with a MEET if our operator asked for it.

    `ip` must be in its normal form. Returns None if a handshake with that address is under way or if there is no room
    (H30).
    """
    if (ip, cport) in core.table.handshakes:
        return None
    if core.is_full or len(core.table.handshakes) >= core.config.cluster_max_handshakes:
        core.refuse(Refusal.HANDSHAKE_CAP, ip, "too many handshakes under way")
        return None
    flags = c.FLAG_HANDSHAKE | (c.FLAG_MEET if asked_by_us else 0)
    node = Node(core.new_id(), flags, core.new_id(), core.now_ms)
    node.ip, node.port, node.tls_port, node.cport = ip, port, tls_port, cport
    node.met_by_operator = asked_by_us
    core.table.add(node)
    return node


def accept_meet(core: Core, link: Link, packet: Packet) -> None:
    """A MEET from an unknown id: starts a handshake with the address that it gives, unless one is under way (H23)."""
    if not c.NODE_ID.match(packet.sender):
        core.refuse(Refusal.SENDER_ID, link.peer_ip, "MEET with an invalid sender id")
        return
    if core.leave.is_leaving:
        return
    if core.forgotten.has(packet.sender, core.now_ms):
        core.refuse(Refusal.FORGOTTEN_MEET, packet.sender, "MEET of a node that was forgotten recently: ignored")
        return
    ip = packet.myip or link.peer_ip
    if not admission.admits(core, ip, packet.sender):
        return
    if not ip or not packet.cport or "myip" in packet.refused:
        core.refuse(Refusal.MEET_ADDRESS, link.peer_ip, "MEET without an address we could dial")
        return
    port, tls_port = core.ports_of(packet)
    node = start(core, ip, port, tls_port, packet.cport, asked_by_us=False)
    if node is None:
        return
    if packet.mflags & c.MFLAG_EXTENSIONS:
        node.flags |= c.FLAG_EXTENSIONS
    links.assign(core, link, node)


def complete(core: Core, link: Link, packet: Packet) -> Node | None:
    """The first answer on the link that we dialled in a handshake: it names the node that is there.

    Returns the node, now under its true id. Returns None if the handshake is given up, because the id is known already,
    may not come back, or is no id.
    """
    node = link.node
    assert node is not None
    node_id = packet.sender
    known = core.table.find(node_id)
    fault = _newcomer_fault(core, link, packet, known)
    if fault:
        _let_go(core, node)
        fail(core, node, fault)
        return None
    if known is not None:
        node.known_as = node_id
        _meet_again(core, known, link, packet)
        _let_go(core, node)
        core.remove_node(node, "already known")
        return None
    if not c.NODE_ID.match(node_id):
        core.refuse(Refusal.SENDER_ID, link.peer_ip, "answered a handshake with an invalid node id")
        _let_go(core, node)
        fail(core, node, "answered with an invalid node id")
        return None
    if node.met_by_operator:
        core.forgotten.remove(node_id)
    elif core.forgotten.has(node_id, core.now_ms):
        _let_go(core, node)
        fail(core, node, "forgotten")
        return None
    node.label = labels.told_in(packet) or ""
    core.table.rename(node, node_id)
    node.flags |= packet.flags & (c.FLAG_PRIMARY | c.FLAG_REPLICA)
    core.log("notice", f"Successfully completed handshake with {node.name}")
    core.notify(NodeJoined(node_id, node.ip, core.client_port(node), node.cport))
    for up in (node.link, node.inbound_link):
        if up is not None:
            core.bind(up, node_id)
            core.notify(LinkUp(node_id, up.inbound))
    core.want_save()
    core.want_state_update()
    return node


def _newcomer_fault(core: Core, link: Link, packet: Packet, known: Node | None) -> str:
    """Why the node that answered a handshake is not let in; "" if it is."""
    label = labels.told_in(packet)
    if label and labels.differs(core, label):
        labels.refuse(core, link, packet.sender, label)
        return labels.refused_text(label)
    if not admission.admits(core, link.peer_ip, packet.sender):
        return admission.id_fault(core, packet.sender) or links.NOT_ALLOWED
    if known is not None and known is not core.myself and not admission.admits_sender(core, link, known):
        return links.NOT_ALLOWED
    return ""


def expire(core: Core, node: Node) -> bool:
    """Removes a node that did not answer in time, in handshake or provisional. True if it is gone."""
    if core.now_ms - node.created_ms <= core.handshake_timeout_ms:
        return False
    core.count_refused(Refusal.HANDSHAKE_EXPIRED)
    if node.in_handshake:
        fail(core, node, failure_so_far(node))
    else:
        core.remove_node(node, "never answered")
    return True


def failure_so_far(node: Node) -> str:
    """Why a handshake has not been answered yet."""
    return NO_ANSWER if node.link is not None else node.last_end or NO_ANSWER


def fail(core: Core, node: Node, reason: str) -> None:
    """Ends a handshake that came to nothing. Who ordered it is told; what strangers begin is no news to anybody."""
    node.last_end = reason
    if node.met_by_operator:
        port = core.client_port(node)
        level = "notice" if reason != OWN_ADDRESS else "verbose"  # seeds may well name this node too
        core.log(level, f"Handshake with {node.ip}:{port}@{node.cport} failed: {reason}")
        core.notify(HandshakeFailed(node.ip, port, node.cport, reason))
    core.remove_node(node, reason)


def take_own_meet(core: Core, link: Link) -> bool:
    """A MEET under our own id came in. Ends our handshake with the address at which it arrived: it is our own.

    False if we have none, and somebody else uses our id.
    """
    node = core.table.handshakes.get((link.local_ip, core.myself.cport))
    if node is None or not node.met_by_operator:
        return False
    core.close_link(link, OWN_ADDRESS)
    fail(core, node, OWN_ADDRESS)
    return True


def _meet_again(core: Core, known: Node, link: Link, packet: Packet) -> None:
    """A known node answers at the address of a handshake. So it moved there, unless it is well at its old address."""
    elsewhere = (known.ip, known.cport) != (packet.myip or link.peer_ip, packet.cport)
    if elsewhere and known.link is not None and not known.flags & c.FAILING:
        core.refuse(
            Refusal.DUPLICATE_ID, known.node_id, f"answers at {link.peer_ip} too, while it is well at {known.ip}"
        )
        return
    address.update_from_header(core, known, link, packet)


def _let_go(core: Core, node: Node) -> None:
    """Before a handshake is given up: the link that its peer dialled stays, and its next packet says whose it is."""
    if node.inbound_link is not None:
        links.release(core, node, node.inbound_link)
