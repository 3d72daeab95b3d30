"""FUNCTION: the answers of a server that has no functions and takes none.

Owns what redis-cli --cluster add-node asks a cluster and a new node. Changes nothing. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply

EMPTY_DUMP: Final = bytes.fromhex("0a005d9b5c400f7fa2da")
"""No functions, as format version 10 (the oldest that has functions) and its checksum: servers take older ones."""
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
    """Nothing."""
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
    """The dump of no functions."""
    return EMPTY_DUMP


def function_restore(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """Takes a dump of no functions; one that holds any is refused."""
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
    """There is nothing to remove."""
    if len(arguments) > 1 or (arguments and arguments[0].lower() not in (b"sync", b"async")):
        raise CommandError("FUNCTION FLUSH only supports SYNC|ASYNC option")
    return OK


_SLOW: Final = ("@slow", "@scripting")

FUNCTION: Final = CommandSpec(
    "function",
    None,
    -2,
    summary="Functions, of which this server has none.",
    since="7.0.0",
    group="scripting",
    subcommands=(
        CommandSpec(
            "list",
            function_list,
            -2,
            ("noscript",),
            "Lists no functions.",
            "[LIBRARYNAME <pattern>] [WITHCODE]",
            categories=_SLOW,
        ),
        CommandSpec("dump", function_dump, 2, ("noscript",), "The dump of no functions.", categories=_SLOW),
        CommandSpec(
            "restore",
            function_restore,
            -3,
            ("write", "denyoom", "noscript"),
            "Takes a dump of no functions.",
            "<payload> [FLUSH|APPEND|REPLACE]",
            categories=("@write", *_SLOW),
        ),
        CommandSpec(
            "flush",
            function_flush,
            -2,
            ("write", "noscript"),
            "Removes all functions: none.",
            "[ASYNC|SYNC]",
            categories=("@write", *_SLOW),
        ),
    ),
)
