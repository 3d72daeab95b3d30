"""The patterns of PSUBSCRIBE and PUBSUB CHANNELS: Valkey's glob rules, on bytes.

`*` is any run of bytes, `?` one byte, `[...]` one byte of a class (with ranges; `^` for all others), `\\x` is x itself.
The time is at most pattern length times text length: the part between two stars takes its first match and never another
one. Pure functions, any thread. Source: `stringmatchlen` in `src/util.c`, and the answers of a running 9.1.2 with their
oddities: nothing but the empty pattern matches an empty text, a class may lack its end, and the bytes of a range
compare as signed numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

PATTERN_LEN_MAX_BYTES: Final = 4 * 1024
"""A longer pattern is refused, because it would be compiled on the main loop."""
TEXT_LEN_MAX_BYTES: Final = 64 * 1024
"""No pattern matches a longer text. Both limits together bound the time that one match takes on the main loop."""
STARS_MAX: Final = 1000
"""A pattern with more runs of stars than this matches nothing, as in Valkey. One at its end is not counted."""

_STAR, _ANY, _ESCAPE, _OPEN, _CLOSE, _NOT, _RANGE = b"*?\\[]^-"
_NOTHING: Final = re.compile(rb"(?!)")


def compile_pattern(pattern: bytes) -> Callable[[bytes], bool]:
    """A function that tests whether a whole text matches. Raises ValueError for a pattern over the limit."""
    if len(pattern) > PATTERN_LEN_MAX_BYTES:
        raise ValueError(f"a pattern has at most {PATTERN_LEN_MAX_BYTES} bytes")
    fullmatch = _expression(pattern).fullmatch
    matches_empty = not pattern

    def matches(text: bytes) -> bool:
        if not text or len(text) > TEXT_LEN_MAX_BYTES:
            return matches_empty and not text
        return fullmatch(text) is not None

    return matches


def _expression(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern as a regular expression. The parts between stars are atomic groups, except for the last one."""
    runs: list[list[bytes]] = [[]]
    for element in _elements(pattern):
        if element is None:
            runs.append([])
        else:
            runs[-1].append(element)
    stars = len(runs) - 1
    if stars - (stars > 0 and not runs[-1]) > STARS_MAX:
        return _NOTHING
    first, *others = (b"".join(run) for run in runs)
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + b"".join(b"(?>.*?%b)" % run for run in middle) + b".*" + last, re.DOTALL)


def _elements(pattern: bytes) -> Iterator[bytes | None]:
    """One expression for each byte that the pattern stands for, and None for each run of stars."""
    position = 0
    while position < len(pattern):
        byte = pattern[position]
        position += 1
        if byte == _STAR:
            while pattern[position : position + 1] == b"*":
                position += 1
            yield None
        elif byte == _ANY:
            yield b"."
        elif byte == _OPEN:
            members, position = _class(pattern, position)
            yield _one_of(members)
        else:
            if byte == _ESCAPE and position < len(pattern):
                byte = pattern[position]
                position += 1
            yield re.escape(bytes((byte,)))


def _class(pattern: bytes, position: int) -> tuple[frozenset[int], int]:
    """(the bytes that a class matches, the position after it). `position` is just after the opening bracket."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    members: set[int] = set()
    while position < len(pattern):
        byte = pattern[position]
        left = len(pattern) - position
        if byte == _ESCAPE and left >= 2:
            members.add(pattern[position + 1])
            position += 2
        elif byte == _CLOSE:
            position += 1
            break
        elif left >= 3 and pattern[position + 1] == _RANGE:
            members |= _range(byte, pattern[position + 2])
            position += 3
        else:
            members.add(byte)
            position += 1
    return frozenset(range(256)) - members if negated else frozenset(members), position


def _range(first: int, last: int) -> set[int]:
    """The bytes between two bytes, which may be in either order, compared as signed numbers."""
    low, high = sorted(byte - 256 if byte > 127 else byte for byte in (first, last))
    return {number & 0xFF for number in range(low, high + 1)}


def _one_of(members: frozenset[int]) -> bytes:
    if not members:
        return _NOTHING.pattern
    taken = sorted(members)
    starts = [byte for byte in taken if byte - 1 not in members]
    ends = [byte for byte in taken if byte + 1 not in members]
    return b"[%b]" % b"".join(b"\\x%02x-\\x%02x" % ends for ends in zip(starts, ends, strict=True))
