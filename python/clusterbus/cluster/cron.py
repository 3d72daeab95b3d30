"""The tick, ten times a second: which nodes to dial, to ping and to suspect, and what expires (S1-S3).

Owns the periodic rules, and when each node is looked at (`_due_ms`): a tick looks at those nodes whose time has come,
so a calm cluster costs next to nothing. A rule that may act on a node earlier than `_due_ms` says is broken: all that
brings the time forward must be a field declared `Scheduling`. Main thread. Source: `clusterCron`,
`clusterNodeCronHandleReconnect`, where every node is looked at in every tick.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import post
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import (
    election,
    epoch_bound,
    failure,
    handover,
    manual_failover,
    reachability,
    replica_migration,
    replication,
    roles,
)
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.membership import acquaintance, handshake, labels, leaving, links, tags
from clusterbus.cluster.membership.myself import refresh_myself
from clusterbus.cluster.model.node import Link, Node

UNREACHABLE_ON_PURPOSE = c.FLAG_MYSELF | c.FLAG_NOADDR


def tick(core: Core, number: int) -> None:
    """One tick. `number` counts them: every tenth one also does the work that is due once a second."""
    core.ticked_ms = core.now_ms
    refresh_myself(core)
    labels.follow_config(core)
    replication.refresh_offset(core)
    _apply_timings(core)
    core.forgotten.expire(core.now_ms)
    if core.wants_sync:
        core.want_save(durable=True)
    if number % c.TICKS_PER_RANDOM_PING == 0:
        acquaintance.tick(core)  # before PINGs go out: it leaves nodes alone that owe us a PONG
        if core.switches.pings_at_random:
            _ping_longest_unheard(core)
        _close_idle_inbound(core)
        roles.give_way_to_newest(core)
        for node in list(core.table.reported.values()):
            failure.count_reports(core, node)
        _tell_forgotten(core)
        tags.second(core)
        epoch_bound.weigh(core)
    _look_at_due_nodes(core)
    reachability.tick(core, is_second=number % c.TICKS_PER_RANDOM_PING == 0)
    leaving.tick(core)
    manual_failover.tick(core)
    handover.tick(core)
    post.tick(core)
    if core.myself.is_replica and not core.leave.is_leaving:
        roles.follow_primary_of_primary(core)
        election.step(core)
        if number % c.TICKS_PER_RANDOM_PING == 0:
            replica_migration.consider(core)
    if not core.state_is_ok:
        core.want_state_update()


def _tell_forgotten(core: Core) -> None:
    """Our heartbeats carry the time left of each forgotten node: they are new when one of these times is."""
    told = tuple(core.forgotten.remaining(core.now_ms))
    if told != core.forgotten_told:
        core.forgotten_told = told
        core.version.move_own_header()


def _ping_longest_unheard(core: Core) -> None:
    """Of five random nodes, PINGs the one whose last PONG is the oldest."""
    chosen: Node | None = None
    for _ in range(c.RANDOM_PING_CANDIDATES):
        node = core.table.pick(core.random)
        if node.link is None or node.ping_sent_ms or node.flags & (c.FLAG_MYSELF | c.FLAG_HANDSHAKE):
            continue
        core.take_gossiped_pong(node)
        if chosen is None or node.pong_received_ms < chosen.pong_received_ms:
            chosen = node
    if chosen is not None and chosen.link is not None:
        heartbeat.send(core, chosen.link, c.PING)


def _apply_timings(core: Core) -> None:
    """Looks at everything anew if a directive has changed that due times follow from."""
    timings = (core.node_timeout_ms, core.config.cluster_ping_interval)
    if timings != core.timings:
        core.timings = timings
        core.table.agenda.put_all_first()
        core.inbound_agenda.put_all_first()


def _look_at_due_nodes(core: Core) -> None:
    """Ends handshakes that take too long, watches nodes and dials them, in the order of the table."""
    agenda = core.table.agenda
    may_dial = core.switches.reconnects and not core.leave.is_leaving
    dials_left = c.DIALS_PER_TICK_MAX if may_dial else 0
    for node in core.table.in_order(agenda.due(core.now_ms)):
        flags = node.flags
        if flags & UNREACHABLE_ON_PURPOSE:
            agenda.remove(node)
            continue
        if (flags & c.FLAG_HANDSHAKE or node.provisional) and handshake.expire(core, node):
            continue
        if not flags & c.FLAG_HANDSHAKE:
            _watch(core, node)
        if node.link is None and node.dialing is None and core.now_ms >= node.next_dial_ms and dials_left:
            dials_left -= 1
            links.dial(core, node)
        agenda.put(node, _due_ms(core, node))


def _due_ms(core: Core, node: Node) -> int:
    """The earliest time at which a look at the node may do something, unless a `Scheduling` field changes before.

    PINGs and PONGs do not count as changes: whenever one may come from now on, no look can be due before `calm_ms`
    after it. (For a PONG that came before and is told later, `links.note_pong` makes the node due.) Nor does what
    workers note: it only postpones a PING, and the node is looked at once for nothing.
    """
    now_ms, flags, link = core.now_ms, node.flags, node.link
    if flags & c.FLAG_HANDSHAKE:
        due_ms = node.created_ms + core.handshake_timeout_ms + 1
    else:
        timeout_ms = core.node_timeout_ms
        idle_max_ms = core.config.cluster_ping_interval or timeout_ms // 2
        calm_ms = min(idle_max_ms, timeout_ms // 2)
        due_ms = now_ms + calm_ms + 1
        sent_ms = node.ping_sent_ms
        if sent_ms == 0:
            due_ms = min(due_ms, node.pong_received_ms + idle_max_ms + 1)
        elif now_ms - sent_ms <= timeout_ms // 2:
            due_ms = min(due_ms, sent_ms + timeout_ms // 2 + 1)
        else:
            if link is not None:
                due_ms = min(due_ms, link.created_ms + timeout_ms + 1)
            if not flags & c.FAILING:
                due_ms = min(due_ms, sent_ms + timeout_ms + 1)
        if node.provisional:
            due_ms = min(due_ms, node.created_ms + core.handshake_timeout_ms + 1)
    if link is None and node.dialing is None:
        due_ms = min(due_ms, node.next_dial_ms)
    return due_ms


def _watch(core: Core, node: Node) -> None:
    """PINGs an idle node, drops a link without answers, and flags a silent node PFAIL after the node timeout."""
    now_ms = core.now_ms
    timeout_ms = core.node_timeout_ms
    link = node.link
    if node.ping_sent_ms == 0:
        idle_max_ms = core.config.cluster_ping_interval or timeout_ms // 2
        if now_ms - node.pong_received_ms > idle_max_ms:
            core.take_gossiped_pong(node)
        if now_ms - node.pong_received_ms > idle_max_ms:
            if link is not None:
                heartbeat.send(core, link, c.PING)
            else:
                node.ping_sent_ms = now_ms  # there is no link to send it on, but the wait for a PONG begins
        return
    ping_delay_ms = now_ms - node.ping_sent_ms
    if ping_delay_ms <= timeout_ms // 2:
        return
    data_delay_ms = links.silence_ms(core, node)
    if link is not None and now_ms - link.created_ms > timeout_ms:
        if data_delay_ms > timeout_ms // 2:
            core.counters["links_lost_silent"] += 1
            core.close_link(link, "no answer and no data")
        elif min(ping_delay_ms, links.age_of_last_read_ms(core, link)) > timeout_ms:
            # What the node sends on its own link says nothing about ours (P7).
            core.counters["links_lost_no_pong"] += 1
            core.close_link(link, "no PONG for a node timeout")
    if min(ping_delay_ms, data_delay_ms) > timeout_ms:
        failure.suspect(core, node)


def _close_idle_inbound(core: Core) -> None:
    """Closes inbound links that have been silent for long: half-open ones, and those of no known node (H32)."""
    idle_max_ms = core.inbound_idle_ms
    idle: dict[Link, None] = {}
    for link in core.inbound_agenda.due(core.now_ms):
        age_ms = links.age_of_last_read_ms(core, link)
        if age_ms > idle_max_ms:
            idle[link] = None
        else:
            core.inbound_agenda.put(link, core.now_ms - age_ms + idle_max_ms)
    for link in [link for link in core.links.values() if link in idle] if idle else []:
        core.counters["links_lost_idle"] += 1
        core.close_link(link, "idle")
