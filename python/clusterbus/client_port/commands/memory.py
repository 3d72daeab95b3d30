"""MEMORY: what the process and single keys take.

Owns the handlers and their rows of the command table. How much a key takes only the data plane knows; a node has no
allocator of its own, so total and resident memory are one number. Main thread. Source: `object.c`, and the answers of a
running Valkey 9.1.2.
"""

from __future__ import annotations

import gc
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer
from clusterbus.client_port.client import Client
from clusterbus.client_port.info import resident_bytes
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, Verbatim
from clusterbus.member.counters import link_queues_len_bytes
from clusterbus.member.member import Member

NOT_TOLD: Final = "the data plane of this node does not say how much memory a key takes (DataPlane.key_len_bytes)"
NO_ALLOCATOR_STATS: Final = "Stats not supported for the current allocator"
ODD_RESIDENT_BYTES: Final = 64 * 1024 * 1024
"""MEMORY DOCTOR speaks of peaks only above this size: below, Python's own memory is most of it."""


def usage(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """MEMORY USAGE: the bytes that a key takes with its value; null if it is not here."""
    options = arguments[1:]
    if options and (len(options) != 2 or options[0].lower() != b"samples" or integer(options[1]) < 0):
        raise CommandError(SYNTAX_ERROR)
    len_bytes = member.data_plane.key_len_bytes(arguments[0])
    if len_bytes is None and member.data_plane.has_key(arguments[0]):
        raise CommandError(NOT_TOLD)
    return len_bytes


def stats(member: Member, client: Client, _arguments: list[bytes]) -> Reply:
    """MEMORY STATS: Valkey's names; what does not exist here is 0."""
    used_bytes, peak_bytes = resident_bytes()
    clients_bytes = sum(
        one.connection.query_buffer_len_bytes() + one.connection.output_len_bytes()
        for one in client.server.clients.values()
    )
    links_bytes = link_queues_len_bytes(member.driver)
    overhead_bytes = min(clients_bytes + links_bytes, used_bytes)
    keys, data_bytes = member.data_plane.count_keys(), used_bytes - overhead_bytes
    table: dict[str, Reply] = {
        "peak.allocated": peak_bytes,
        "total.allocated": used_bytes,
        "startup.allocated": 0,
        "replication.backlog": 0,
        "replicas.repl.buffer": 0,
        "clients.slaves": 0,
        "clients.normal": clients_bytes,
        "cluster.links": links_bytes,
        "cluster.slot_import": 0,
        "cluster.slot_export": 0,
        "aof.buffer": 0,
        "lua.caches": 0,
        "functions.caches": 0,
        "db.0": {"overhead.hashtable.main": 0, "overhead.hashtable.expires": 0},
        "overhead.db.hashtable.lut": 0,
        "overhead.db.hashtable.rehashing": 0,
        "overhead.total": overhead_bytes,
        "db.dict.rehashing.count": 0,
        "keys.count": keys,
        "keys.bytes-per-key": data_bytes // keys if keys else 0,
        "dataset.bytes": data_bytes,
        "dataset.percentage": 100 * data_bytes / used_bytes,
        "peak.percentage": 100 * used_bytes / peak_bytes,
        "allocator.allocated": used_bytes,
        "allocator.active": used_bytes,
        "allocator.resident": used_bytes,
        "allocator.muzzy": 0,
        "allocator-fragmentation.ratio": 1.0,
        "allocator-fragmentation.bytes": 0,
        "allocator-rss.ratio": 1.0,
        "allocator-rss.bytes": 0,
        "rss-overhead.ratio": 1.0,
        "rss-overhead.bytes": 0,
        "fragmentation": 1.0,
        "fragmentation.bytes": 0,
    }
    return table


def doctor(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """MEMORY DOCTOR: whether the process once took much more than now, in words."""
    used_bytes, peak_bytes = resident_bytes()
    if peak_bytes < ODD_RESIDENT_BYTES or peak_bytes < 1.5 * used_bytes:
        return Verbatim(f"The process takes {used_bytes} bytes, {peak_bytes} at its peak. Nothing stands out.\n")
    return Verbatim(
        f"The process takes {used_bytes} bytes and took {peak_bytes} at its peak. Something needed much more for a "
        "while: a large request, clients that left their replies unread (CLIENT LIST, omem), or links whose peers do "
        "not read (CLUSTER LINKS).\n"
    )


def purge(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """MEMORY PURGE: collects what only circles of references keep. It blocks the main thread meanwhile."""
    gc.collect()
    return OK


def malloc_stats(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """MEMORY MALLOC-STATS: there are none, as in a Valkey on the C library's allocator."""
    return NO_ALLOCATOR_STATS


MEMORY: Final = CommandSpec(
    "memory",
    None,
    -2,
    summary="Memory of the process and of keys.",
    since="4.0.0",
    subcommands=(
        CommandSpec("doctor", doctor, 2, (), "What stands out in the use of memory, in words."),
        CommandSpec("malloc-stats", malloc_stats, 2, ("loading",), "Says that the allocator gives no numbers."),
        CommandSpec("purge", purge, 2, ("loading",), "Collects garbage; blocks the node for some milliseconds."),
        CommandSpec("stats", stats, 2, (), "Memory of the process by use."),
        CommandSpec(
            "usage",
            usage,
            -3,
            ("readonly",),
            "Bytes that a key takes with its value.",
            "<key> [SAMPLES <count>]",
            keys=(2, 2, 1),
        ),
    ),
)
