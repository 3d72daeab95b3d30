"""Outgoing messages: PING, PONG and MEET with gossip and extensions, FAIL, UPDATE, and messages that are only a header.

Owns the building of all messages of this layer but those of `pubsub`. Which nodes to ping and when is in `cron`; the
decision to answer is in `receive`. Main thread. Source: `clusterBuildMessageHdr`, `clusterSendPing`,
`clusterSendUpdate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import MESSAGES_SENT, Core
from clusterbus.cluster.effects import Broadcast, SendHeartbeat
from clusterbus.cluster.heartbeats import extensions, gossip_out
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.slots import bits_to_wire
from clusterbus.wire import Fail, Header, HeaderOnly, Heartbeat, Update

_NO_RECEIVER: Final = c.FLAG_MYSELF | c.FLAG_HANDSHAKE


def header(core: Core, mflags: int = 0) -> Header:
    """The header of a message. A replica announces the slots and the config epoch of its primary."""
    myself = core.myself
    speaker = myself.primary
    if core.manual.pauses_writes:
        mflags |= c.MFLAG_PAUSED
    return Header(
        sender=myself.node_id,
        port=core.client_port(myself),
        pport=core.other_port(myself),
        cport=myself.cport,
        current_epoch=core.current_epoch,
        config_epoch=speaker.config_epoch,
        offset=core.repl_offset,
        myslots=speaker.slots,
        replicaof=myself.replicaof.node_id if myself.replicaof is not None else None,
        myip=core.config.cluster_announce_ip or "",
        flags=myself.flags,
        state=0 if core.state_is_ok else 1,
        mflags=mflags,
    )


def send(core: Core, link: Link, kind: int, *, with_label: bool = False) -> None:
    """Queues a PING, PONG or MEET (`kind`) on a link. If we dialled the link, a PING or MEET begins the wait for a
    PONG. A MEET tells our cluster's label if there is one, others only `with_label`.
    """
    with_label = with_label or (kind == c.MEET and bool(core.applied.label))
    node = link.node
    if kind != c.PONG and node is not None and not link.inbound:
        core.take_gossiped_pong(node)
        node.ping_sent_ms = core.now_ms
        if core.logs_debug:
            core.log("debug", f"Pinging node {node.name}")
    if kind != c.MEET and node is not None and not node.in_handshake and not with_label:
        core.emit(SendHeartbeat(link.link_id, kind))
        core.counters[MESSAGES_SENT[kind]] += 1
    else:
        core.send(link, build(core, node, kind, with_label=with_label))


def build(core: Core, node: Node | None, kind: int, *, with_label: bool = False) -> Heartbeat:
    """A PING, PONG or MEET for a node, or for an unknown peer if `node` is None.

    The flag for extensions is always set, which tells the peer that we take them. They are sent only to a peer that is
    known to take them.
    """
    takes_extensions = node is not None and node.flags & c.FLAG_EXTENSIONS
    told = extensions.own_extensions(core) if takes_extensions else []
    if with_label:
        told.append(extensions.label_extension(core))
    return Heartbeat(
        kind,
        header(core, c.MFLAG_EXTENSIONS),
        [gossip_out.entry_about(core, mentioned) for mentioned in gossip_out.select(core, node)],
        told,
    )


def broadcast_fail(core: Core, node: Node) -> None:
    """Announces to every connected node that `node` is FAIL."""
    _broadcast(core, Fail(header(core), node.node_id))


def broadcast_header(core: Core, kind: int, mflags: int) -> None:
    """Sends a message that is only a header to every connected node: FAILOVER_AUTH_REQUEST."""
    _broadcast(core, HeaderOnly(kind, header(core, mflags)))


def broadcast_pong(core: Core, nodes: Iterable[Node] | None = None) -> None:
    """Announces what we are and own at once, to every connected node or those in `nodes` (`clusterBroadcastPong`)."""
    for node in core.table if nodes is None else nodes:
        if node.link is not None and not node.flags & _NO_RECEIVER:
            send(core, node.link, c.PONG)


def broadcast_now(core: Core, kind: int) -> None:
    """Like `broadcast_pong`, but says what we are at this moment and not what we will be when this input is handled."""
    for node in core.table:
        if node.link is not None and not node.flags & _NO_RECEIVER:
            core.send(node.link, build(core, node, kind))


def send_header(core: Core, link: Link, kind: int) -> None:
    """Queues a message that is only a header on a link: FAILOVER_AUTH_ACK, MFSTART."""
    core.send(link, HeaderOnly(kind, header(core)))


def _broadcast(core: Core, message: Fail | HeaderOnly) -> None:
    links = tuple(node.link.link_id for node in core.table if node.link is not None and not node.flags & _NO_RECEIVER)
    if links:
        core.emit(Broadcast(links, message))
        core.counters[MESSAGES_SENT[message.type]] += len(links)


def send_update(core: Core, link: Link, owner: Node) -> None:
    """Sends the owner of some slots to a peer with older claims. Slots that the owner no longer claims are left out."""
    version, updates = core.updates
    if version != core.version.number:
        updates = {}
        core.updates = core.version.number, updates
    update = updates.get(owner.node_id)
    if update is None:
        slots = bits_to_wire(owner.slot_bits & ~core.slots.not_claimed)
        update = Update(header(core), owner.config_epoch, owner.node_id, slots)
        if len(updates) < c.UPDATES_KEPT_MAX:
            updates[owner.node_id] = update
    core.send(link, update)
