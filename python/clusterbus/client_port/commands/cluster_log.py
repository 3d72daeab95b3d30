"""CLUSTERLOG: the last changes of the cluster as this node saw them, each with its cause and its source.

Owns the handlers and their rows of the command table; the changes are kept by `cluster.history`. Main thread. The shape
of its subcommands and errors is that of SLOWLOG (`command_log`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from dataclasses import replace
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec, Handler
from clusterbus.client_port.reply import OK, CommandError, Encoded, Reply, array_head, encode
from clusterbus.cluster.history.change import Change
from clusterbus.member.member import Member

SHOWN_DEFAULT: Final = 10
ALL: Final = -1
AT_ONCE_MAX: Final = 50
"""Changes that are encoded in one go, which takes a millisecond."""


def clusterlog_get(member: Member, client: Client, arguments: list[bytes]) -> Reply | Awaitable[Reply]:
    """CLUSTERLOG GET: the newest changes first; ten by default, with SINCE all that are newer."""
    words, since = list(arguments), 0
    count = SHOWN_DEFAULT
    if len(words) >= 2 and text_of(words[-2]).lower() == "since":
        number = integer_or_none(words[-1])
        if number is None or number < 0:
            raise CommandError("number should be greater than or equal to 0")
        since, count, words = number, ALL, words[:-2]
    if len(words) > 1:
        raise CommandError(SYNTAX_ERROR)
    if words:
        wanted = integer_or_none(words[0])
        if wanted is None or wanted < ALL:
            raise CommandError("count should be greater than or equal to -1")
        count = wanted
    changes = member.state.history.newest(since, None if count == ALL else count)
    if len(changes) > AT_ONCE_MAX:
        return _in_pieces(changes, client.protocol)
    return [change.fields() for change in changes]


async def _in_pieces(changes: list[Change], protocol: int) -> Reply:
    """The reply for many changes, with other work of the main loop in between."""
    data = bytearray(array_head(len(changes)))
    for first in range(0, len(changes), AT_ONCE_MAX):
        for change in changes[first : first + AT_ONCE_MAX]:
            data += encode(change.fields(), protocol)
        await asyncio.sleep(0)
    return Encoded(bytes(data))


def clusterlog_len(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTERLOG LEN: how many changes are kept."""
    return len(member.state.history)


def clusterlog_reset(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTERLOG RESET: forgets all changes; their numbers go on."""
    member.state.history.clear()
    return OK


def as_clients_orders(spec: CommandSpec) -> CommandSpec:
    """The command, with the history told that what it orders is an order of its client."""
    return replace(
        spec,
        handler=_of_client(spec.handler) if spec.handler is not None else None,
        subcommands=tuple(as_clients_orders(subcommand) for subcommand in spec.subcommands),
    )


def _of_client(handler: Handler) -> Handler:
    @functools.wraps(handler)
    def handle(member: Member, client: Client, arguments: list[bytes]) -> Reply | Awaitable[Reply]:
        history = member.state.history
        history.client = client.address
        try:
            return handler(member, client, arguments)
        finally:
            history.client = ""

    return handle


_FLAGS: Final = ("admin", "loading", "stale")
_ENTRY: Final = "An entry is a map: number, time (unix ms), kind, node, old, new, cause, source, packet, link, slots,"

CLUSTER_LOG: Final = CommandSpec(
    "clusterlog",
    None,
    -2,
    summary="The last changes of the cluster, each with its cause and who told it.",
    group="cluster",
    subcommands=(
        CommandSpec(
            "get",
            clusterlog_get,
            -2,
            _FLAGS,
            "The newest changes first; ten without a count, all for -1.",
            "[<count>] [SINCE <number>]",
            group="cluster",
            complexity="O(N) with N changes shown",
            words_max=5,
            help_lines=(
                "The newest changes first; ten without a count, all for -1. With SINCE those with a greater number.",
                _ENTRY,
                "detail.",
            ),
        ),
        CommandSpec("len", clusterlog_len, 2, _FLAGS, "How many changes are kept.", group="cluster"),
        CommandSpec("reset", clusterlog_reset, 2, _FLAGS, "Forgets all changes.", group="cluster"),
    ),
)
