"""FUNCTION: the answers of a server that has no functions and accepts none.

It exists because redis-cli --cluster add-node sends FUNCTION DUMP to the cluster, and FUNCTION LIST and RESTORE to the
new node. Must never change anything. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply

EMPTY_DUMP: Final = bytes.fromhex("0a005d9b5c400f7fa2da")
"""A dump of no functions: version 10 of the format and a checksum. Version 10 is the oldest with functions, and servers
accept dumps of older versions."""
NO_FUNCTIONS: Final = "this node runs no functions: its program adds commands (clusterbus.Command)"
CRC64_POLYNOMIAL: Final = 0x95AC9329AC4BC9B5
FOOTER_LEN: Final = 10
_POLICIES: Final = frozenset({"append", "replace", "flush"})


def crc64(data: bytes) -> int:
    """The checksum of dumps: CRC-64/Jones, reflected."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC64_POLYNOMIAL if crc & 1 else 0)
    return crc


def function_list(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """FUNCTION LIST: an empty list, if the arguments are right."""
    rest = iter(arguments)
    for word in rest:
        if word.lower() == b"withcode":
            continue
        if word.lower() != b"libraryname":
            raise CommandError(f"Unknown argument {text_of(word)}")
        if next(rest, None) is None:
            raise CommandError("library name argument was not given")
    return []


def function_dump(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    """FUNCTION DUMP: the dump of no functions."""
    return EMPTY_DUMP


def function_restore(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """FUNCTION RESTORE: accepts a dump of no functions, and refuses a dump that contains functions."""
    if len(arguments) > 2:
        raise CommandError("wrong number of arguments for 'function|restore' command")
    if len(arguments) == 2 and text_of(arguments[1]).lower() not in _POLICIES:
        raise CommandError("Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    payload = arguments[0]
    footer = payload[-FOOTER_LEN:]
    if len(footer) < FOOTER_LEN:
        raise CommandError("DUMP payload version or checksum are wrong")
    if len(payload) > FOOTER_LEN:
        raise CommandError("this server runs no functions, so it does not keep any either")
    if crc64(footer[:2]).to_bytes(8, "little") != footer[2:]:
        raise CommandError("DUMP payload version or checksum are wrong")
    return OK


def function_flush(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """FUNCTION FLUSH: OK, because there is nothing to remove."""
    if len(arguments) > 1 or (arguments and arguments[0].lower() not in (b"sync", b"async")):
        raise CommandError("FUNCTION FLUSH only supports SYNC|ASYNC option")
    return OK


def no_functions(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    raise CommandError(NO_FUNCTIONS)


_SLOW: Final = ("@slow", "@scripting")

FUNCTION: Final = CommandSpec(
    "function",
    None,
    -2,
    summary="Functions; this server has none.",
    since="7.0.0",
    group="scripting",
    subcommands=(
        CommandSpec(
            "list",
            function_list,
            -2,
            ("noscript",),
            "An empty list: this server has no functions.",
            "[LIBRARYNAME <pattern>] [WITHCODE]",
            categories=_SLOW,
        ),
        CommandSpec(
            "delete",
            no_functions,
            3,
            ("write", "noscript"),
            "Refused: this server has no functions.",
            "<library>",
            categories=_SLOW,
        ),
        CommandSpec(
            "kill", no_functions, 2, ("noscript", "allow_busy"), "Refused: no function runs.", categories=_SLOW
        ),
        CommandSpec(
            "load",
            no_functions,
            -3,
            ("write", "denyoom", "noscript"),
            "Refused: this server runs no functions.",
            "[REPLACE] <code>",
            categories=_SLOW,
        ),
        CommandSpec(
            "stats", no_functions, 2, ("noscript", "allow_busy"), "Refused: no function runs.", categories=_SLOW
        ),
        CommandSpec("dump", function_dump, 2, ("noscript",), "The dump of no functions.", categories=_SLOW),
        CommandSpec(
            "restore",
            function_restore,
            -3,
            ("write", "denyoom", "noscript"),
            "Accepts a dump without functions.",
            "<payload> [FLUSH|APPEND|REPLACE]",
            categories=("@write", *_SLOW),
        ),
        CommandSpec(
            "flush",
            function_flush,
            -2,
            ("write", "noscript"),
            "Removes all functions; there are none.",
            "[ASYNC|SYNC]",
            categories=("@write", *_SLOW),
        ),
    ),
)
