"""Parsing of command arguments, with Valkey's error texts.

Pure functions from bytes to values. A bad argument raises CommandError, which the client gets as `ERR text`. Any
thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from clusterbus.client_port.reply import CommandError
from clusterbus.cluster.constants import PORT_MAX, SLOTS

NOT_AN_INTEGER: Final = "value is not an integer or out of range"
SYNTAX_ERROR: Final = "syntax error"
_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def text_of(argument: bytes) -> str:
    """An argument as text. Bytes that are not UTF-8 survive a round trip."""
    return argument.decode("utf-8", "surrogateescape")


def integer_or_none(argument: bytes) -> int | None:
    """The 64-bit integer that is written, or None. As in Valkey, a plus sign, blanks and leading zeros are wrong."""
    if not _INTEGER.fullmatch(argument):
        return None
    number = int(argument)
    return number if -(2**63) <= number < 2**63 else None


def integer(argument: bytes) -> int:
    """The 64-bit integer that is written. Raises CommandError if it is none."""
    number = integer_or_none(argument)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    return number


def slot(argument: bytes) -> int:
    """A slot number. Raises CommandError."""
    number = integer_or_none(argument)
    if number is None or not 0 <= number < SLOTS:
        raise CommandError("Invalid or out of range slot")
    return number


def slot_list(arguments: list[bytes]) -> list[int]:
    """Slots given one by one, in this order. Raises CommandError, also for a slot that is given twice."""
    return _each_once(slot(argument) for argument in arguments)


def slot_ranges(arguments: list[bytes], command: str) -> list[int]:
    """Slots given as inclusive ranges `first last ...`; `command` is the full name for errors. Raises CommandError,
    also for a slot that is given twice.
    """
    if not arguments or len(arguments) % 2:
        raise CommandError(f"wrong number of arguments for '{command}' command")
    slots: list[int] = []
    for index in range(0, len(arguments), 2):
        first, last = slot(arguments[index]), slot(arguments[index + 1])
        if first > last:
            raise CommandError(f"start slot number {first} is greater than end slot number {last}")
        if len(slots) + last - first >= 2 * SLOTS:  # so many slots must contain repetitions: stop collecting them
            raise CommandError(f"Slot {first} specified multiple times")
        slots.extend(range(first, last + 1))
    return _each_once(slots)


def _each_once(slots: Iterable[int]) -> list[int]:
    seen: dict[int, None] = {}
    for number in slots:
        if number in seen:
            raise CommandError(f"Slot {number} specified multiple times")
        seen[number] = None
    return list(seen)


def port(argument: bytes, which: str) -> int:
    """A port of CLUSTER MEET; `which` is "base" or "bus". Raises CommandError."""
    number = integer_or_none(argument)
    if number is None:
        raise CommandError(f"Invalid {which} port specified: {text_of(argument)}")
    if not 0 < number <= PORT_MAX:
        raise CommandError("Port number is out of range")
    return number
