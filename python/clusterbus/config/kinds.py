"""The kinds of values that directives take: text to value, value to text, and the reasons to refuse a text.

The texts of refusals are Valkey's (src/config.c), because CONFIG SET passes them on. Must never keep state or read a
file. Any thread.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clusterbus.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BufferLimit:
    """How much output a client may leave unread. `hard_bytes` close it at once; `soft_bytes` close it if it stays above
    them for more than `soft_s` seconds. 0 means that this limit is not set.
    """

    hard_bytes: int
    soft_bytes: int
    soft_s: int

    def __str__(self) -> str:
        return f"{self.hard_bytes} {self.soft_bytes} {self.soft_s}"


@dataclass(frozen=True)
class BufferLimits:
    """The limits by class of client: normal, replica, pubsub. Parsed arguments may lack some classes, whose limits then
    stay as they were.
    """

    by_class: dict[str, BufferLimit]

    def over(self, old: BufferLimits) -> BufferLimits:
        """These limits, completed with the old limits of the classes that are not in them."""
        return BufferLimits(old.by_class | self.by_class)


Value = int | bool | str | tuple[str, ...] | BufferLimits

BIND_ADDRESSES_MAX: Final = 16
HOSTNAME_LEN_MAX: Final = 255
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_SECONDS: Final = re.compile(r"\+?[0-9]{1,9}")
_MEMORY: Final = re.compile(r"([0-9]+)(b|kb?|mb?|gb?)?", re.IGNORECASE)
_UNIT_BYTES: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
}
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9.-]*")
_NODENAME: Final = re.compile(r"[A-Za-z0-9._:/-]*")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9._:%-]*")

Check = Callable[[str], str | None]
"""Returns the reason to refuse a text, or None if it is good."""


class Kind(Protocol):
    """A kind of value. `several`: it takes more than one argument on a line."""

    @property
    def several(self) -> bool: ...
    def parse(self, arguments: Sequence[str]) -> Value:
        """Turns the arguments of a directive into its value. Raises ConfigError, whose text is just the reason."""

    def format(self, value: Value) -> str:
        """The text that CONFIG GET answers."""

    def syntax(self) -> str:
        """What the help shows as the possible values."""


class _Single:
    several = False

    @staticmethod
    def _only(arguments: Sequence[str]) -> str:
        if len(arguments) != 1:
            raise ConfigError("wrong number of arguments")
        return arguments[0]


class Integer(_Single):
    """A decimal integer within bounds, both inclusive."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def parse(self, arguments: Sequence[str]) -> int:
        text = self._only(arguments)
        if not _INTEGER.fullmatch(text) or len(text) > 20:
            raise ConfigError("argument couldn't be parsed into an integer")
        number = int(text)
        if not self._least <= number <= self._most:
            raise ConfigError(f"argument must be between {self._least} and {self._most} inclusive")
        return number

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return f"{self._least}-{self._most}" if self._most <= 10**9 else "number"


class Memory(_Single):
    """A number of bytes with valkey.conf's units: 1k is 1000, 1kb is 1024, and so on; case does not matter."""

    def parse(self, arguments: Sequence[str]) -> int:
        number = memory_bytes(self._only(arguments))
        if number is None:
            raise ConfigError("argument must be a memory value")
        return number

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return "bytes, 1kb, 1mb ..."


def memory_bytes(text: str) -> int | None:
    """The number of bytes that a text with valkey.conf's units stands for; None if it is none, or over 64 bits."""
    match = _MEMORY.fullmatch(text)
    if match is None or len(match[1]) > 20:
        return None
    number = int(match[1]) * _UNIT_BYTES[(match[2] or "").lower()]
    return number if number < 2**64 else None


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


class YesNo(_Single):
    """`yes` or `no`; case does not matter."""

    def parse(self, arguments: Sequence[str]) -> bool:
        text = self._only(arguments).lower()
        if text not in ("yes", "no"):
            raise ConfigError("argument must be 'yes' or 'no'")
        return text == "yes"

    def format(self, value: Value) -> str:
        return "yes" if value else "no"

    def syntax(self) -> str:
        return "yes|no"


class Enabled(YesNo):
    """A switch that is always on in clusterbus: `no` is refused with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def parse(self, arguments: Sequence[str]) -> bool:
        if not super().parse(arguments):
            raise ConfigError(f"argument must be 'yes': {self._reason}")
        return True

    def syntax(self) -> str:
        return "yes"


class Disabled(YesNo):
    """A switch that is always off in clusterbus: `yes` is refused with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def parse(self, arguments: Sequence[str]) -> bool:
        if super().parse(arguments):
            raise ConfigError(f"argument must be 'no': {self._reason}")
        return False

    def syntax(self) -> str:
        return "no"


class Choice(_Single):
    """One of a few words; case does not matter."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def parse(self, arguments: Sequence[str]) -> str:
        text = self._only(arguments).lower()
        if text not in self._words:
            raise ConfigError(f"argument(s) must be one of the following: {', '.join(self._words)}")
        return text

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return "|".join(self._words)


class Text(_Single):
    """Any text that `check` does not refuse."""

    def __init__(self, check: Check | None = None) -> None:
        self._check = check

    def parse(self, arguments: Sequence[str]) -> str:
        text = self._only(arguments)
        reason = self._check(text) if self._check else None
        if reason:
            raise ConfigError(reason)
        return text

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return "text"


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
            if plain in ("*", "::*") or (_HOSTNAME.fullmatch(plain) and plain):
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


def not_empty(reason: str) -> Check:
    """A check that refuses the empty text."""
    return lambda text: None if text else reason


def existing_folder(text: str) -> str | None:
    """Refuses a path that is not a folder, with the operating system's text."""
    if not text:
        return "dir can't be empty"
    if os.path.isdir(text):
        return None
    return "Not a directory" if os.path.exists(text) else "No such file or directory"


def announced_hostname(text: str) -> str | None:
    """The rule for hostnames, which stand in heartbeats and nodes.conf (H12)."""
    if len(text) > HOSTNAME_LEN_MAX:
        return f"Hostnames must be less than {HOSTNAME_LEN_MAX + 1} characters"
    if not _HOSTNAME.fullmatch(text):
        return "Hostnames may only contain alphanumeric characters, hyphens or dots"
    return None


def announced_nodename(text: str) -> str | None:
    """The rule for human node names, which stand in heartbeats and nodes.conf (H12)."""
    if not _NODENAME.fullmatch(text):
        return "Announced human node name contained invalid character"
    return None


def announced_zone(text: str) -> str | None:
    """The rule for availability zones, which stand in heartbeats and nodes.conf (H12). It is stricter than Valkey's,
    which lets a zone break its nodes.conf.
    """
    if len(text) > HOSTNAME_LEN_MAX:
        return f"Availability zones must be less than {HOSTNAME_LEN_MAX + 1} characters"
    return None if _NODENAME.fullmatch(text) else "Availability zone contained invalid character"


def client_address(version: int) -> Check:
    """A check for an address of IP version 4 or 6 that is announced to clients. Empty is good and means none."""

    def check(text: str) -> str | None:
        try:
            address = ipaddress.ip_address(text) if text else None
        except ValueError:
            return f"Invalid IPv{version} address"
        fits = address is None or (address.version == version and "%" not in text)
        return None if fits else f"Invalid IPv{version} address"

    return check


def announced_address(name: str) -> Check:
    """A check for addresses that get into headers, gossip and nodes.conf (H12, H13).

    The wire carries only IP addresses. A zone (`%eth0`) is refused, because it has a meaning on one machine only.
    """

    def check(text: str) -> str | None:
        if len(text) > 45 or not _ADDRESS.fullmatch(text):
            return f"{name} contains invalid character"
        try:
            is_plain = not text or "%" not in str(ipaddress.ip_address(text))
        except ValueError:
            is_plain = False
        return None if is_plain else f"{name} must be an IPv4 or IPv6 address"

    return check
