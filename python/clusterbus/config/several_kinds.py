"""The kinds of values of several words: addresses, limits by class, pairs, sets of words.

As in `kinds` the texts of refusals are Valkey's (src/config.c). Must never keep state or read a file. Any thread.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from clusterbus.config.kinds import HOSTNAME, BufferLimit, BufferLimits, Value, literal, memory_bytes, one_of
from clusterbus.errors import ConfigError
from clusterbus.wire import PORT_MAX

BIND_ADDRESSES_MAX: Final = 16
_SECONDS: Final = re.compile(r"\+?[0-9]{1,9}")
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")
_DECIMAL: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class OutputBufferLimits:
    """`CLASS HARD SOFT SECONDS`, any number of times; classes that are not named keep their limits."""

    several = True
    CLASSES: Final = {"normal": "normal", "slave": "replica", "replica": "replica", "pubsub": "pubsub"}
    SHOWN: Final = (("normal", "normal"), ("slave", "replica"), ("pubsub", "pubsub"))
    """(name that is shown, class), in the order in which they are shown."""

    def parse(self, arguments: Sequence[str]) -> BufferLimits:
        words = [] if list(arguments) == [""] else list(arguments)
        if len(words) % 4:
            raise ConfigError("Wrong number of arguments in buffer limit configuration.")
        limits: dict[str, BufferLimit] = {}
        for name, hard, soft, seconds in zip(*(iter(words),) * 4, strict=True):
            field = self.CLASSES.get(name.lower())
            if field is None:
                raise ConfigError("Invalid client class specified in buffer limit configuration.")
            hard_bytes, soft_bytes = memory_bytes(hard), memory_bytes(soft)
            soft_s = int(seconds) if _SECONDS.fullmatch(seconds) else None
            if hard_bytes is None or soft_bytes is None or soft_s is None:
                raise ConfigError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
            limits[field] = BufferLimit(hard_bytes, soft_bytes, soft_s)
        return BufferLimits(limits)

    def format(self, value: Value) -> str:
        assert isinstance(value, BufferLimits)
        return " ".join(f"{name} {value.by_class[kind]}" for name, kind in self.SHOWN if kind in value.by_class)

    def syntax(self) -> str:
        return "CLASS HARD SOFT SECONDS ..."

    def annotation(self) -> str:
        return "str | Sequence[str | int]"


class Addresses:
    """Addresses to listen on: IPv4, IPv6, a host name, `*` or `::*`, each with or without a leading `-`. A single empty
    argument means no address.
    """

    several = True

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        if len(arguments) > BIND_ADDRESSES_MAX:
            raise ConfigError("Too many bind addresses specified.")
        if not arguments:
            raise ConfigError("wrong number of arguments")
        if tuple(arguments) == ("",):
            return ()
        for text in arguments:
            plain = text.removeprefix("-")
            if plain in ("*", "::*") or (HOSTNAME.fullmatch(plain) and plain):
                continue
            try:
                ipaddress.ip_address(plain)
            except ValueError:
                raise ConfigError(f"invalid bind address {text!r}") from None
        return tuple(arguments)

    def format(self, value: Value) -> str:
        return " ".join(value) if isinstance(value, tuple) else str(value)

    def syntax(self) -> str:
        return "ADDRESS ..."

    def annotation(self) -> str:
        return "str | Sequence[str]"


class SavePoints:
    """Pairs of seconds and changes. They have no effect and are only shown again."""

    several = True

    def parse(self, arguments: Sequence[str]) -> str:
        words = [] if list(arguments) == [""] else arguments
        pairs = zip(words[::2], words[1::2], strict=False)
        if len(words) % 2 or not all(
            seconds.isdecimal() and int(seconds) >= 1 and changes.isdecimal() for seconds, changes in pairs
        ):
            raise ConfigError("Invalid save parameters")
        return " ".join(words)

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return 'SECONDS CHANGES ... | ""'

    def annotation(self) -> str:
        return "str | Sequence[str | int]"


class Words:
    """Any words, as many as there are; a single empty one means none. They are only shown again."""

    several = True

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        if not arguments:
            raise ConfigError("wrong number of arguments")
        return () if tuple(arguments) == ("",) else tuple(arguments)

    def format(self, value: Value) -> str:
        return " ".join(value) if isinstance(value, tuple) else str(value)

    def syntax(self) -> str:
        return "WORD ..."

    def annotation(self) -> str:
        return "str | Sequence[str]"


class Choices(Words):
    """Some of a few words, in any case and order. `not_together`: two words that exclude each other, and the reason."""

    def __init__(self, *words: str, not_together: tuple[str, str, str] | None = None) -> None:
        self._words, self._not_together = words, not_together

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        if not arguments:
            raise ConfigError(f"argument(s) must be one of the following: {', '.join(self._words)}")
        chosen = tuple(dict.fromkeys(one_of(self._words, text) for text in arguments))
        if self._not_together is not None and {*self._not_together[:2]} <= {*chosen}:
            raise ConfigError(self._not_together[2])
        return chosen

    def syntax(self) -> str:
        return f"{'|'.join(self._words)} ..."

    def annotation(self) -> str:
        one = literal(self._words)
        return f"{one} | Sequence[{one}]"


class Integers(Words):
    """A fixed number of integers within bounds, both inclusive."""

    def __init__(self, number: int, least: int, most: int) -> None:
        self._number, self._least, self._most = number, least, most

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        if len(arguments) != self._number:
            raise ConfigError("wrong number of arguments")
        if not all(_WHOLE.fullmatch(text) and self._least <= int(text) <= self._most for text in arguments):
            raise ConfigError(f"elements must be between {self._least} and {self._most}")
        return tuple(str(int(text)) for text in arguments)

    def syntax(self) -> str:
        return " ".join([f"{self._least}-{self._most}"] * self._number)

    def annotation(self) -> str:
        return "str | Sequence[str | int]"


class Percentiles(Words):
    """Numbers from 0 to 100, fractions allowed; a single empty word means none."""

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        words = super().parse(arguments)
        if not all(_DECIMAL.fullmatch(text) and float(text) <= 100 for text in words):
            raise ConfigError("Invalid percentile, must be a number between 0 and 100")
        return words

    def syntax(self) -> str:
        return "PERCENT ..."

    def annotation(self) -> str:
        return "str | Sequence[str | float]"


class HostAndPort(Words):
    """A host and a port, or `no one`, which is shown as nothing."""

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        if tuple(arguments) == ("",):
            return ()
        if len(arguments) != 2:
            raise ConfigError("wrong number of arguments")
        host, port = arguments
        if (host.lower(), port.lower()) == ("no", "one"):
            return ()
        if not port.isdecimal() or len(port) > 5 or int(port) > PORT_MAX:
            raise ConfigError("Invalid primary port")
        return (host, port)

    def syntax(self) -> str:
        return "HOST PORT"

    def annotation(self) -> str:
        return "str | Sequence[str | int]"
