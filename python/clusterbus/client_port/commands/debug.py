"""DEBUG: faults on purpose, for tests; enable-debug-command decides who may use it.

Owns the table of its subcommands. Must never serve a client that the directive excludes. Main thread, which SLEEP
really blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
CANNOT_POPULATE: Final = "the data plane of this node takes no keys from DEBUG POPULATE (DataPlane.populate)"
CANNOT_RESTART: Final = "this node runs inside a program, which alone can restart it"
POPULATE_MAX: Final = 10_000_000
POPULATE_LEN_MAX_BYTES: Final = 1024 * 1024
RESTART_DELAY_MAX_MS: Final = 3_600_000
SLEEP_MAX_S: Final = 3_600.0
INT_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Subcommand:
    """`arguments` is the number of arguments, and `more` may follow; `verb` is a word that must stand before them, or
    "".
    """

    handler: Callable[[Member, list[bytes]], Reply]
    arguments: int
    synopsis: str
    summary: str
    verb: str = ""
    more: int = 0

    def arguments_of(self, words: list[bytes]) -> list[bytes] | None:
        """The arguments among the words after the name; None if the verb or the number of arguments is wrong."""
        if self.verb:
            if not words or text_of(words[0]).lower() != self.verb:
                return None
            words = words[1:]
        return words if self.arguments <= len(words) <= self.arguments + self.more else None


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


def _is_on(argument: bytes) -> bool:
    """A switch of DEBUG: any number but 0 is on. What is no number is 0, as in Valkey."""
    return bool(integer_or_none(argument) or 0)


def _close_on_drop(member: Member, arguments: list[bytes]) -> Reply:
    member.driver.closes_filtered = _is_on(arguments[0])
    return OK


def _disable_random_ping(member: Member, arguments: list[bytes]) -> Reply:
    member.state.switches.pings_at_random = not _is_on(arguments[0])
    return OK


def _disable_reconnection(member: Member, arguments: list[bytes]) -> Reply:
    member.state.switches.reconnects = not _is_on(arguments[0])
    return OK


def _log(member: Member, arguments: list[bytes]) -> Reply:
    member.driver.log("warning", f"DEBUG LOG: {text_of(arguments[0])}")
    return OK


def _populate(member: Member, arguments: list[bytes]) -> Reply:
    """DEBUG POPULATE count [prefix] [size]: the keys `prefix:0` and so on, whatever slots they are in."""
    count = integer(arguments[0])
    size = integer(arguments[2]) if len(arguments) > 2 else 0
    if count < 0 or size < 0:
        raise CommandError("value is out of range, must be positive")
    if count > POPULATE_MAX or size > POPULATE_LEN_MAX_BYTES:
        raise CommandError(f"at most {POPULATE_MAX} keys of {POPULATE_LEN_MAX_BYTES} bytes")
    prefix = arguments[1] if len(arguments) > 1 else b"key"

    def items() -> Iterator[tuple[bytes, bytes]]:
        for number in range(count):
            value = b"value:%d" % number
            yield b"%b:%d" % (prefix, number), value[:size].ljust(size, b"\0") if size else value

    if not member.data_plane.populate(items()):
        raise CommandError(CANNOT_POPULATE)
    return OK


def _restart(member: Member, arguments: list[bytes]) -> Reply:
    """DEBUG RESTART: the process ends as at SHUTDOWN and begins again with the same arguments."""
    delay_ms = integer(arguments[0]) if arguments else 0
    if not 0 <= delay_ms <= RESTART_DELAY_MAX_MS:
        raise CommandError("value is out of range")
    if member.on_restart_request is None:
        raise CommandError(CANNOT_RESTART)
    if member.config.config_file is not None:
        member.config.rewrite()
    member.on_restart_request(delay_ms)
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
    "close-cluster-link-on-packet-drop": _Subcommand(
        _close_on_drop, 1, "<0|1>", "Whether DROP-CLUSTER-PACKET-FILTER also closes the link of what it drops."
    ),
    "clusterlink": _Subcommand(
        _clusterlink, 2, "KILL <to|from|all> <node-id>", "Closes the links to or from a node.", "kill"
    ),
    "disable-cluster-random-ping": _Subcommand(
        _disable_random_ping, 1, "<0|1>", "1: no node is pinged at random once a second; idle ones still are."
    ),
    "disable-cluster-reconnection": _Subcommand(
        _disable_reconnection, 1, "<0|1>", "1: links that are down are not dialled again."
    ),
    "drop-cluster-packet-filter": _Subcommand(
        _drop_cluster_packet_filter,
        1,
        "<packet-type>",
        "Ignores bus packets of one type; -1 ignores none, -2 all.",
    ),
    "log": _Subcommand(_log, 1, "<message>", "Writes a line to the log."),
    "populate": _Subcommand(
        _populate, 1, "<count> [<prefix>] [<size>]", "The data plane sets so many keys that are not here yet.", more=2
    ),
    "restart": _Subcommand(
        _restart, 0, "[<milliseconds>]", "Saves nodes.conf and the configuration file, and begins again.", more=1
    ),
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
