"""What a packet does: finds its sender, applies its header, and calls the rule for its type.

Owns the order of the checks between a packet and the state, and which node a link is of (H17, H20, H21, H23,
H24). The rules are in the modules it calls. Nothing that a peer sends raises out of `handle`. Main thread. Source:
`clusterProcessPacket`, `getNodeFromLinkAndMsg`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.claims import post
from clusterbus.cluster.core import MESSAGES_RECEIVED, Core
from clusterbus.cluster.failover import election, epoch_bound, epochs, failure, manual_failover, roles, vote
from clusterbus.cluster.heartbeats import extensions, gossip_in, heartbeat, quiet
from clusterbus.cluster.membership import address, admission, handshake, labels, leaving, links, observing, tags
from clusterbus.cluster.membership.myself import learn_ip
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import FIELD_PREFIX, Refusal
from clusterbus.cluster.operator import shard_orders
from clusterbus.view import Verdict
from clusterbus.wire import Fail, GossipEntry, ModuleMessage, Packet, Update

Handler = Callable[[Core, Link, Node, Packet], None]

_INDEX: Final = re.compile(r"\[\d+\]")
ANNOUNCED_FLAGS: Final = c.FLAG_LIGHT_PUBLISH | c.FLAG_LIGHT_MODULE | c.FLAG_MY_PRIMARY_FAIL
"""The flags that every full header of a node says anew."""
_UNDER_AN_EPOCH: Final = frozenset({c.UPDATE, c.AUTH_REQUEST, c.AUTH_ACK, c.MFSTART})
"""The types that count for nothing without the epochs in their header."""
GOSSIP_COMPARED_MIN: Final = 16
"""With fewer gossip entries in a packet, to compare them with a view costs more than to apply them."""
REFUSED_FIELDS_NAMED_MAX: Final = 8
"""The most refused fields that one log line names."""


def handle(core: Core, link: Link, packet: Packet, verdict: Verdict | None = None) -> None:
    """Applies one packet that arrived on a link. `verdict` says what is news in it, to a state of some version; if this
    one has another by now, all of the packet is applied.
    """
    node = link.node
    if verdict is not None and verdict.version == core.version.number and node is not None and not node.is_outsider:
        _handle_news(core, link, node, packet, verdict)
        return
    kind = packet.type
    if kind < len(MESSAGES_RECEIVED):
        core.counters[MESSAGES_RECEIVED[kind]] += 1
    if packet.is_light:
        _handle_light(core, link, packet)
        return
    if packet.sender == core.myself.node_id:
        if kind == c.MEET and link.inbound and handshake.take_own_meet(core, link):
            return
        _close(core, link, Refusal.OWN_ID, "sends packets under our own id")
        return
    if packet.refused:
        _count_refused(core, link, packet)
    if kind in (c.PING, c.PONG, c.MEET):
        _handle_heartbeat(core, link, packet)
        return
    sender, _may_be_met = _sender_of(core, link, packet)
    if link.link_id not in core.links:
        return
    if sender is None:
        core.count_refused(Refusal.STRANGER)
        return
    if sender.is_outsider:
        labels.refuse(core, link, sender.node_id, sender.label)
        return
    is_credible = _note_sender(core, sender, packet)
    handler = _HANDLERS.get(kind)
    if not is_credible and kind in _UNDER_AN_EPOCH:
        return
    if handler is not None:
        handler(core, link, sender, packet)
    elif kind >= len(MESSAGES_RECEIVED):
        core.count_refused(Refusal.UNKNOWN_TYPE)


# ---------------------------------------------------------------- the sender


def _sender_of(core: Core, link: Link, packet: Packet) -> tuple[Node | None, bool]:
    """(the known node that sent this, True), or (None, whether its unknown sender may be met).

    If the link has a node, that is the sender, and packets under another id close the link. Before that the id in the
    header is believed, and binds the link, unless that node has a live inbound link already (H21, H22).
    """
    node = link.node
    if node is not None and not node.flags & c.FLAG_HANDSHAKE:
        if node.node_id == packet.sender:
            return node, True
        _wrong_id(core, link, node, packet)
        return None, False
    sender = core.table.find(packet.sender)
    if sender is None or sender.flags & c.FLAG_HANDSHAKE:
        return None, sender is None
    if node is not None:
        if not link.inbound:
            return None, True  # our handshake reached a known node; `handshake.complete` handles that
        links.release(core, node, link)
    if not admission.admits_sender(core, link, sender):
        links.hang_up(core, link, "not allowed to be this node")
        return None, False
    if _inbound_is_live(core, sender):
        _refuse_claim(core, link, sender)
        return None, False
    links.assign(core, link, sender)
    return sender, True


def _refuse_claim(core: Core, link: Link, node: Node) -> None:
    """Leaves a second link for one of nobody. It is told only if it goes on to claim the node.

    An honest node has two for a moment: in a handshake with an address at which it finds a node that it knows already,
    and when it has given up a link whose end we have not read yet, as happens when a main loop is late.
    """
    link.claimed_ms = link.claimed_ms or core.now_ms
    if core.now_ms - link.claimed_ms > core.handshake_timeout_ms:
        core.refuse(Refusal.DUPLICATE_ID, node.node_id, f"is claimed by a second link, from {link.peer_ip}")
    else:
        core.count_refused(Refusal.DUPLICATE_ID)


def _inbound_is_live(core: Core, node: Node) -> bool:
    """Whether bytes were read on the node's inbound link within the node timeout."""
    if node.inbound_link is None:
        return False
    age_ms = core.read_age_ms(node.inbound_link.link_id)
    return age_ms is not None and age_ms < core.node_timeout_ms


def _wrong_id(core: Core, link: Link, node: Node, packet: Packet) -> None:
    """A packet under another id than that of the link's node. If we dialled, the node is no longer there (H24)."""
    core.refuse(Refusal.SENDER_CHANGED, node.node_id, f"a packet of {packet.sender} came on its link: link closed")
    if packet.type == c.PONG and not link.inbound:
        age_ms = core.now_ms - node.created_ms
        core.log(
            "debug",
            f"PONG contains mismatching sender ID: {packet.sender} answers in the place of node {node.name}"
            f" in shard {node.shard_id}, known for {age_ms} ms, flags {node.flags}",
        )
    links.hang_up(core, link, "packet of another node")
    if not link.inbound and packet.type <= c.MEET:
        address.lose_address(core, node)


def _note_sender(core: Core, sender: Node, packet: Packet) -> bool:
    """Applies what every full header of a known sender updates: abilities, time of the last packet, epochs, offset.
    False if its epochs are not believed: then what it claims under them is not to be applied (H28).
    """
    flags = sender.flags
    if packet.mflags & c.MFLAG_EXTENSIONS:
        flags |= c.FLAG_EXTENSIONS
    sender.flags = (flags & ~ANNOUNCED_FLAGS) | (packet.flags & ANNOUNCED_FLAGS)
    sender.data_received_ms = core.now_ms
    sender.repl_offset = packet.offset
    sender.has_told_offset = True
    # A heartbeat of a replica says what epoch its primary has, which nobody reads.
    reads_config_epoch = packet.replicaof is None or sender.is_primary or packet.type > c.MEET
    if not epoch_bound.believes(
        core, sender, max(packet.current_epoch, packet.config_epoch) if reads_config_epoch else packet.current_epoch
    ):
        return False
    epochs.observe(core, packet.current_epoch)
    if packet.replicaof is None:
        epochs.observe_config(core, sender, packet.config_epoch)
    if packet.mflags & c.MFLAG_PAUSED and core.manual.end_ms is not None:
        manual_failover.note_paused(core, sender)
    return True


def _close(core: Core, link: Link, refusal: Refusal, text: str) -> None:
    """Refuses a packet, closes its link, and ends the handshake on it if there is one."""
    core.refuse(refusal, link.peer_ip or f"link {link.link_id}", text)
    node = link.node
    links.hang_up(core, link, text)
    if node is not None and node.in_handshake:
        handshake.fail(core, node, text)


def _count_refused(core: Core, link: Link, packet: Packet) -> None:
    """Counts the fields that the wire layer refused (H12, H13) by kind, and has them logged now and then."""
    refused = packet.refused
    for field in refused:
        core.counters[FIELD_PREFIX + _INDEX.sub("", field)] += 1
    core.refuse(
        Refusal.FIELDS,
        packet.sender or link.peer_ip,
        f"refused {', '.join(refused[:REFUSED_FIELDS_NAMED_MAX])} of a packet",
    )


# ---------------------------------------------------------------- heartbeats


def _handle_heartbeat(core: Core, link: Link, packet: Packet) -> None:
    kind = packet.type
    if kind == c.MEET and not link.inbound:
        _close(core, link, Refusal.MEET_ON_OUR_LINK, "MEET on a link we dialled")
        return
    sender, may_be_met = _sender_of(core, link, packet)
    if link.link_id not in core.links or _is_of_other_cluster(core, link, sender, packet):
        return
    is_credible = sender is not None and _note_sender(core, sender, packet)
    _answer(core, link, sender, packet, may_be_met=may_be_met)
    if not link.inbound and link.node is not None and link.node.in_handshake:
        sender = handshake.complete(core, link, packet)
        is_credible = sender is not None and _note_sender(core, sender, packet)
    if sender is None:
        return
    shard_before = sender.shard_id
    _apply_header(core, link, sender, packet, kind, is_credible=is_credible)
    _apply_rest(core, sender, packet, shard_before, is_credible=is_credible)


def _is_of_other_cluster(core: Core, link: Link, sender: Node | None, packet: Packet) -> bool:
    """Whether a heartbeat comes from a node with another label (`labels`). It is answered, so that both sides know, and
    notes that the node lives; nothing else of it counts, and a MEET begins nothing.
    """
    if sender is None and packet.type != c.MEET:
        return False  # nothing of a stranger's PING or PONG is applied; a handshake looks at its label itself
    label = labels.told_in(packet) if sender is None else labels.note(core, sender, packet)
    if not (sender.is_outsider if sender is not None else labels.differs(core, label)):
        return False
    labels.refuse(core, link, packet.sender, label or (sender.label if sender is not None else ""))
    if sender is not None:
        sender.data_received_ms = core.now_ms
    if packet.type != c.PONG:
        heartbeat.send(core, link, c.PONG, with_label=label is not None)
    elif sender is not None and not link.inbound:
        links.note_pong(core, link, sender, core.now_ms, has_extensions=False)
    return True


def _handle_news(core: Core, link: Link, node: Node, packet: Packet, verdict: Verdict) -> None:
    """Applies what is news in a heartbeat of the link's node (R33).

    The verdict about its entries rests on nothing that its header could change without a new version. If the header
    changed something, the rest is applied in full.
    """
    kind = c.PONG if verdict.is_pong else c.PING
    core.counters[MESSAGES_RECEIVED[kind]] += 1
    shard_before = node.shard_id
    if verdict.header_is_known:
        node.data_received_ms = core.now_ms
        node.times.set_repl_offset(packet.offset)
        is_credible = verdict.claims_are_known or epoch_bound.believes(core, node, packet.config_epoch)
        has_claims = is_credible and not verdict.claims_are_known
        if has_claims:
            epochs.observe_config(core, node, packet.config_epoch)
        if kind == c.PING:
            heartbeat.send(core, link, c.PONG)
        else:
            raw = node.raw_extensions  # as in the packet, or it would not have this verdict
            links.note_pong(core, link, node, core.now_ms, has_extensions=bool(raw and raw[1]))
        if has_claims:
            _apply_claims(core, node, packet)
    else:
        is_credible = _note_sender(core, node, packet)
        if kind == c.PING:
            heartbeat.send(core, link, c.PONG)
        _apply_header(core, link, node, packet, kind, is_credible=is_credible)
    if verdict.version != core.version.number:
        _apply_rest(core, node, packet, shard_before, is_credible=is_credible)
    elif verdict.news:
        gossip_in.apply(core, node, packet.gossip_at(verdict.news))


def _apply_claims(core: Core, sender: Node, packet: Packet) -> None:
    """Applies the claims of a primary in a header of which all else is known."""
    roles.apply_header_claims(core, sender, packet.config_epoch, packet.myslots)
    if sender.config_epoch == core.myself.config_epoch:
        epochs.resolve_collision(core, sender)


def _answer(core: Core, link: Link, sender: Node | None, packet: Packet, *, may_be_met: bool) -> None:
    """Answers a PING or MEET; a MEET of a stranger first becomes a handshake."""
    kind = packet.type
    if kind != c.PONG:
        learn_ip(core, link, sure=kind == c.MEET)
        if kind == c.MEET and sender is not None:
            links.dial_anew(core, sender)
        elif kind == c.MEET and may_be_met:
            _meet_stranger(core, link, packet)
        heartbeat.send(core, link, c.PONG, with_label=labels.told_in(packet) is not None)


def _apply_header(core: Core, link: Link, sender: Node, packet: Packet, kind: int, *, is_credible: bool) -> None:
    """Applies what the header of a heartbeat says, beyond that of other messages (`_note_sender`)."""
    sender.flags &= ~c.FLAG_MEET
    if (sender.flags ^ packet.flags) & c.FLAG_NOFAILOVER:
        sender.flags ^= c.FLAG_NOFAILOVER
        core.want_save()
    if kind == c.PING:
        address.update_from_header(core, sender, link, packet)
    elif kind == c.PONG and not link.inbound:
        links.note_pong(core, link, sender, core.now_ms, has_extensions=packet.raw_extensions[1] > 0)
    if not is_credible:
        return
    extensions.learn_shard(core, sender, packet)
    roles.apply_header(core, sender, packet)
    if sender.config_epoch == core.myself.config_epoch:
        epochs.resolve_collision(core, sender)


def _apply_rest(core: Core, sender: Node, packet: Packet, shard_before: str, *, is_credible: bool) -> None:
    """Applies what follows the header: gossip and extensions. Then two primaries may turn out to be of one shard.

    Whom a sender hears has nothing to do with its epochs, so its gossip counts also when they are not believed.
    """
    if packet.count:
        gossip_in.apply(core, sender, _gossip_news(core, packet))
    if not is_credible:
        return
    extensions.apply(core, sender, packet)
    if sender.shard_id != shard_before:
        roles.give_way(core, sender)


def _gossip_news(core: Core, packet: Packet) -> list[GossipEntry]:
    """The gossip entries that say something new to the state as it is now: the header has been applied.

    While a node joins, or a cluster changes, the headers say something new, and nearly all of the entries do not.
    """
    view = quiet.view(core) if packet.count >= GOSSIP_COMPARED_MIN else None
    news = view.gossip_news(packet, core.now_ms) if view is not None else None
    return packet.gossip if news is None else packet.gossip_at(news)


def _meet_stranger(core: Core, link: Link, packet: Packet) -> None:
    if link.node is not None:
        return  # its handshake is under way
    handshake.accept_meet(core, link, packet)
    if link.node is not None:
        gossip_in.apply_from_stranger(core, packet)


# ---------------------------------------------------------------- other types


def _handle_light(core: Core, link: Link, packet: Packet) -> None:
    """A light packet names no sender. It comes from the link's node, so the link must have one (H17)."""
    node = link.node
    if node is None or node.in_handshake:
        _close(core, link, Refusal.LIGHT_FIRST, "a light packet came first on the link")
        return
    if node.is_outsider:
        labels.refuse(core, link, node.node_id, node.label)
        return
    node.data_received_ms = core.now_ms
    _handle_message(core, link, node, packet)


def _handle_message(core: Core, link: Link, sender: Node, packet: Packet) -> None:
    message = packet.decode()
    ours = _MODULES.get(message.module_id) if isinstance(message, ModuleMessage) else None
    if ours is not None and isinstance(message, ModuleMessage):
        ours(core, sender, message)
    elif isinstance(message, ModuleMessage) and message.module_id == c.LEAVE_MODULE_ID:
        leaving.receive(core, link, sender, message)  # which answers on this link
    else:
        pubsub.receive(core, sender, packet)


def _handle_fail(core: Core, link: Link, sender: Node, packet: Packet) -> None:
    message = packet.decode()
    assert isinstance(message, Fail)
    node = core.table.find(message.node_id)
    if node is None or node is core.myself or node.in_handshake:
        core.count_refused(Refusal.FAIL_SUBJECT)
        return
    failure.take_fail_message(core, node, sender)


def _handle_update(core: Core, link: Link, sender: Node, packet: Packet) -> None:
    message = packet.decode()
    assert isinstance(message, Update)
    roles.apply_update(core, sender, message)


_MODULES: Final[dict[int, Callable[[Core, Node, ModuleMessage], None]]] = {
    c.SHARD_ORDERS_MODULE_ID: shard_orders.receive,
    c.TAGS_MODULE_ID: tags.receive,
    c.SLOT_CLAIMS_MODULE_ID: post.receive,
    c.OBSERVER_MODULE_ID: observing.receive,
}
"""What clusterbus nodes send each other: the modules of `constants.OWN_MODULE_IDS`."""
_HANDLERS: Final[dict[int, Handler]] = {
    c.FAIL: _handle_fail,
    c.UPDATE: _handle_update,
    c.PUBLISH: _handle_message,
    c.PUBLISHSHARD: _handle_message,
    c.MODULE: _handle_message,
    c.AUTH_REQUEST: vote.handle_request,
    c.AUTH_ACK: election.take_vote,
    c.MFSTART: manual_failover.handle_start,
}
"""The types that do more than their header does. The others are only counted."""
