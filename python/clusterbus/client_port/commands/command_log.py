"""SLOWLOG and COMMANDLOG: the requests that were slow or large.

Owns the handlers and their rows of the command table; the logs are `observation.command_log`'s. Main thread. Source:
`commandlog.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.command_log import CommandLog, CommandLogs, LogKind
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply

SHOWN_DEFAULT: Final = 10
_COUNT_WRONG: Final = "count should be greater than or equal to -1"
_KIND_WRONG: Final = "type should be one of the following: slow, large-request, large-reply"


def _slow(client: Client) -> CommandLog:
    logs: CommandLogs = client.server.observer.logs
    return logs.slow


def _named(client: Client, word: bytes) -> CommandLog:
    logs: CommandLogs = client.server.observer.logs
    try:
        return logs.of(LogKind(text_of(word).lower()))
    except ValueError:
        raise CommandError(_KIND_WRONG) from None


def _newest(log: CommandLog, count: bytes | None) -> Reply:
    number = integer_or_none(count) if count is not None else SHOWN_DEFAULT
    if number is None or number < -1:
        raise CommandError(_COUNT_WRONG)
    return [entry.shape() for entry in log.newest(number)]


def slowlog_get(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """SLOWLOG GET: the newest entries, ten by default."""
    return _newest(_slow(client), arguments[0] if arguments else None)


def slowlog_len(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return len(_slow(client))


def slowlog_reset(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    _slow(client).clear()
    return OK


def commandlog_get(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """COMMANDLOG GET: the newest entries of one log."""
    if (integer_or_none(arguments[0]) or 0) < -1 or integer_or_none(arguments[0]) is None:
        raise CommandError(_COUNT_WRONG)
    return _newest(_named(client, arguments[1]), arguments[0])


def commandlog_len(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    return len(_named(client, arguments[0]))


def commandlog_reset(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    _named(client, arguments[0]).clear()
    return OK


_FLAGS: Final = ("admin", "loading", "stale")
_ENTRY: Final = "An entry is its id, its unix time, microseconds or bytes, the words, the client's address and name."

COMMAND_LOG: Final = (
    CommandSpec(
        "slowlog",
        None,
        -2,
        summary="The requests that took long.",
        since="2.2.12",
        subcommands=(
            CommandSpec(
                "get",
                slowlog_get,
                -2,
                _FLAGS,
                "The newest entries; ten without a count, all for -1.",
                "[<count>]",
                words_max=3,
                help_lines=("The newest entries; ten without a count, all for -1.", _ENTRY),
            ),
            CommandSpec("len", slowlog_len, 2, _FLAGS, "How many entries there are."),
            CommandSpec("reset", slowlog_reset, 2, _FLAGS, "Removes all entries."),
        ),
    ),
    CommandSpec(
        "commandlog",
        None,
        -2,
        summary="The requests that took long, were large, or had large replies.",
        since="8.1.0",
        subcommands=(
            CommandSpec(
                "get",
                commandlog_get,
                4,
                _FLAGS,
                "The newest entries of a log (slow, large-request, large-reply); all for -1.",
                "<count> <type>",
                help_lines=("The newest entries of a log (slow, large-request, large-reply); all for -1.", _ENTRY),
            ),
            CommandSpec("len", commandlog_len, 3, _FLAGS, "How many entries a log has.", "<type>"),
            CommandSpec("reset", commandlog_reset, 3, _FLAGS, "Removes all entries of a log.", "<type>"),
        ),
    ),
)
