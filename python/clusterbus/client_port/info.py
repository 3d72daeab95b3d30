"""The text of INFO: sections of `name:value` lines, which clients and redis-cli read.

Owns the sections and their order. Must never change anything. The number of keys comes from the data plane; other lines
about data are those of a node without data. Main thread.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from clusterbus.client_port.reply import Reply
from clusterbus.member.counters import (
    Line,
    cluster_info_lines,
    link_queues_len_bytes,
    offload_lines,
    refusal_lines,
    thread_time_lines,
)
from clusterbus.member.member import Member
from clusterbus.version import __version__

SERVER_NAME: Final = "clusterbus"
COMPATIBLE_REDIS_VERSION: Final = "7.2.4"
COMPATIBLE_VALKEY_VERSION: Final = "9.1.2"
HZ: Final = 10
CLIENT_GAUGES: Final = (
    *("connected_clients", "client_accept_paused", "blocked_clients", "pubsub_clients", "watching_clients"),
    "total_watched_keys",
)
"""The numbers of the client port that belong to the section Clients; its other numbers belong to Stats."""


def _server(member: Member) -> Iterator[Line]:
    config = member.config
    uptime_s = (member.clock.now_ms() - member.started_ms) // 1000
    system = platform.uname()
    stats = member.driver.engine.stats()
    yield "redis_version", COMPATIBLE_REDIS_VERSION
    yield "server_name", SERVER_NAME
    yield "valkey_version", COMPATIBLE_VALKEY_VERSION
    yield "clusterbus_version", __version__
    yield "redis_mode", "cluster"
    yield "server_mode", "cluster"
    yield "os", f"{system.system} {system.release} {system.machine}"
    yield "arch_bits", 64 if sys.maxsize > 2**32 else 32
    yield "multiplexing_api", "epoll"
    yield "event_loop", member.event_loop_name
    yield "process_id", os.getpid()
    yield "run_id", member.run_id
    yield "tcp_port", config.port or config.tls_port
    yield "server_time_usec", member.clock.now_us()
    yield "uptime_in_seconds", uptime_s
    yield "uptime_in_days", uptime_s // 86_400
    yield "hz", HZ
    yield "configured_hz", HZ
    yield "executable", sys.executable
    yield "config_file", config.config_file or ""
    yield "io_threads_active", int(stats.get("active_workers", 0) > 0)


def _tls(member: Member) -> Iterable[Line]:
    """The same lines whether TLS is spoken or not, as in Valkey."""
    return member.certificates.lines() if member.certificates is not None else ()


def _clients(member: Member) -> Iterator[Line]:
    clients = member.client_stats()
    yield "connected_clients", clients.get("connected_clients", 0)
    yield "cluster_connections", member.driver.engine.stats().get("links", 0)
    yield "maxclients", member.config.maxclients
    yield "tracking_clients", 0
    for name in CLIENT_GAUGES[1:]:
        yield name, clients.get(name, 0)
    if member.client_port is not None:
        yield from member.client_port.section("paused")


def _memory(member: Member) -> Iterator[Line]:
    used_bytes, peak_bytes = resident_bytes()
    yield "used_memory", used_bytes
    yield "used_memory_human", _human(used_bytes)
    yield "used_memory_rss", used_bytes
    yield "used_memory_rss_human", _human(used_bytes)
    yield "used_memory_peak", peak_bytes
    yield "used_memory_peak_human", _human(peak_bytes)
    yield "maxmemory", 0
    yield "maxmemory_human", "0B"
    yield "maxmemory_policy", "noeviction"
    yield "mem_cluster_links", link_queues_len_bytes(member.driver)


def _persistence(member: Member) -> Iterator[Line]:
    saver = member.driver.saver
    status = saver.status
    yield "loading", 0
    yield "async_loading", 0
    yield "rdb_bgsave_in_progress", 0
    yield "aof_enabled", 0
    yield "cluster_config_file_saves", status.saves
    yield "cluster_config_file_save_failures", status.failures
    yield "cluster_config_file_save_in_progress", int(saver.is_under_way)
    yield "cluster_config_file_last_save_duration_ms", status.last_duration_ms
    yield "cluster_config_file_last_save_status", "err" if status.last_error else "ok"
    yield "cluster_config_file_last_save_time", status.last_saved_ms // 1000
    yield "cluster_config_file_last_save_error", " ".join(status.last_error.split())


def _stats(member: Member) -> Iterator[Line]:
    driver = member.driver
    stats = driver.engine.stats()
    yield from (line for line in member.client_stats().items() if line[0] not in CLIENT_GAUGES)
    subscriptions = member.pubsub.subscriptions
    yield "pubsub_channels", subscriptions.count_channels()
    yield "pubsub_patterns", subscriptions.count_patterns()
    yield "pubsubshard_channels", subscriptions.count_shard_channels()
    yield from offload_lines(stats)
    yield from refusal_lines(driver, stats)


def _replication(member: Member) -> Iterator[Line]:
    state = member.state
    myself = state.myself
    primary = myself.replicaof
    yield "role", "slave" if myself.is_replica else "master"
    if primary is not None:
        yield "master_host", primary.ip
        yield "master_port", primary.tls_port if member.config.tls_cluster else primary.port
        yield "master_link_status", "up" if state.is_replicating else "down"
        yield "master_last_io_seconds_ago", state.silence_ms(primary) // 1000 if state.is_replicating else -1
        yield "master_sync_in_progress", 0
        if not state.is_replicating:
            yield "master_link_down_since_seconds", state.silence_ms(primary) // 1000 if state.repl_offset else -1
        yield "slave_read_repl_offset", state.repl_offset
        yield "slave_repl_offset", state.repl_offset
        yield "slave_priority", 100
        yield "slave_read_only", 1
        yield "replica_announced", 1
    replicas = [replica for replica in myself.replicas.values() if replica.link is not None]
    yield "connected_slaves", len(replicas)
    for index, replica in enumerate(replicas):
        port = replica.tls_port if member.config.tls_cluster else replica.port
        lag_s = state.silence_ms(replica) // 1000
        phase = "online" if replica.repl_offset else "wait_bgsave"
        yield f"slave{index}", f"ip={replica.ip},port={port},state={phase},offset={replica.repl_offset},lag={lag_s}"
    yield "master_failover_state", "no-failover"
    yield "master_repl_offset", state.repl_offset


def _cpu(member: Member) -> Iterator[Line]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield "used_cpu_sys", f"{own.ru_stime:.6f}"
    yield "used_cpu_user", f"{own.ru_utime:.6f}"
    yield "used_cpu_sys_children", f"{children.ru_stime:.6f}"
    yield "used_cpu_user_children", f"{children.ru_utime:.6f}"
    yield from thread_time_lines(member.driver, member.driver.engine.stats())


def _of_port(name: str) -> Callable[[Member], Iterable[Line]]:
    """A section that the client port knows; empty without one."""
    return lambda member: member.client_port.section(name) if member.client_port is not None else ()


def _modules(_member: Member) -> Iterable[Line]:
    return ()


def _cluster(_member: Member) -> Iterator[Line]:
    yield "cluster_enabled", 1


def _cluster_info(member: Member) -> Iterator[Line]:
    shown_elsewhere = {name for name, _ in _stats(member)}
    yield from (line for line in cluster_info_lines(member.driver) if line[0] not in shown_elsewhere)


def _keyspace(member: Member) -> Iterator[Line]:
    if keys := member.data_plane.count_keys():
        yield "db0", f"keys={keys},expires=0,avg_ttl=0"


SECTIONS: Final[dict[str, Callable[[Member], Iterable[Line]]]] = {
    "Server": _server,
    "TLS": _tls,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "CPU": _cpu,
    "Modules": _modules,
    "Commandstats": _of_port("commandstats"),
    "Errorstats": _of_port("errorstats"),
    "Latencystats": _of_port("latencystats"),
    "Cluster": _cluster,
    "Cluster Info": _cluster_info,
    "Keyspace": _keyspace,
}
_EVERYTHING: Final = frozenset({"all", "everything"})
_ON_REQUEST: Final = frozenset({"commandstats", "latencystats", "cluster_info", "tls"})
"""Sections that plain INFO leaves out (P31); TLS it shows where TLS is spoken."""


def _key_of(title: str) -> str:
    """The word by which INFO asks for a section."""
    return title.lower().replace(" ", "_")


def greeting(member: Member) -> dict[str, Reply]:
    """The facts about the node that HELLO shows."""
    facts: dict[str, Reply] = {
        "server": SERVER_NAME,
        "version": COMPATIBLE_VALKEY_VERSION,
        "mode": "cluster",
        "role": "replica" if member.state.myself.is_replica else "master",
    }
    zone = member.config.availability_zone
    return {**facts, "availability_zone": zone} if zone else facts


def info_text(member: Member, wanted: Sequence[str] = ()) -> str:
    """The sections named in `wanted`, or the usual ones if it is empty; case does not matter. Lines end with CRLF."""
    names = {name.lower() for name in wanted} or {"default"}
    keys = {_key_of(title) for title in SECTIONS}
    if "default" in names:
        names |= keys - _ON_REQUEST
        if member.certificates is not None and member.certificates.is_used:
            names.add("tls")
    if names & _EVERYTHING:
        names |= keys
    sections = []
    for title, lines in SECTIONS.items():
        if _key_of(title) in names:
            body = "".join(f"{name}:{value}\r\n" for name, value in lines(member))
            sections.append(f"# {title}\r\n{body}")
    return "\r\n".join(sections)


def info_table(member: Member) -> dict[str, dict[str, str]]:
    """INFO as a table: section in lower case -> name -> value as text."""
    return {_key_of(title): {name: str(value) for name, value in lines(member)} for title, lines in SECTIONS.items()}


def resident_bytes() -> tuple[int, int]:
    """The resident memory of the process in bytes: now, and at its peak."""
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_bytes, peak_bytes
    return pages * resource.getpagesize(), peak_bytes


def _human(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "K", "M", "G"):
        if size < 1024:
            return f"{size:.2f}{unit}" if unit != "B" else f"{size_bytes}B"
        size /= 1024
    return f"{size:.2f}T"
