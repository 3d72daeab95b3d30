"""The kinds of values of one word: text to value, value to text, and the reasons to refuse a text.

The texts of refusals are Valkey's (src/config.c), because CONFIG SET passes them on. Must never keep state or read a
file. Any thread.
"""

from __future__ import annotations

import ipaddress
import json
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

INT_MAX: Final = 2**31 - 1
UINT_MAX: Final = 2**32 - 1
LONG_MAX: Final = 2**63 - 1
ULONG_MAX: Final = 2**64 - 1
HOSTNAME_LEN_MAX: Final = 255
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_OCTAL: Final = re.compile(r"[0-7]{1,9}")
_PERCENT: Final = re.compile(r"[0-9]{1,3}%")
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
HOSTNAME: Final = re.compile(r"[A-Za-z0-9.-]*")
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

    def annotation(self) -> str:
        """The type of its values in Python, as it stands in `Directives`."""


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

    def annotation(self) -> str:
        return "int"


class Octal(_Single):
    """An octal integer within bounds, both inclusive, as file modes are written."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def parse(self, arguments: Sequence[str]) -> int:
        text = self._only(arguments)
        if not _OCTAL.fullmatch(text):
            raise ConfigError("argument couldn't be parsed as an octal number")
        number = int(text, 8)
        if not self._least <= number <= self._most:
            raise ConfigError(f"argument must be between {self._least:o} and {self._most:o} inclusive")
        return number

    def format(self, value: Value) -> str:
        return f"{value:o}"

    def syntax(self) -> str:
        return f"{self._least:o}-{self._most:o}"

    def annotation(self) -> str:
        return "str"


class Memory(_Single):
    """A number of bytes with valkey.conf's units: 1k is 1000, 1kb is 1024, and so on; case does not matter.

    `minus_one`: -1 is good too and means no limit. `percent_most`: a percentage up to this is good too.
    """

    def __init__(
        self, least: int = 0, most: int = ULONG_MAX, *, minus_one: bool = False, percent_most: int = 0
    ) -> None:
        self._least, self._most, self._minus_one, self._percent_most = least, most, minus_one, percent_most

    def parse(self, arguments: Sequence[str]) -> int | str:
        text = self._only(arguments)
        if self._minus_one and text == "-1":
            return -1
        if self._percent_most and _PERCENT.fullmatch(text):
            if int(text[:-1]) > self._percent_most:
                raise ConfigError(f"percentage argument must be less or equal to {self._percent_most}")
            return text
        number = memory_bytes(text)
        if number is None:
            raise ConfigError(f"argument must be a memory{' or percent' if self._percent_most else ''} value")
        if not self._least <= number <= self._most:
            raise ConfigError(f"argument must be between {self._least} and {self._most} inclusive")
        return number

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return "bytes, 1kb, 1mb ..."

    def annotation(self) -> str:
        return "int | str"


def memory_bytes(text: str) -> int | None:
    """The number of bytes that a text with valkey.conf's units stands for; None if it is none, or over 64 bits."""
    match = _MEMORY.fullmatch(text)
    if match is None or len(match[1]) > 20:
        return None
    number = int(match[1]) * _UNIT_BYTES[(match[2] or "").lower()]
    return number if number < 2**64 else None


def one_of(words: Sequence[str], text: str) -> str:
    """The one of the words that the text is in any case. Raises ConfigError, which names them all."""
    found = next((word for word in words if word.lower() == text.lower()), None)
    if found is None:
        raise ConfigError(f"argument(s) must be one of the following: {', '.join(words)}")
    return found


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

    def annotation(self) -> str:
        return 'bool | Literal["yes", "no"]'


class AlwaysOn(YesNo):
    """A switch that is on in clusterbus whatever is written."""

    def parse(self, arguments: Sequence[str]) -> bool:
        super().parse(arguments)
        return True


class Choice(_Single):
    """One of a few words; case does not matter."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def parse(self, arguments: Sequence[str]) -> str:
        return one_of(self._words, self._only(arguments))

    def format(self, value: Value) -> str:
        return str(value)

    def syntax(self) -> str:
        return "|".join(self._words)

    def annotation(self) -> str:
        return literal(self._words, or_switch={"yes", "no"} <= {*self._words})


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

    def annotation(self) -> str:
        return "str"


class FileName(Text):
    """The name of a file or folder; a program may give it as `os.PathLike`."""

    def annotation(self) -> str:
        return "str | PathLike[str]"


def literal(words: Sequence[str], *, or_switch: bool = False) -> str:
    """The type of one of these words; `or_switch`: True stands for `yes`, and False for `no`."""
    return ("bool | " if or_switch else "") + f"Literal[{', '.join(json.dumps(word) for word in words)}]"


def not_empty(reason: str) -> Check:
    """A check that refuses the empty text."""
    return lambda text: None if text else reason


def base_name(name: str) -> Check:
    """A check for the name of a file without a folder."""

    def check(text: str) -> str | None:
        if not text:
            return f"{name} can't be empty"
        return f"{name} can't be a path, just a filename" if "/" in text else None

    return check


def event_classes(text: str) -> str | None:
    """The rule for classes of keyspace events, one letter each."""
    known = set(text) <= set("Ag$lshzxeKEtmdn")
    return None if known else "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."


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
    if not HOSTNAME.fullmatch(text):
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
