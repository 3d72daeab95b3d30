"""Links that come up, are answered, fail or end; and the wait before a lost one is dialled again.

Owns whose link is whose (`Node.link`, `Node.inbound_link`, `Link.node`), and dials with their backoff (H39). Which node
an inbound link belongs to is decided in `receive`. Main thread. Source: `clusterLinkConnectHandler`,
`clusterNodeCronHandleReconnect`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.effects import CloseLink, Dial
from clusterbus.cluster.events import LinkUp
from clusterbus.cluster.failover import failure
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.membership import admission, observing, tags
from clusterbus.cluster.membership.myself import learn_ip
from clusterbus.cluster.model.node import Certificate, Kin, Link, Node
from clusterbus.cluster.model.refusal import Refusal

NOT_ALLOWED: Final = "not allowed to be a member"


def dial(core: Core, node: Node) -> None:
    """Asks for a link to a node, unless it may be none of the members."""
    fault = admission.may_not_dial(core, node)
    if fault:
        node.last_end = fault
        if node.ping_sent_ms == 0:
            node.ping_sent_ms = core.now_ms
        _back_off(core, node)
        return
    node.dialing = (node.ip, node.cport)
    core.emit(Dial(node.node_id, node.ip, node.cport))


def opened(core: Core, node_id: str, link_id: int, local_ip: str, certificate: Certificate | None = None) -> None:
    """Our dial succeeded. The first message on the link is a PING, or the MEET of a handshake.

    If a PING still waited for its PONG when the old link was lost, its time stays. So a redial does not hide that the
    node is silent.
    """
    node = core.table.find(node_id)
    if node is None or node.link is not None or node.dialing != (node.ip, node.cport):
        if node is not None and node.link is None:
            node.dialing = None
        core.emit(CloseLink(link_id, "no longer wanted"))
        return
    link = Link(
        link_id,
        node=node,
        inbound=False,
        peer_ip=node.ip,
        local_ip=local_ip,
        created_ms=core.now_ms,
        certificate=certificate,
    )
    known_id = "" if node.in_handshake else node_id
    if not admission.admits_link(core, link, known_id) or (known_id and not admission.admits_sender(core, link, node)):
        core.emit(CloseLink(link_id, NOT_ALLOWED))
        dial_failed(core, node_id, NOT_ALLOWED)
        return
    core.links[link_id] = link
    node.link = link
    node.dialing = None
    learn_ip(core, link, sure=False)
    if node.kin is Kin.OTHER:
        node.kin = Kin.UNKNOWN  # it may be another program than before
    if not node.in_handshake:
        core.bind(link, node_id)
        core.notify(LinkUp(node_id, inbound=False))
    waiting_since_ms = node.ping_sent_ms
    heartbeat.send(core, link, c.MEET if node.flags & c.FLAG_MEET else c.PING, with_label=bool(core.applied.label))
    if waiting_since_ms:
        node.ping_sent_ms = waiting_since_ms


def dial_failed(core: Core, node_id: str, error: str) -> None:
    """Our dial failed."""
    node = core.table.find(node_id)
    if node is None or node.dialing is None:
        return
    node.dialing = None
    _note_end(core, node, error, answered=True)  # it never was a link
    core.counters["dials_failed"] += 1
    core.log("debug", f"Connection with node {node.name} failed: {error}")
    if node.ping_sent_ms == 0:
        node.ping_sent_ms = core.now_ms
    _back_off(core, node)


def accepted(core: Core, link_id: int, ip: str, local_ip: str, certificate: Certificate | None = None) -> None:
    """A peer dialled us. Its packets will say whose link it is."""
    if core.anonymous_links >= core.config.cluster_max_anonymous_links:
        core.refuse(Refusal.LINK_CAP, ip, "too many inbound links of unknown peers")
        core.emit(CloseLink(link_id, "too many links"))
        return
    link = Link(
        link_id,
        node=None,
        inbound=True,
        peer_ip=ip,
        local_ip=local_ip,
        created_ms=core.now_ms,
        certificate=certificate,
    )
    if not admission.admits_link(core, link):
        core.emit(CloseLink(link_id, NOT_ALLOWED))
        return
    core.links[link_id] = link
    core.inbound_agenda.put_first(link)
    core.anonymous_links += 1


def assign(core: Core, link: Link, node: Node) -> None:
    """Makes an inbound link that of `node`, in place of an older one."""
    if node.inbound_link is not None:
        core.close_link(node.inbound_link, "replaced by a newer one")
    if node.is_foreign:
        node.next_dial_ms = core.now_ms  # it does speak this bus now, so it need not wait out the long time
    link.node = node
    link.assigned_ms = core.now_ms
    node.inbound_link = link
    core.anonymous_links -= 1
    if not node.in_handshake:
        core.bind(link, node.node_id)
        core.notify(LinkUp(node.node_id, inbound=True))


def release(core: Core, node: Node, inbound: Link) -> None:
    """The inbound link of a node in handshake is not its own after all. The link's next packet says whose it is."""
    node.inbound_link = None
    core.table.half_known[node.node_id] = node
    inbound.node = None
    core.anonymous_links += 1


def note_pong(core: Core, link: Link, node: Node, at_ms: int, *, has_extensions: bool) -> None:
    """A node answered on the link that we dialled, at `at_ms`, which may be some time ago."""
    if has_extensions and not link.takes_light:
        _allow_light(core, link, node)
    link.has_answered = True
    node.is_foreign = False
    node.unanswered_links = 0
    node.pong_received_ms = min(at_ms, core.now_ms)
    node.answered_ping_ms = node.ping_sent_ms or node.answered_ping_ms
    node.ping_sent_ms = 0
    if at_ms < core.ticked_ms and node.agenda is not None:
        node.agenda.put_first(node)  # the last tick did not know of it
    node.data_received_ms = max(node.data_received_ms, node.pong_received_ms)
    node.times.forget_gossiped()
    node.dial_failures = 0
    core.table.confirm(node)
    if link.certificate is not None:
        admission.take_pin(core, link, node)
    if node.flags & c.FAILING:
        failure.note_answer(core, node)


def closed(core: Core, link_id: int, reason: str) -> None:
    """A connection ended, on either side."""
    link = core.links.get(link_id)
    if link is None:
        return
    node = link.node
    core.forget_link(link, reason)
    if node is not None and not link.inbound:
        _note_end(core, node, reason, answered=link.has_answered)
        _back_off(core, node)


def hang_up(core: Core, link: Link, reason: str) -> None:
    """Closes a link because of what its peer sent. If we dialled it, the next dial waits as after any other end (H39):
    else such a peer would be dialled with every tick.
    """
    node = link.node
    core.close_link(link, reason)
    if node is not None and not link.inbound:
        _note_end(core, node, reason, answered=link.has_answered)
        _back_off(core, node)


def dial_anew(core: Core, node: Node) -> None:
    """A known node sent us a MEET: it has no link of ours, or does not know whose it is. Our link to it is dropped, and
    the first PING on the next one tells (P7).

    Not while either side may still be in the handshake, nor soon after the last time: a link is dropped once in a
    handshake timeout, however often a node sends MEET.
    """
    link = node.link
    if link is None or core.now_ms - max(node.created_ms, link.created_ms) <= core.handshake_timeout_ms:
        return
    core.log("notice", f"Node {node.name}, which is known, sent a MEET: dialling it anew")
    core.close_link(link, "MEET of a known node")


def age_of_last_read_ms(core: Core, link: Link) -> int:
    """Milliseconds since any bytes were read on a link, or since it came up if none were."""
    age_ms = core.read_age_ms(link.link_id)
    return age_ms if age_ms is not None else core.now_ms - link.created_ms


def silence_ms(core: Core, node: Node) -> int:
    """Milliseconds since any bytes were read from a node, on either link (R23)."""
    silence = core.now_ms - node.data_received_ms
    for link in (node.link, node.inbound_link):
        if link is not None:
            age_ms = core.read_age_ms(link.link_id)
            if age_ms is not None and age_ms < silence:
                silence = age_ms
    return silence


def _allow_light(core: Core, link: Link, node: Node) -> None:
    """A node answered with extensions on the link that we dialled. Lets light messages out on it if the node knows us.

    A peer sends extensions only to a node that it has met. But if we have met just now, it may still hold us as a node
    in handshake. That is ruled out if it had dialled us before we sent the PING.
    """
    inbound = node.inbound_link
    if inbound is not None and inbound.created_ms < node.ping_sent_ms:
        link.takes_light = True
        core.receivers.clear()
        tags.greet(core, link, node)
        observing.greet(core, link, node)


def _note_end(core: Core, node: Node, reason: str, *, answered: bool) -> None:
    """Notes how a link or dial to a node ended: its address may be that of something that speaks another protocol, such
    as the bus of a Raft cluster (P32).
    """
    node.last_end = reason
    node.is_foreign = reason.partition(":")[0] in c.FOREIGN_LOSSES
    peer = f"{node.ip}:{node.cport}"
    if node.is_foreign:
        core.refuse(
            Refusal.PROTOCOL, peer, f"node {node.name} does not speak this cluster bus ({reason}): dialled more rarely"
        )
    elif not answered:
        node.unanswered_links += 1
        if node.unanswered_links % c.UNANSWERED_LINKS_TOLD == 0:
            text = f"ended {node.unanswered_links} links without an answer: it may not speak this cluster bus"
            core.refuse(Refusal.UNANSWERED, peer, text)


def _back_off(core: Core, node: Node) -> None:
    """Delays the next dial: twice as long after each failure in a row, up to a limit, and half of it by chance."""
    parts = c.REDIAL_FAILING_PARTS if node.flags & c.FAILING else c.REDIAL_ALIVE_PARTS
    longest_ms = c.REDIAL_FOREIGN_MAX_MS if node.is_foreign else core.node_timeout_ms // parts
    delay_ms = min(c.REDIAL_FIRST_MS << min(node.dial_failures, 16), longest_ms)
    node.dial_failures += 1
    node.next_dial_ms = core.now_ms + delay_ms // 2 + int(core.random.random() * delay_ms / 2)
