"""The names of the counters: which number of the engine, the driver or the state is shown under which name.

Owns the tables that INFO, CLUSTER INFO, `Bus.info()` and the docs read. Must never count anything itself. The names are
those of Valkey and of its proposal to offload I/O (R10, R18, R24); those that only this package has begin with
`cluster_` too. Main thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from clusterbus.cluster.constants import MESSAGE_NAMES
from clusterbus.member.driver import Driver

Line = tuple[str, object]

OFFLOAD: Final = (
    ("cluster_threaded_reads_processed", "threaded_reads"),
    ("cluster_threaded_writes_processed", "threaded_writes"),
    ("cluster_threaded_accepts_processed", "threaded_accepts"),
    ("cluster_threaded_connects_processed", "threaded_connects"),
    ("cluster_io_main_thread_fallbacks", "main_thread_fallbacks"),
    ("cluster_main_thread_reads_processed", "main_reads"),
    ("cluster_main_thread_writes_processed", "main_writes"),
    ("cluster_main_thread_accepts_processed", "main_accepts"),
    ("cluster_main_thread_connects_processed", "main_connects"),
    ("cluster_packets_received", "packets_received"),
    ("cluster_packets_dropped", "packets_dropped"),
    ("cluster_io_job_panics", "job_panics"),
)
"""(name shown, name in `Engine.stats()`): which threads did the reads, writes and handshakes (R3, R24, R36)."""

GAUGES: Final = (
    ("cluster_io_active_workers", "active_workers"),
    ("cluster_io_workers", "workers"),
    ("cluster_io_inbox_length", "inbox_len"),
    ("cluster_links", "links"),
    ("cluster_handshakes", "handshakes"),
    ("cluster_accept_paused", "accept_paused"),
)
"""(name shown, name in `Engine.stats()`): numbers of the present moment."""

CLASSES: Final = ("cluster", "pubsub", "module")
"""The message classes by which the engine counts bytes (R10)."""

DRIVER: Final = (
    ("cluster_packets_refused", "packets_refused"),
    ("cluster_quiet_heartbeats", "quiet_heartbeats"),
    ("cluster_views_published", "views_published"),
    ("cluster_packets_filtered", "packets_filtered"),
    ("cluster_packet_errors", "packet_errors"),
    ("cluster_event_errors", "event_errors"),
    ("cluster_effect_errors", "effect_errors"),
    ("cluster_tick_errors", "tick_errors"),
    ("cluster_data_plane_errors", "data_plane_errors"),
    ("cluster_dials_failed", "dials_failed"),
    ("cluster_messages_withheld", "messages_withheld"),
    ("cluster_messages_dropped_slow_link", "messages_dropped_slow_link"),
    ("cluster_callback_errors", "callback_errors"),
)
"""(name shown, name in `Driver.counters`)."""

LIGHT: Final = tuple(
    (f"cluster_stats_messages_light_{name}_{direction}", f"light_{name}_{direction}")
    for name in ("publish", "publishshard", "module")
    for direction in ("sent", "received")
)
"""(name shown, name in `ClusterState.counters`): the messages of a type that had a light header."""

REASON_PREFIXES: Final = ("dropped_", "accepts_refused_", "links_lost_", "refused_")
"""Counters of the engine and the state with a reason in their name. They are shown as `cluster_<name>` unless 0."""
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")

THREAD_TIME_PREFIX: Final = "used_active_time_us_io_thread_"


def offload_lines(stats: dict[str, int]) -> Iterator[Line]:
    """The offload counters and gauges of INFO and CLUSTER INFO (R24)."""
    for shown, name in OFFLOAD + GAUGES:
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
    for shown, name in LIGHT:
        yield shown, driver.state.counters[name]
    yield from offload_lines(stats)
    yield from refusal_lines(driver, stats)


def refusal_lines(driver: Driver, stats: dict[str, int]) -> Iterator[Line]:
    """The counters of what was refused and why, as the H rows ask for them."""
    for shown, name in DRIVER:
        yield shown, driver.counters[name]
    for name, count in sorted((stats | driver.state.counters).items()):
        if count and name.startswith(REASON_PREFIXES):
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
