"""Checks of the arguments that a program gives to the public methods and constructors.

Each takes the argument's name and what was given, and returns it as the rest of the package wants it. A wrong type
raises TypeError, as Python's own functions do; a value of the right type that is impossible raises StateError. Both
texts begin with the name. Called before anything changes, so that a refused call changes nothing. Any thread.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from clusterbus.errors import StateError

Called = TypeVar("Called", bound=Callable[..., object])
Kind = TypeVar("Kind")


def integer(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """A whole number within the bounds, both inclusive; None is no bound. A bool is none."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, "an int", value) from None
    if isinstance(value, bool):
        raise wrong_type(name, "an int", value)
    _within(name, number, least, most)
    return number


def number(name: str, value: object, least: float | None = None, most: float | None = None) -> float:
    """A number within the bounds, whole or not, such as a timeout; None is no bound. Infinity is none, nor is NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "a number", value)
    if not math.isfinite(value):
        raise StateError(f"{name} must be a finite number, not {value}")
    _within(name, value, least, most)
    return value


def flag(name: str, value: object) -> bool:
    """True or False."""
    return instance(name, value, bool, "True or False")


def text(name: str, value: object) -> str:
    """A str."""
    return instance(name, value, str, "a str")


def payload(name: str, value: object) -> bytes:
    """Bytes as they are, a str as UTF-8."""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise StateError(f"{name} cannot be sent as UTF-8: {error.reason}") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise wrong_type(name, "bytes or a str", value)


def payloads(name: str, values: object) -> list[bytes]:
    """A sequence of payloads. A single one in its place is a mistake: its letters would be taken for payloads."""
    return [payload(f"an item of {name}", value) for value in sequence(name, values, "bytes or str")]


def sequence(name: str, values: object, of: str) -> list[object]:
    """An iterable, as a list of its items; `of` says what they are. A single text or bytes is none."""
    if isinstance(values, str | bytes | bytearray | memoryview) or not isinstance(values, Iterable):
        raise wrong_type(name, f"a sequence of {of}", values)
    return list(values)


def texts_by_name(name: str, values: object) -> dict[str, str]:
    """A mapping of str to str, as a dict of its own."""
    if not isinstance(values, Mapping):
        raise wrong_type(name, "a mapping of str to str", values)
    return {text(f"a name in {name}", key): text(f"{name}[{key!r}]", value) for key, value in values.items()}


def function(name: str, value: Called) -> Called:
    """Something that can be called."""
    if not callable(value):
        raise wrong_type(name, "a function", value)
    return value


def path(name: str, value: object) -> str:
    """A path, as text."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return instance(name, value, str, "a path (str or os.PathLike)")


def instance(name: str, value: object, kind: type[Kind], words: str) -> Kind:
    """An instance of `kind`; `words` say in the error what it has to be."""
    if not isinstance(value, kind):
        raise wrong_type(name, words, value)
    return value


def wrong_type(name: str, words: str, value: object) -> TypeError:
    """The error for a value of a wrong type, to be raised."""
    return TypeError(f"{name} must be {words}, not {type(value).__name__}: {reprlib.repr(value)}")


def _within(name: str, number: float, least: float | None, most: float | None) -> None:
    if least is not None and number < least:
        raise StateError(f"{name} must be at least {least}, not {number}")
    if most is not None and number > most:
        raise StateError(f"{name} must be at most {most}, not {number}")
