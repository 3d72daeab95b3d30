"""The tick as a plain walk: every node, link and report is looked at each time, and nothing is remembered.

Owns the rule that the tick of `cron` must have the effects of, with agendas and kept surveys that spare it the walk.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster import cron
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import (
    election,
    failure,
    handover,
    manual_failover,
    reachability,
    replica_migration,
    replication,
    roles,
)
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.membership import acquaintance, handshake, links, tags
from clusterbus.cluster.membership.myself import refresh_myself
from clusterbus.cluster.model.surveys import Coverage, Survey
from clusterbus.cluster.state import ClusterState


class PlainState(ClusterState):
    """A state whose ticks are plain walks."""

    def tick(self, now_ms: int) -> None:
        self._core.set_now(now_ms)
        self._ticks += 1
        _tick(self._core, self._ticks)


def _tick(core: Core, number: int) -> None:
    refresh_myself(core)
    replication.refresh_offset(core)
    core.forgotten.expire(core.now_ms)
    if core.wants_sync:
        core.want_save(durable=True)
    if number % c.TICKS_PER_RANDOM_PING == 0:
        _second(core)
    dials_left = c.DIALS_PER_TICK_MAX if core.switches.reconnects else 0
    for node in core.table:
        flags = node.flags
        if flags & (c.FLAG_MYSELF | c.FLAG_NOADDR):
            continue
        if (flags & c.FLAG_HANDSHAKE or node.provisional) and handshake.expire(core, node):
            continue
        if not flags & c.FLAG_HANDSHAKE:
            cron._watch(core, node)
        if node.link is None and node.dialing is None and core.now_ms >= node.next_dial_ms and dials_left:
            dials_left -= 1
            links.dial(core, node)
    reachability.tick(core, is_second=number % c.TICKS_PER_RANDOM_PING == 0)
    manual_failover.tick(core)
    handover.tick(core)
    if core.myself.is_replica:
        roles.follow_primary_of_primary(core)
        election.step(core)
        if number % c.TICKS_PER_RANDOM_PING == 0:
            core.survey = Survey()
            replica_migration.consider(core)
    core.coverage = Coverage()
    if not core.state_is_ok:
        core.want_state_update()


def _second(core: Core) -> None:
    _acquaint(core)
    if core.switches.pings_at_random:
        cron._ping_longest_unheard(core)
    idle_max_ms = core.inbound_idle_ms
    for link in list(core.links.values()):
        if link.inbound and links.age_of_last_read_ms(core, link) > idle_max_ms:
            core.counters["links_lost_idle"] += 1
            core.close_link(link, "idle")
    core.gave_way_version = 0
    roles.give_way_to_newest(core)
    for node in list(core.table.reported.values()):
        failure.count_reports(core, node)
    cron._tell_forgotten(core)
    tags.second(core)


def _acquaint(core: Core) -> None:
    strangers = []
    for node in core.table.all_nodes:
        if node.inbound_link is not None:
            acquaintance._note_proof(core, node)
        elif acquaintance._is_due(core, node):
            strangers.append(node)
    if any(acquaintance._has_forgotten_us(core, node) for node in core.table.all_nodes):
        return
    for node in strangers:
        assert node.link is not None
        node.meets_again += 1
        node.met_again_ms = core.now_ms
        core.log("notice", f"Node {node.name} does not seem to know this node: sending it a MEET")
        heartbeat.send(core, node.link, c.MEET)
