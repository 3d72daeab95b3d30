"""Replies as Python values, and their encoding in RESP2 and RESP3.

Owns the whole encoder. Knows no client, command or socket. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf, isnan
from typing import Any, Final, TypeAlias

from clusterbus.errors import ClusterBusError


class Status(str):
    """A simple string such as `+OK`. Line breaks in it become spaces."""

    __slots__ = ()


class ErrorReply(str):
    """An error that begins with its code: `ERR no such node`. Line breaks in it become spaces."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text for people; `format` is `txt` or `mkd`. A bulk string in RESP2."""

    text: str
    format: str = "txt"


@dataclass(frozen=True, slots=True)
class Push:
    """Out-of-band data; an array in RESP2."""

    items: Sequence[Reply]


@dataclass(frozen=True, slots=True)
class Pushes:
    """Any number of pushes in the place of a command's reply. They are sent even if the client turned replies off."""

    items: Sequence[Push]


@dataclass(frozen=True, slots=True)
class SetOf:
    """A set; an array in RESP2."""

    items: Sequence[Reply]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One reply that is encoded already, for the client's protocol: a long one is made in pieces."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NullArray:
    """The null array: `*-1` in RESP2, null in RESP3."""


Reply: TypeAlias = (
    "bool | int | float | str | bytes | Verbatim | Push | Pushes | SetOf | NullArray | Encoded"
    " | Sequence[Reply] | Mapping[Any, Reply] | None"
)
"""None is null; str and bytes are bulk strings, unless they are Status or ErrorReply; a mapping is a map (a flat array
in RESP2), whose keys are str or int; a bool is #t or #f (1 or 0 in RESP2); a float is a double (a bulk string in
RESP2); any other sequence is an array.
"""

OK: Final = Status("OK")
_LINE_BREAKS: Final = str.maketrans("\r\n", "  ")


def error(text: str, code: str = "ERR") -> ErrorReply:
    """An error with its code: `error("no such node")` is `-ERR no such node`."""
    return ErrorReply(f"{code} {text}")


class CommandError(ClusterBusError):
    """A handler refuses a command; code and text are Valkey's, where Valkey has one."""

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.code = code


def encode(reply: Reply, protocol: int) -> bytes:
    """The bytes of a reply; `protocol` is 2 or 3."""
    out = bytearray()
    _append(out, reply, protocol)
    return bytes(out)


def array_head(count: int) -> bytes:
    """What begins an array of so many items, in both protocols."""
    return b"*%d\r\n" % count


def double_text(value: float) -> str:
    """A double as Valkey writes it: the fewest digits that read back as the same number, or `inf`, `-inf`, `nan`."""
    if isnan(value):
        return "nan"
    if isinf(value):
        return "inf" if value > 0 else "-inf"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _append_bulk(out: bytearray, data: bytes) -> None:
    out += b"$%d\r\n" % len(data)
    out += data
    out += b"\r\n"


def _append_line(out: bytearray, mark: bytes, text: str) -> None:
    out += mark
    out += text.translate(_LINE_BREAKS).encode("utf-8", "surrogateescape")
    out += b"\r\n"


def _append_items(out: bytearray, mark: bytes, items: Sequence[Reply], protocol: int) -> None:
    out += b"%b%d\r\n" % (mark, len(items))
    for item in items:
        _append(out, item, protocol)


def _append(out: bytearray, reply: Reply, protocol: int) -> None:
    match reply:
        case bytes():
            _append_bulk(out, reply)
        case ErrorReply():
            _append_line(out, b"-", reply)
        case Status():
            _append_line(out, b"+", reply)
        case str():
            _append_bulk(out, reply.encode("utf-8", "surrogateescape"))
        case bool():
            out += (b"#t\r\n" if reply else b"#f\r\n") if protocol == 3 else b":%d\r\n" % reply
        case int():
            out += b":%d\r\n" % reply
        case float():
            _append_double(out, reply, protocol)
        case None:
            out += b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case NullArray():
            out += b"_\r\n" if protocol == 3 else b"*-1\r\n"
        case Verbatim():
            _append_verbatim(out, reply, protocol)
        case Push():
            _append_items(out, b">" if protocol == 3 else b"*", reply.items, protocol)
        case Pushes():
            for push in reply.items:
                _append(out, push, protocol)
        case Encoded():
            out += reply.data
        case SetOf():
            _append_items(out, b"~" if protocol == 3 else b"*", reply.items, protocol)
        case Mapping():
            out += b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))
            for key, value in reply.items():
                _append(out, key, protocol)
                _append(out, value, protocol)
        case _:
            _append_items(out, b"*", reply, protocol)


def _append_double(out: bytearray, value: float, protocol: int) -> None:
    text = double_text(value).encode()
    if protocol == 3:
        out += b",%b\r\n" % text
    else:
        _append_bulk(out, text)


def _append_verbatim(out: bytearray, reply: Verbatim, protocol: int) -> None:
    data = reply.text.encode("utf-8", "surrogateescape")
    if protocol == 3:
        out += b"=%d\r\n%b:%b\r\n" % (len(data) + 4, reply.format.encode(), data)
    else:
        _append_bulk(out, data)
