"""The names of the counters: which number of the engine, the driver or the state is shown under which name.

Owns the tables that INFO, CLUSTER INFO, `Bus.info()` and the site read. Must never count anything itself. The names are
those of Valkey and of its proposal to offload I/O (R10, R18, R24); those that only this package has begin with
`cluster_` too. Main thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from clusterbus.cluster.constants import MESSAGE_NAMES
from clusterbus.member.driver import Driver

Line = tuple[str, object]


class Counter(NamedTuple):
    """One number: the name shown, the name under which its owner counts it, and what it counts."""

    shown: str
    name: str
    doc: str


OFFLOAD: Final = (
    Counter("cluster_threaded_reads_processed", "threaded_reads", "read jobs done by workers"),
    Counter("cluster_threaded_writes_processed", "threaded_writes", "write jobs done by workers"),
    Counter("cluster_threaded_accepts_processed", "threaded_accepts", "inbound TLS handshakes: jobs done by workers"),
    Counter("cluster_threaded_connects_processed", "threaded_connects", "outbound TLS handshakes: jobs of workers"),
    Counter(
        "cluster_io_main_thread_fallbacks",
        "main_thread_fallbacks",
        "jobs that the main thread did because the workers' queue was full",
    ),
    Counter("cluster_main_thread_reads_processed", "main_reads", "read jobs done by the main thread"),
    Counter("cluster_main_thread_writes_processed", "main_writes", "write jobs done by the main thread"),
    Counter("cluster_main_thread_accepts_processed", "main_accepts", "inbound TLS handshakes: jobs of the main thread"),
    Counter("cluster_main_thread_connects_processed", "main_connects", "outbound TLS handshakes: jobs done there"),
    Counter("cluster_packets_received", "packets_received", "packets read, quiet heartbeats among them"),
    Counter("cluster_packets_dropped", "packets_dropped", "packets that broke the protocol and were dropped"),
    Counter("cluster_io_job_panics", "job_panics", "jobs that failed by a fault of this package; each cost a link"),
)
"""By their names in `Engine.stats()`: which threads did the reads, writes and handshakes (R3, R24, R36)."""

GAUGES: Final = (
    Counter("cluster_io_active_workers", "active_workers", "workers that wait for links or work"),
    Counter("cluster_io_workers", "workers", "all workers, those that the load does not need too"),
    Counter("cluster_io_inbox_length", "inbox_len", "jobs that wait for a worker"),
    Counter("cluster_links", "links", "links that are up or being dialled"),
    Counter("cluster_handshakes", "handshakes", "TLS handshakes under way"),
    Counter("cluster_accept_paused", "accept_paused", "1 while no connection is accepted: no descriptor is left"),
)
"""By their names in `Engine.stats()`: numbers of the present moment."""

CLASSES: Final = ("cluster", "pubsub", "module")
"""The message classes by which the engine counts bytes (R10)."""

DRIVER: Final = (
    Counter("cluster_packets_refused", "packets_refused", "packets that were dropped, as the main loop was told"),
    Counter("cluster_quiet_heartbeats", "quiet_heartbeats", "heartbeats that said nothing new"),
    Counter("cluster_views_published", "views_published", "how often the workers got a new view of the nodes"),
    Counter("cluster_packets_filtered", "packets_filtered", "packets dropped by DEBUG DROP-CLUSTER-PACKET-FILTER"),
    Counter("cluster_packet_errors", "packet_errors", "faults of this package while it applied a packet"),
    Counter("cluster_event_errors", "event_errors", "faults of this package while it handled an event of a link"),
    Counter("cluster_effect_errors", "effect_errors", "faults of this package while it did what a step asked for"),
    Counter("cluster_tick_errors", "tick_errors", "faults of this package in its clock"),
    Counter("cluster_data_plane_errors", "data_plane_errors", "exceptions out of the program's data plane"),
    Counter("cluster_dials_failed", "dials_failed", "links that could not be dialled"),
    Counter("cluster_messages_withheld", "messages_withheld", "messages not sent, since the save before them failed"),
    Counter(
        "cluster_messages_dropped_slow_link",
        "messages_dropped_slow_link",
        "published and module messages not queued on a link with 64 MiB unsent",
    ),
    Counter("cluster_callback_errors", "callback_errors", "exceptions out of the program's callbacks"),
)
"""By their names in `Driver.counters`."""

LIGHT: Final = tuple(
    Counter(
        f"cluster_stats_messages_light_{name}_{direction}",
        f"light_{name}_{direction}",
        f"{name} messages {direction} with a light header",
    )
    for name in ("publish", "publishshard", "module")
    for direction in ("sent", "received")
)
"""By their names in `ClusterState.counters`: the messages of a type that had a light header."""

REASON_PREFIXES: Final = {
    "dropped_": "packets dropped for breaking the protocol",
    "accepts_refused_": "connections that ended before they became links",
    "links_lost_": "links that ended",
    "refused_": "contents of packets that were refused",
}
"""Counters of the engine and the state with a reason in their name. They are shown as `cluster_<name>` unless 0."""
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")

THREAD_TIME_PREFIX: Final = "used_active_time_us_io_thread_"


def offload_lines(stats: dict[str, int]) -> Iterator[Line]:
    """The offload counters and gauges of INFO and CLUSTER INFO (R24)."""
    for shown, name, _doc in OFFLOAD + GAUGES:
        yield shown, stats.get(name, 0)


def byte_counters(stats: dict[str, int]) -> dict[str, int]:
    """The bytes of the links, as CLUSTER INFO names them (R10, R18). Heartbeats count only in the total."""
    counters = {"total_cluster_links_buffer_limit_exceeded": stats.get("sendbuf_limit_exceeded", 0)}
    for direction in ("sent", "received"):
        by_class = {name: stats.get(f"bytes_{direction}_{name}", 0) for name in CLASSES}
        counters[f"cluster_stats_bytes_{direction}"] = sum(by_class.values())
        for name in ("pubsub", "module"):
            counters[f"cluster_stats_{name}_bytes_{direction}"] = by_class[name]
    return counters


def refused_messages(stats: dict[str, int]) -> dict[str, int]:
    """The packets that the engine refused, under the names of received messages, since they were received (P35)."""
    return {f"messages_{name}_received": stats.get(f"messages_{name}_refused", 0) for name in MESSAGE_NAMES}


def cluster_info_lines(driver: Driver) -> Iterator[Line]:
    """CLUSTER INFO: state, slots, nodes, epochs, messages, bytes; then offload counters and refusals (R24)."""
    stats = driver.engine.stats()
    yield from driver.state.info_lines(byte_counters(stats) | refused_messages(stats))
    yield "cluster_state_reason", driver.state.reason.value
    for shown, name, _doc in LIGHT:
        yield shown, driver.state.counters[name]
    yield from offload_lines(stats)
    yield from refusal_lines(driver, stats)


def refusal_lines(driver: Driver, stats: dict[str, int]) -> Iterator[Line]:
    """The counters of what was refused and why, as the H rows ask for them."""
    for shown, name, _doc in DRIVER:
        yield shown, driver.counters[name]
    for name, count in sorted((stats | driver.state.counters).items()):
        if count and name.startswith((*REASON_PREFIXES,)):
            yield f"cluster_{_NO_WORD.sub('_', name)}", count


def thread_time_lines(driver: Driver, stats: dict[str, int]) -> Iterator[Line]:
    """The seconds that each thread was busy; for the main thread with its Python code (R24)."""
    main_s = driver.busy_ns / 1e9 + stats.get("used_active_time_us_main_thread", 0) / 1e6
    yield "used_active_time_main_thread", f"{main_s:.6f}"
    numbers = [int(name[len(THREAD_TIME_PREFIX) :]) for name in stats if name.startswith(THREAD_TIME_PREFIX)]
    for number in sorted(numbers):
        yield f"used_active_time_io_thread_{number}", f"{stats[f'{THREAD_TIME_PREFIX}{number}'] / 1e6:.6f}"


def link_queues_len_bytes(driver: Driver) -> int:
    """The bytes that wait in the send queues of all links."""
    return sum(driver.engine.send_queue(link.link_id)[1] for link in driver.state.links)
