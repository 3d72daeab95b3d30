"""The numbers of one moment, taken on the main loop in one go.

Owns which number belongs to which metric. Must never wait, format text or change anything. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from clusterbus.cluster import constants as c
from clusterbus.member.counters import byte_counters, refused_messages, thread_time_lines
from clusterbus.member.member import Member
from clusterbus.metrics import table as t
from clusterbus.metrics.health import reasons_against
from clusterbus.version import __version__
from clusterbus.view import NodeTimes

THREAD_PREFIX: Final = "used_active_time_"
MESSAGE_PREFIX: Final = "cluster_stats_messages_"

Labels = tuple[str, ...]
Sample = tuple[Labels, int | float]


class Peers(NamedTuple):
    """What the metrics tell of the other nodes, a list for each field, all in the same order: of thousands of nodes
    that is gathered several times faster than a record for each.
    """

    node_ids: list[str]
    ips: list[str]
    ports: list[int]
    flags: list[int]
    shard_ids: list[str]
    slot_bits: list[int]
    ups: list[bool]
    """Whether our link to the node is up."""
    rtts_us: list[int | None]
    rtts_max_us: list[int | None]

    def part(self, begin: int, end: int) -> Peers:
        """Some of the peers."""
        return Peers(*(column[begin:end] for column in self))  # type: ignore[arg-type]


class _Kept(NamedTuple):
    """What was gathered of the peers at a version of the state, but for round trips, and where these are to be had. All
    of it is declared `Viewed` in `Node`, so it is the same as long as the version is.
    """

    version: int
    peers: Peers
    times: list[NodeTimes]


_KEPT: Final[WeakKeyDictionary[Member, _Kept]] = WeakKeyDictionary()
"""To look at thousands of nodes costs as much as all the rest of a snapshot, and between most scrapes none changes."""


class Snapshot(NamedTuple):
    """The samples of each metric that is not about a peer, and the peers."""

    samples: dict[t.Metric, list[Sample]]
    peers: Peers


def take(member: Member) -> Snapshot:
    """The numbers of now."""
    samples: dict[t.Metric, list[Sample]] = {metric: [] for metric in t.METRICS if metric not in t.PEERS}
    for metric, labels, number in _samples(member):
        samples[metric].append((labels, number))
    return Snapshot(samples, _peers(member))


def _samples(member: Member) -> Iterator[tuple[t.Metric, Labels, int | float]]:
    stats = member.engine.stats()
    yield from _of_this_node(member)
    yield from _of_cluster_info(member, stats)
    for name, metric in t.OF_ENGINE.items():
        yield metric, (), stats.get(name, 0)
    for name, metric in t.OF_DRIVER.items():
        yield metric, (), member.driver.counters[name]
    for name, metric in t.OF_STATE.items():
        yield metric, (), member.state.counters[name]
    counted = stats | member.state.counters
    for name, reason in t.REASONS.items():
        yield t.REFUSED, (reason,), counted.get(name, 0)
    for direction in ("sent", "received"):
        for kind in t.BYTE_CLASSES:
            yield t.BYTES, (direction, kind), stats.get(f"bytes_{direction}_{kind}", 0)
    for name, seconds in thread_time_lines(member.driver, stats):
        yield t.THREAD_TIME, (name.removeprefix(THREAD_PREFIX),), float(str(seconds))
    yield t.SENDBUF_EXCEEDED, (), stats.get("sendbuf_limit_exceeded", 0)


def _of_this_node(member: Member) -> Iterator[tuple[t.Metric, Labels, int | float]]:
    state = member.state
    myself, slots = state.myself, state.open_slots
    status = member.driver.saver.status
    role = "replica" if myself.is_replica else "primary"
    yield t.UP, (), 1
    yield t.INFO, (myself.node_id, role, myself.shard_id, __version__), 1
    yield t.READY, (), int(not reasons_against(member))
    yield t.UPTIME, (), (member.clock.now_ms() - member.started_ms) / 1000
    yield t.SLOTS, (), myself.slot_bits.bit_count()
    for direction, moves in zip(("migrating", "importing"), slots, strict=True):
        yield t.OPEN_SLOTS, (direction,), len(moves)
    yield t.SAVES, (), status.saves
    yield t.SAVE_FAILURES, (), status.failures
    yield t.SAVE_OK, (), int(not status.last_error)


def _of_cluster_info(member: Member, stats: dict[str, int]) -> Iterator[tuple[t.Metric, Labels, int | float]]:
    state = member.state
    yield t.STATE, (), int(state.is_ok)
    if not state.is_ok:
        yield t.STATE_REASON, (state.reason.value,), 1
    for name, value in state.info_lines(byte_counters(stats) | refused_messages(stats)):
        if (metric := t.OF_CLUSTER_INFO.get(name)) is not None:
            yield metric, (), int(value)
        elif name == f"{MESSAGE_PREFIX}sent":
            yield t.MESSAGES_SENT, (), int(value)
        elif name == f"{MESSAGE_PREFIX}received":
            yield t.MESSAGES_RECEIVED, (), int(value)
        elif name.startswith(MESSAGE_PREFIX):
            kind, _, direction = name.removeprefix(MESSAGE_PREFIX).rpartition("_")
            yield t.MESSAGES, (direction, kind), int(value)


def _peers(member: Member) -> Peers:
    version, kept = member.state.version, _KEPT.get(member)
    if kept is None or kept.version != version:
        kept = _KEPT[member] = _gathered(member, version)
    rtts_us, rtts_max_us = NodeTimes.round_trips_us(kept.times)
    return kept.peers._replace(rtts_us=rtts_us, rtts_max_us=rtts_max_us)


def _gathered(member: Member, version: int) -> _Kept:
    _myself, *nodes = member.state.nodes
    if member.state.handshakes_count:
        nodes = [node for node in nodes if not node.flags & c.FLAG_HANDSHAKE]
    peers = Peers(
        node_ids=[node.node_id for node in nodes],
        ips=[node.ip for node in nodes],
        ports=[node.port or node.tls_port for node in nodes],
        flags=[node.flags for node in nodes],
        shard_ids=[node.shard_id for node in nodes],
        slot_bits=[node.slot_bits for node in nodes],
        ups=[node.link is not None for node in nodes],
        rtts_us=[],
        rtts_max_us=[],
    )
    return _Kept(version, peers, [node.times for node in nodes])
