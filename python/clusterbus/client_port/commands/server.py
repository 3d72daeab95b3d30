"""Commands about the node as a whole: INFO, SHUTDOWN, DBSIZE, ROLE, TIME, LASTSAVE, MONITOR.

Owns their handlers and their rows of the command table. The data plane answers questions about keys. Main thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.info import info_text
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, Verbatim
from clusterbus.member.departure import WORDS
from clusterbus.member.member import Member
from clusterbus.version import __version__

_SHUTDOWN_WORDS: Final = WORDS | {"abort"}


def info(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """INFO: the named sections, or all of them."""
    return Verbatim(info_text(member, [text_of(argument) for argument in arguments]))


def shutdown(member: Member, client: Client, arguments: list[bytes]) -> Reply | Awaitable[Reply]:
    """SHUTDOWN: stops the node. On success the client gets no reply; its connection closes.

    nodes.conf is saved unless NOSAVE is given, because unlike a data set it is never too big to save. With FAILOVER a
    primary goes when a replica has taken over, or after shutdown-timeout; with SAFE it then stays if it still has
    slots.
    """
    words = {text_of(argument).lower() for argument in arguments}
    if not words <= _SHUTDOWN_WORDS or {"save", "nosave"} <= words or ("abort" in words and len(words) > 1):
        raise CommandError(SYNTAX_ERROR)
    if "abort" in words:
        if not member.departure.abort():
            raise CommandError("No shutdown in progress.")
        return OK
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answer(why_not: str) -> None:
        if not gone.done():  # a client that has left waits no more
            gone.set_result(why_not)

    member.departure.begin(words, answer)
    return _last_reply(client, gone) if not gone.done() else _reply_of_going(client, gone.result())


async def _last_reply(client: Client, gone: asyncio.Future[str]) -> Reply:
    return _reply_of_going(client, await gone)


def _reply_of_going(client: Client, why_not: str) -> Reply:
    """No reply when the node goes, else an error: that the node stays must be seen by whoever wants it gone."""
    if why_not:
        raise CommandError(f"Errors trying to SHUTDOWN: {why_not}")
    client.replies = "skip"
    client.connection.close_after_reply()
    return None


def dbsize(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """DBSIZE: the number of keys in the data plane."""
    return member.data_plane.count_keys()


def role(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """ROLE: primary or replica, with the other nodes of its shard."""
    state = member.state
    myself, tls = state.myself, member.config.tls_cluster
    primary = myself.replicaof
    if primary is None:
        replicas = [replica for replica in myself.replicas.values() if replica.link is not None]
        rows = [[peer.ip, str(peer.tls_port if tls else peer.port), str(peer.repl_offset)] for peer in replicas]
        return ["master", state.repl_offset, rows]
    port = primary.tls_port if tls else primary.port
    return ["slave", primary.ip, port, "connected" if state.is_replicating else "connect", state.repl_offset]


def time(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """TIME: unix seconds and microseconds on the node's timeline."""
    seconds, microseconds = divmod(member.clock.now_us(), 1_000_000)
    return [str(seconds), str(microseconds)]


def lastsave(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """LASTSAVE: the start of the node, as on a Valkey that has saved nothing. nodes.conf's saves are in INFO."""
    return member.started_ms // 1000


def lolwut(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """LOLWUT: only the version; there is no art here."""
    return Verbatim(f"clusterbus ver. {__version__}\n")


def monitor(_member: Member, client: Client, _arguments: list[bytes]) -> Reply:
    """MONITOR: the client sees every request from now on, until RESET."""
    client.server.observer.monitors.add(client)
    return OK


_ADMIN: Final = ("admin", "noscript", "loading", "stale")

SERVER: Final = (
    CommandSpec(
        "info",
        info,
        -1,
        ("loading", "stale"),
        "Counters and facts of the node.",
        "[<section> [...]]",
        categories=("@dangerous",),
    ),
    CommandSpec(
        "shutdown",
        shutdown,
        -1,
        (*_ADMIN, "no_multi", "allow_busy"),
        "Saves nodes.conf and stops the node.",
        "[[NOSAVE|SAVE] [NOW] [FORCE] [SAFE] [FAILOVER]|ABORT]",
    ),
    CommandSpec("dbsize", dbsize, 1, ("readonly", "fast"), "How many keys there are.", categories=("@keyspace",)),
    CommandSpec(
        "role",
        role,
        1,
        ("noscript", "loading", "stale", "fast"),
        "Whether this node is primary or replica.",
        categories=("@admin", "@dangerous"),
    ),
    CommandSpec(
        "lastsave",
        lastsave,
        1,
        ("loading", "stale", "fast"),
        "When the node started: no data set is saved.",
        categories=("@admin", "@dangerous"),
    ),
    CommandSpec("lolwut", lolwut, -1, ("readonly", "fast"), "The version of the node.", "[VERSION <version>]"),
    CommandSpec("monitor", monitor, 1, _ADMIN, "Shows the requests of all clients as they come."),
    CommandSpec("time", time, 1, ("loading", "stale", "fast"), "The node's clock."),
)
