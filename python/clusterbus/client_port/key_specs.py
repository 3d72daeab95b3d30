"""The positions of keys among the words of a request: `KeySpec`, its short notation, and its shape in COMMAND INFO.

Owns the arithmetic of key positions, both for redirections and for COMMAND GETKEYS. Knows no command. Any thread.
Source: the answers of a running Valkey 9.1.2 to COMMAND INFO; `getKeysFromCommandWithSpecs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from clusterbus.client_port.reply import Reply, SetOf, Status

_NOTATION: Final = re.compile(
    r"(?P<flags>[\w.]+)@(?:(?P<keyword>[A-Z]+)(?P<start>[+-]\d+)|(?P<index>\d+)|\?)"
    r"(?:(?P<counted>\#)|\.\.(?P<last>-?\d+))?(?:/(?P<step>\d+))?(?:%(?P<limit>\d+))?"
)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One run of keys. Positions count the words of the request; the name is word 0.

    The run begins at word `start`. With a `keyword`, it begins after the first occurrence of that word, searched from
    `start` on (backwards if `start` is negative). With neither, the beginning is unknown. The run ends `last` words
    after its beginning or, if `last` is negative, that many words from the end (-1 is the last word). With a `limit` of
    n, only the first nth of the remaining words are keys. With `counted`, the word at the beginning is the number of
    keys that follow it. One of every `step` words is a key.
    """

    flags: tuple[str, ...]
    start: int = 0
    keyword: str = ""
    last: int = 0
    step: int = 1
    limit: int = 0
    counted: bool = False

    @classmethod
    def parse(cls, notation: str) -> KeySpec:
        """`RO.access@1`, `OW.update@1..-1/2`, `RW@2#` (counted), `RO@STREAMS+1..-1%2` or `OW@?`."""
        match = _NOTATION.fullmatch(notation)
        if match is None:
            raise ValueError(f"{notation!r} names no keys")
        return cls(
            flags=tuple(match["flags"].split(".")),
            start=int(match["start"] or match["index"] or 0),
            keyword=match["keyword"] or "",
            last=int(match["last"] or 0),
            step=int(match["step"] or 1),
            limit=int(match["limit"] or 0),
            counted=match["counted"] is not None,
        )

    @property
    def is_fixed(self) -> bool:
        """Whether first, last and step describe the run completely."""
        return bool(self.start) and not self.keyword and not self.counted

    @property
    def are_keys(self) -> bool:
        """False for channels: they have positions like keys, but are not keys."""
        return "not_key" not in self.flags

    def positions(self, words: Sequence[bytes]) -> Sequence[int] | None:
        """The positions of the keys; None if the words do not fit this spec."""
        first = self._beginning(words)
        if first is None:
            return ()
        if first >= len(words):
            return None
        if self.counted:
            count = int(words[first]) if words[first].isdigit() and len(words[first]) < 10 else -1
            last = first + count * self.step
            if count < 0 or last >= len(words):
                return None
            return range(first + 1, last + 1, self.step)
        if self.limit > 1:
            end = first + (len(words) - first) // self.limit
        elif self.last < 0:
            end = len(words) + self.last + 1
        else:
            end = first + self.last + 1
        return range(first, end, self.step) if end <= len(words) else None

    def _beginning(self, words: Sequence[bytes]) -> int | None:
        if not self.keyword:
            return self.start or None
        if self.start < 0:
            order: Iterable[int] = range(len(words) + self.start, 0, -1)
        else:
            order = range(self.start, len(words) - 1)
        keyword = self.keyword.encode()
        return next((index + 1 for index in order if words[index].upper() == keyword), None)

    def shape(self) -> Reply:
        """The spec in the form that COMMAND INFO shows."""
        begin: dict[str, Reply]
        if self.keyword:
            begin = {"type": "keyword", "spec": {"keyword": self.keyword, "startfrom": self.start}}
        elif self.start:
            begin = {"type": "index", "spec": {"index": self.start}}
        else:
            begin = {"type": "unknown", "spec": {}}
        find: dict[str, Reply]
        if begin["type"] == "unknown":
            find = {"type": "unknown", "spec": {}}
        elif self.counted:
            find = {"type": "keynum", "spec": {"keynumidx": 0, "firstkey": 1, "keystep": self.step}}
        else:
            find = {"type": "range", "spec": {"lastkey": self.last, "keystep": self.step, "limit": self.limit}}
        return {
            "flags": SetOf([Status(flag) for flag in self.flags]),
            "begin_search": begin,
            "find_keys": find,
        }


def of_range(first: int, last: int, step: int, flags: tuple[str, ...]) -> KeySpec:
    """The run of the words `first` to `last`; a negative `last` counts from the end."""
    return KeySpec(flags, start=first, last=last if last < 0 else last - first, step=step)


def first_last_step(specs: Sequence[KeySpec]) -> tuple[int, int, int]:
    """First, last and step for older clients: the span of all runs at fixed positions, or 0 0 0 without one."""
    fixed = [spec for spec in specs if spec.is_fixed]
    if not fixed:
        return (0, 0, 0)
    open_ended = [spec.last for spec in fixed if spec.last < 0]
    last = open_ended[0] if open_ended else max(spec.start + spec.last for spec in fixed)
    return (min(spec.start for spec in fixed), last, fixed[0].step)


def key_positions(specs: Sequence[KeySpec], words: Sequence[bytes]) -> list[int] | None:
    """The positions of all keys of a request; None if its words do not fit the specs.

    If a run with the flag `incomplete` is present (KEYS of MIGRATE), it replaces all other runs.
    """
    found: list[int] = []
    for spec in specs:
        if not spec.are_keys:
            continue
        positions = spec.positions(words)
        if positions is None:
            return None
        if "incomplete" in spec.flags and positions:
            return list(positions)
        found += positions
    return found
