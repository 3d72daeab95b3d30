"""DEBUG: faults on purpose, for tests; enable-debug-command decides who may use it.

Owns the table of its subcommands. Must never serve a client that the directive excludes. Main thread, which SLEEP
really blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clusterbus.client_port.arguments import integer, integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, Status
from clusterbus.member.member import Member

NOT_ALLOWED: Final = (
    'DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a '
    "local connection, otherwise you need to set this option in the configuration file, and then restart "
    "the server."
)
SLEEP_MAX_S: Final = 3_600.0
INT_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Subcommand:
    """`arguments` is the number of arguments; `verb` is a word that must stand before them, or ""."""

    handler: Callable[[Member, list[bytes]], Reply]
    arguments: int
    synopsis: str
    summary: str
    verb: str = ""

    def arguments_of(self, words: list[bytes]) -> list[bytes] | None:
        """The arguments among the words after the name; None if the verb or the number of arguments is wrong."""
        if self.verb:
            if not words or text_of(words[0]).lower() != self.verb:
                return None
            words = words[1:]
        return words if len(words) == self.arguments else None


def _sleep(member: Member, arguments: list[bytes]) -> Reply:
    try:
        seconds = float(arguments[0])
    except ValueError:
        seconds = 0.0  # Valkey too reads a text that is not a number as 0
    if seconds > 0:  # false for NaN
        time.sleep(min(seconds, SLEEP_MAX_S))
    return OK


def _drop_cluster_packet_filter(member: Member, arguments: list[bytes]) -> Reply:
    number = integer(arguments[0])
    if not -INT_MAX <= number <= INT_MAX:
        raise CommandError("value is not an integer or out of range")
    member.driver.packet_filter = number
    return OK


def _close_cluster_link_on_packet_drop(member: Member, arguments: list[bytes]) -> Reply:
    member.driver.closes_filtered = bool(integer_or_none(arguments[0]))  # as Valkey reads it: a word is 0
    return OK


def _log(member: Member, arguments: list[bytes]) -> Reply:
    member.driver.log("warning", f"DEBUG LOG: {text_of(arguments[0])}")
    return OK


def _clusterlink(member: Member, arguments: list[bytes]) -> Reply:
    direction, node_id = (text_of(argument) for argument in arguments)
    state = member.state
    peer = state.find(node_id)
    if peer is None:
        raise CommandError(f"Unknown node {node_id}")
    if peer is state.myself:
        raise CommandError("Cannot free cluster link(s) to myself")
    links = {"to": (peer.link,), "from": (peer.inbound_link,), "all": (peer.link, peer.inbound_link)}
    if direction.lower() not in links:
        raise CommandError(f"Unknown direction {direction}")
    for link in links[direction.lower()]:
        if link is not None:
            member.driver.kill_link(link.link_id, "killed by DEBUG CLUSTERLINK")
    member.settle()
    return OK


def _help(_member: Member, _arguments: list[bytes]) -> Reply:
    lines = ["DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for name, subcommand in SUBCOMMANDS.items():
        lines += [f"{name.upper()} {subcommand.synopsis}".rstrip(), f"    {subcommand.summary}"]
    return [Status(line) for line in lines]


SUBCOMMANDS: Final[dict[str, _Subcommand]] = {
    "clusterlink": _Subcommand(
        _clusterlink, 2, "KILL <to|from|all> <node-id>", "Closes the links to or from a node.", "kill"
    ),
    "close-cluster-link-on-packet-drop": _Subcommand(
        _close_cluster_link_on_packet_drop,
        1,
        "<0|1>",
        "Whether a packet that the filter drops also closes its link.",
    ),
    "drop-cluster-packet-filter": _Subcommand(
        _drop_cluster_packet_filter,
        1,
        "<packet-type>",
        "Ignores bus packets of one type; -1 ignores none, -2 all.",
    ),
    "log": _Subcommand(_log, 1, "<message>", "Writes a message to the log."),
    "sleep": _Subcommand(_sleep, 1, "<seconds>", "Blocks the main thread for that time; decimals are allowed."),
    "help": _Subcommand(_help, 0, "", "Print this help."),
}


def debug(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """DEBUG: runs one of the subcommands of the table."""
    allowed = member.config.enable_debug_command
    if allowed == "no" or (allowed == "local" and not client.is_local):
        raise CommandError(NOT_ALLOWED)
    name = text_of(arguments[0])
    subcommand = SUBCOMMANDS.get(name.lower())
    rest = subcommand.arguments_of(arguments[1:]) if subcommand is not None else None
    if subcommand is None or rest is None:
        raise CommandError(f"unknown subcommand or wrong number of arguments for '{name:.128}'. Try DEBUG HELP.")
    return subcommand.handler(member, rest)


DEBUG: Final = CommandSpec(
    "debug",
    debug,
    -2,
    ("admin", "noscript", "loading", "stale"),
    "Faults on purpose, for tests.",
    "<subcommand> [<arg> ...]",
)
