"""Where the keys stand among a command's words: `KeySpec`, its short notation and its shape in COMMAND.

Owns the arithmetic of key positions, for redirections and for COMMAND GETKEYS alike. Knows no command. Any
thread. Source: what a running 9.1.2 answers to COMMAND INFO; `getKeysFromCommandWithSpecs`.
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
    """One run of keys. Positions count the words of the request from its name, which is 0.

    The run begins at word `start`, or after the first `keyword` found from there on (backwards when `start` is
    negative); with neither it cannot be told. It ends `last` words after its beginning, or, when `last` is
    negative, that many from the end; with `limit` n only the first nth of the words up to there are keys. With
    `counted` the word at the beginning says how many keys follow it. Of each `step` words one is a key.
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
        """Whether first, last and step say all there is to say."""
        return bool(self.start) and not self.keyword and not self.counted

    @property
    def are_keys(self) -> bool:
        """Channels stand like keys and are none."""
        return "not_key" not in self.flags

    def positions(self, words: Sequence[bytes]) -> Sequence[int] | None:
        """The positions of the keys; None when the words make no sense."""
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
        """The key spec as COMMAND INFO shows it."""
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
    """The run of the words `first` to `last`, which counts from the end when it is negative."""
    return KeySpec(flags, start=first, last=last if last < 0 else last - first, step=step)


def first_last_step(specs: Sequence[KeySpec]) -> tuple[int, int, int]:
    """What older clients are told: the span of the runs at fixed positions, 0 0 0 without one."""
    fixed = [spec for spec in specs if spec.is_fixed]
    if not fixed:
        return (0, 0, 0)
    open_ended = [spec.last for spec in fixed if spec.last < 0]
    last = open_ended[0] if open_ended else max(spec.start + spec.last for spec in fixed)
    return (min(spec.start for spec in fixed), last, fixed[0].step)


def key_positions(specs: Sequence[KeySpec], words: Sequence[bytes]) -> list[int] | None:
    """The positions of all keys of a request; None when its words make no sense. A run marked incomplete says it
    all when it is there (MIGRATE's KEYS)."""
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
