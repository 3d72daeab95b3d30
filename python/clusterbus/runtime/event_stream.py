"""Typed events on their way to a user: bounded, and honest about what did not fit.

Owns the backlog between the main loop and one consumer. Must never grow past its limit and never lose
an event without saying so: an `EventsLost` stands exactly where events are missing. Main thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from clusterbus.cluster.events import Event

BACKLOG_EVENTS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The consumer was too slow: `count` events are missing here. `bus.nodes` and `bus.slots` are current."""

    count: int


class EventBacklog:
    """Events one consumer has not taken yet, oldest first; at most `events_max` of them and one marker."""

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        if events_max < 1:
            raise ValueError("events_max must be at least 1")
        self._events_max = events_max
        self._waiting: deque[Event | EventsLost] = deque()

    def put_nowait(self, event: Event) -> None:
        """Appends an event, or counts it as lost when the backlog is full."""
        if len(self._waiting) < self._events_max:
            self._waiting.append(event)
            return
        last = self._waiting[-1]
        if isinstance(last, EventsLost):
            self._waiting[-1] = EventsLost(last.count + 1)
        else:
            self._waiting.append(EventsLost(1))

    def take(self) -> Event | EventsLost:
        """The oldest event; IndexError when there is none."""
        return self._waiting.popleft()

    def take_all(self) -> list[Event | EventsLost]:
        """Everything that waits, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def __len__(self) -> int:
        return len(self._waiting)


class EventStream(AsyncIterator[Event | EventsLost]):
    """One asyncio consumer's view of the events, from the moment it was made; ends when the bus closes, and
    with an error when the bus broke down.
    """

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        self._backlog = EventBacklog(events_max)
        self._something = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def put_nowait(self, event: Event) -> None:
        """Hands an event over; never waits."""
        self._backlog.put_nowait(event)
        self._something.set()

    def close(self, error: Exception | None = None) -> None:
        """No more events; what waits is still handed out, then `error` raised if there is one. Idempotent."""
        if not self._closed:
            self._error = error
        self._closed = True
        self._something.set()

    async def __anext__(self) -> Event | EventsLost:
        while not len(self._backlog):
            if self._closed:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        return self._backlog.take()
