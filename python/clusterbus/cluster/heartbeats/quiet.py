"""Quiet heartbeats, which say nothing new: the view that they are recognised by, and their effects (R33).

Owns the rows of the view: what each node's next heartbeat looks like if it changes nothing. Whatever makes `receive` do
more than note times and the replication offset must make a heartbeat differ from its row: its header, or the entries
that do. Main thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import MESSAGES_RECEIVED, MESSAGES_SENT, Core
from clusterbus.cluster.heartbeats import extensions, gossip_out, heartbeat
from clusterbus.cluster.membership import links
from clusterbus.cluster.model.node import Node, Succession
from clusterbus.view import ExpectedHeartbeat, NodeRow, View
from clusterbus.wire import Heartbeat, encode

HEADER_FLAGS: Final = c.FLAG_LIGHT_PUBLISH | c.FLAG_LIGHT_MODULE | c.FLAG_NOFAILOVER | c.FLAG_MY_PRIMARY_FAIL
"""The flags of a header that the state keeps."""


def view(core: Core) -> View | None:
    """The view of the present version; None while this node does not know its own address.

    It is made from the last one and the rows that changed since, so it costs little to publish one at once.
    """
    last, version = core.last_view, core.version
    if not core.myself.ip:
        return None
    if last is None or last.version != version.number:
        rows = []
        for node in version.outdated:
            is_viewed = not (node.flags & c.FLAG_HANDSHAKE or node.provisional)
            if node.viewed_as and not (is_viewed and node.viewed_as == node.node_id):
                version.gone.append(node.viewed_as)
            node.viewed_as = node.node_id if is_viewed else ""
            if is_viewed:
                rows.append(_row(core, node))
        core.last_view = last = _view(core, rows, last, version.gone)
        version.outdated, version.gone = {}, []
    return last


def whole_view(core: Core) -> View:
    """The same view, with every row made anew. For tests: `view` must never differ from it."""
    nodes = (node for node in core.table.all_nodes if not (node.flags & c.FLAG_HANDSHAKE or node.provisional))
    return _view(core, [_row(core, node) for node in nodes], None, [])


def _view(core: Core, rows: list[NodeRow], previous: View | None, gone: list[str]) -> View:
    of_version, ours = core.own_heartbeat
    if of_version != core.version.own_header:
        ours = encode(
            Heartbeat(c.PING, heartbeat.header(core, c.MFLAG_EXTENSIONS), (), extensions.own_extensions(core))
        )
        # What it says of forgotten nodes changes with time.
        core.own_heartbeat = 0 if core.forgotten else core.version.own_header, ours
    return View(
        version=core.version.shared,
        now_ms=core.now_ms,
        heartbeat=ours,
        current_epoch=core.current_epoch,
        table_len=len(core.table),
        gossip_percent=core.applied.gossip_percent,
        rows=rows,
        previous=previous,
        gone=gone,
    )


def _row(core: Core, node: Node) -> NodeRow:
    return NodeRow(
        times=node.times,
        node_id=node.node_id,
        ip=node.ip,
        port=core.client_port(node),
        pport=core.other_port(node),
        cport=node.cport,
        flags=node.flags & ~gossip_out.NOT_GOSSIPED | node.flags & c.FLAG_MYSELF,
        is_gossiped=node is not core.myself and gossip_out.is_gossiped(node),
        has_reports=bool(node.fail_reports),
        takes_extensions=bool(node.flags & c.FLAG_EXTENSIONS),
        expected=_expected(core, node),
    )


def _expected(core: Core, node: Node) -> ExpectedHeartbeat | None:
    """The look of a heartbeat of the node that changes nothing; None if all its heartbeats must be applied in full."""
    if node is core.myself or node.raw_extensions is None or node.is_outsider:
        return None
    if node.flags & (c.FLAG_HANDSHAKE | c.FLAG_MEET):
        return None
    is_primary = node.is_primary
    # A replica of a node that we do not know would look like a primary, whose claims count.
    follows_a_stranger = not is_primary and node.replicaof is None
    myself = core.myself
    is_ours_to_resolve = node.node_id > myself.node_id or node.succession is Succession.PREDECESSOR
    collides = is_primary and node.config_epoch == myself.config_epoch and is_ours_to_resolve
    # Once it claims these slots again, no other node may have them under whatever epoch.
    leaves_slots_out = bool(node.slot_bits & core.slots.not_claimed)
    raw, raw_len = node.raw_extensions
    return ExpectedHeartbeat(
        config_epoch=node.config_epoch if is_primary else None,
        myslots=node.slots if is_primary else b"",
        replicaof=node.replicaof.node_id if node.replicaof is not None else None,
        flags=node.flags & HEADER_FLAGS,
        flags_mask=HEADER_FLAGS,
        extensions=raw,
        extensions_len=raw_len,
        reports=[about.times for about in core.table.reported.values() if node in about.fail_reports],
        is_unsettled=follows_a_stranger or collides or leaves_slots_out,
    )


def take(core: Core, answered: int, noted: int, pongs: Sequence[tuple[int, int]]) -> None:
    """Applies quiet heartbeats: the number of PINGs and of our answers, that of PONGs, the links and times of these.

    They came at an earlier version, perhaps, but what is noted of them holds at any: the node was there at that time.
    """
    core.counters[MESSAGES_RECEIVED[c.PING]] += answered
    core.counters[MESSAGES_RECEIVED[c.PONG]] += noted
    core.counters[MESSAGES_SENT[c.PONG]] += answered
    for link_id, at_ms in pongs:
        link = core.links.get(link_id)
        if link is not None and link.node is not None:
            # A quiet heartbeat has the same extensions as the packet that was applied last.
            raw = link.node.raw_extensions
            links.note_pong(core, link, link.node, at_ms, has_extensions=bool(raw and raw[1]))
