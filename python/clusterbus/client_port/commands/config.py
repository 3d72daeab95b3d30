"""CONFIG: reads and changes directives at run time.

Owns only the handlers and their rows of the command table; `clusterbus.config` owns the directives and the checks of a
change. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply
from clusterbus.config.directives import BY_NAME
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, compile_pattern
from clusterbus.member.member import Member

_MAGIC: Final = frozenset(b"*?[\\")
"""A pattern without any of these is a name."""


def config_get(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CONFIG GET: name and value of every directive that matches one of the patterns."""
    patterns = {argument.lower() for argument in arguments}
    globs = [pattern for pattern in patterns if not _MAGIC.isdisjoint(pattern)]
    if sum(map(len, globs)) > PATTERN_LEN_MAX_BYTES:
        raise CommandError(f"all patterns together have at most {PATTERN_LEN_MAX_BYTES} bytes")
    tests = [compile_pattern(pattern) for pattern in globs]
    names = ((name, name.encode()) for name in BY_NAME)
    return {
        name: member.config.shown(name)
        for name, word in names
        if word in patterns or any(matches(word) for matches in tests)
    }


def config_set(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CONFIG SET: changes all of the given directives, or none."""
    if len(arguments) % 2:
        raise CommandError("wrong number of arguments for 'config|set' command")
    words = [text_of(argument) for argument in arguments]
    member.config.set_many(zip(words[::2], words[1::2], strict=True))
    return OK


def config_resetstat(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CONFIG RESETSTAT: sets the counters of INFO and CLUSTER INFO back to zero (R24)."""
    member.reset_stats()
    return OK


def config_rewrite(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CONFIG REWRITE: writes the present values into the configuration file."""
    member.config.rewrite()
    return OK


_FLAGS: Final = ("admin", "noscript", "loading", "stale")

CONFIG: Final = CommandSpec(
    "config",
    None,
    -2,
    summary="Reads and changes directives.",
    since="2.0.0",
    subcommands=(
        CommandSpec("get", config_get, -3, _FLAGS, "Values of the directives that match.", "<pattern> [...]"),
        CommandSpec("set", config_set, -4, _FLAGS, "Changes directives, all or none.", "<directive> <value> [...]"),
        CommandSpec("resetstat", config_resetstat, 2, _FLAGS, "Sets the counters of INFO back to zero."),
        CommandSpec("rewrite", config_rewrite, 2, _FLAGS, "Writes the present values into the file."),
    ),
)
