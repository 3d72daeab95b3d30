"""The names of the counters: which number of the engine, the driver or the state is shown under which name.

Owns the tables that INFO, CLUSTER INFO, `Bus.info()` and the site read. Must never count anything itself. The names are
those of Valkey and of its proposal to offload I/O (R10, R18, R24); those that only this package has begin with
`cluster_` too. Main thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from clusterbus.cluster.constants import MESSAGE_NAMES
from clusterbus.cluster.model.refusal import FIELD_PREFIX, REFUSED_FIELDS, Refusal
from clusterbus.member.driver import Driver

Line = tuple[str, object]
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")


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
    Counter(
        "cluster_anonymous_bytes",
        "anonymous_bytes",
        "what counts against `cluster-max-anonymous-bytes`: unfinished packets of nodes not known, beyond 64 KiB each",
    ),
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
    Counter("cluster_messages_held", "messages_held", "messages that waited for a disk that was slow to save"),
    Counter(
        "cluster_messages_dropped_slow_link",
        "messages_dropped_slow_link",
        "published and module messages not queued on a link with 64 MiB unsent",
    ),
    Counter(
        "cluster_answers_dropped_slow_link",
        "answers_dropped_slow_link",
        "answers not queued on a link with more than 1 MiB unsent: its peer sends and does not read",
    ),
    Counter(
        "cluster_metrics_auth_failures", "metrics_auth_failures", "requests at `metrics-port` without the password"
    ),
    Counter("cluster_log_file_errors", "log_file_errors", "attempts to write to `cluster-log-file` that failed"),
    Counter("cluster_log_lines_dropped", "log_lines_dropped", "changes not written there, as its disk is too slow"),
    Counter(
        "cluster_topology_channel_refused",
        "topology_channel_refused",
        "messages of other nodes on the channel that is this node's own, `__cluster__:topology`",
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

_PACKET_ERRORS: Final = {
    "frame": "packets that do not begin as a message must, or are too short or too long for one",
    "frame_length": "packets whose bytes are not exactly one message",
    "version": "packets of another version of the protocol",
    "light_type": "types with a light header that may have none",
    "node_id": "ids in packets that are none",
    "length": "lengths that differ from what the content adds up to",
    "gossip_count": "gossip counts that the bytes do not hold",
    "extension_length": "extensions shorter than their type",
    "extension_alignment": "extensions whose length is no multiple of 8",
    "extension_overrun": "extensions over 64 KiB or beyond the end of their packet",
    "extension_text": "extensions whose text does not end",
    "payload_length": "lengths of channels, messages or module data that the packet does not hold",
}
_ENDS: Final = {
    "eof": "the peer ended the stream",
    "error": "reading or writing failed",
    "bad_signature": "bytes that cannot be the start of a message",
    "bad_length": "a message too short or too long was announced",
    "tls_on_plain": "the peer speaks TLS where this node does not",
    "not_tls": "the peer does not speak TLS where this node does",
    "no_certificate": "the peer showed no certificate",
    "bad_certificate": "the peer's certificate cannot be verified",
    "tls_alert": "the peer refused this node by an alert of TLS",
    "tls": "the peer broke a rule of TLS",
    "handshake_timeout": "the TLS handshake took too long",
    "anonymous_bytes": "unfinished packets of nodes not known took more than `cluster-max-anonymous-bytes`",
    "panic": "a fault of this package",
}
_LOSSES: Final = _ENDS | {
    "bad_packets": "the peer sent too many packets that were refused",
    "connect": "the dial failed or took too long",
    "first_packet_timeout": "no whole packet came in time",
    "sendbuf_limit": "more bytes waited than `cluster-link-sendbuf-limit` allows",
    "no_pong": "no PONG came within the node timeout",
    "silent": "nothing came for half a node timeout, while a PING waited for its answer",
    "idle": "nothing came for four node timeouts",
}
_ACCEPTS: Final = _ENDS | {
    "max_links": "the limit on links is reached",
    "max_handshakes": "the limit on TLS handshakes under way is reached",
    "no_descriptors": "the process has no file descriptor left",
}


def _reasons(prefix: str, docs: Mapping[str, str], what: str) -> tuple[Counter, ...]:
    counted = ((f"{prefix}_{word}", doc) for word, doc in docs.items())
    return tuple(Counter(f"cluster_{name}", name, f"{what}: {doc}") for name, doc in counted)


REFUSALS: Final = (
    *_reasons("dropped", _PACKET_ERRORS, "packets dropped"),
    *_reasons("accepts_refused", _ACCEPTS, "connections that did not become links"),
    *_reasons("links_lost", _LOSSES, "links that ended"),
    *(Counter(f"cluster_{refusal.counter}", refusal.counter, refusal.doc) for refusal in Refusal),
    *(
        Counter(f"cluster_{FIELD_PREFIX}{_NO_WORD.sub('_', name)}", f"{FIELD_PREFIX}{name}", f"fields refused: {doc}")
        for name, doc in REFUSED_FIELDS.items()
    ),
)
"""All that is refused, and why, by the names in `Engine.stats()` and `ClusterState.counters`. Shown unless 0."""

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
    counted = stats | driver.state.counters
    for shown, name, _doc in REFUSALS:
        if count := counted.get(name, 0):
            yield shown, count


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
