"""How the methods of `BlockingBus` share one member among threads: each call is a turn of its own.

Owns the wrapping of every public method and property, so that none can be forgotten, and the list of those that need no
thread of the bus. Must never hold a turn while a call waits: `BlockingNode.run` gives it away. Any thread.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeVar

ANY_THREAD: Final = frozenset({"publish", "send"})
"""These any thread may call, also where the bus has no thread of its own."""
NO_TURN: Final = frozenset({"close", "wake"})
"""These see to it themselves."""


class TakesTurns(Protocol):
    """A class whose calls are turns."""

    def _turn(self, *, any_thread: bool) -> AbstractContextManager[object]:
        """Checks whether the calling thread may call, and waits for its turn."""


Kind = TypeVar("Kind", bound=TakesTurns)


def takes_turns(kind: type[Kind]) -> type[Kind]:
    """Decorates a class: each public method and property, inherited ones too, runs within a turn."""
    for name in dir(kind):
        if name.startswith("_") or name in NO_TURN:
            continue
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property) and member.fget is not None:
            setattr(kind, name, property(_within_a_turn(member.fget, name), doc=member.__doc__))
        elif inspect.isfunction(member):
            setattr(kind, name, _within_a_turn(member, name))
    return kind


def _within_a_turn(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    any_thread = name in ANY_THREAD

    @functools.wraps(function)
    def call(self: TakesTurns, *positional: Any, **keywords: Any) -> Any:
        with self._turn(any_thread=any_thread):
            return function(self, *positional, **keywords)

    return call
