"""What `BlockingBus` hands out to its consumers: messages and events, taken one at a time or all that wait.

Owns the lock between the thread that drives the bus, which puts, and any thread that takes. Must never make the driving
thread wait for a consumer: one that is too slow loses items and finds their number. Any thread.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from clusterbus import arguments
from clusterbus.cluster.events import Event, Message
from clusterbus.errors import StateError
from clusterbus.runtime.blocking import BlockingNode
from clusterbus.streams.backlog import Backlog
from clusterbus.streams.event_stream import EventBacklog, EventsLost, Kinds
from clusterbus.streams.message_stream import Feed, MessagesLost, ShardChannelEnded, Wanted, message_backlog

Item = TypeVar("Item")
Marker = TypeVar("Marker")
Kind = TypeVar("Kind", bound=Event)


class Driven(Protocol):
    """The bus that a stream is of."""

    def _turn(self, *, any_thread: bool) -> AbstractContextManager[object]: ...
    def _open(self) -> BlockingNode: ...
    def _driver_here(self, *, waits: bool) -> BlockingNode | None:
        """The node, if the calling thread is the one that has to drive it. Raises StateError if it `waits` where nobody
        may."""


class BlockingStream(Generic[Item, Marker]):
    """Items for a consumer in any thread. Where the bus has no thread, its owner drives it while it waits here; other
    threads wait for what the owner brings."""

    def __init__(self, bus: Driven, backlog: Backlog[Item, Marker]) -> None:
        self._bus = bus
        self._backlog = backlog
        self._change = threading.Condition()
        self._end: Exception | None = None

    def put_nowait(self, item: Item) -> None:
        """Hands over an item; never waits for a consumer."""
        with self._change:
            self._backlog.put_nowait(item)
            self._change.notify()

    def put_always_nowait(self, item: Item) -> None:
        """Hands over an item that must not be lost (`Backlog.put_always_nowait`)."""
        with self._change:
            self._backlog.put_always_nowait(item)
            self._change.notify()

    def close(self, error: Exception | None = None) -> None:
        """Takes no more items. Waiting ones are still handed out, then `error` is raised. Idempotent."""
        with self._change:
            self._end = self._end or error or StateError("the bus is closed")
            self._change.notify_all()

    def get(self, timeout_s: float | None = None) -> Item | Marker:
        """Returns the oldest item that waits, or the next one that comes, as `queue.Queue.get` does.

        Raises `queue.Empty` after `timeout_s` seconds; None waits for ever, 0 not at all. Raises StateError when no
        item waits and none can come, as the bus is closed or the subscription has ended, and ClusterBusError if the
        node broke down.
        """
        end_s = _end_s(timeout_s)
        while True:
            self._wait(end_s)
            with self._change:
                if len(self._backlog):
                    return self._backlog.take()
                if self._end is not None:
                    raise self._end
            if time.monotonic() >= end_s:
                raise queue.Empty

    def wait(self, timeout_s: float | None = None) -> list[Item | Marker]:
        """Waits until there are items, at most `timeout_s` seconds; returns all that wait, oldest first. Raises as
        `get` does, but returns an empty list where that raises `queue.Empty`.
        """
        self._wait(_end_s(timeout_s))
        with self._change:
            if not len(self._backlog) and self._end is not None:
                raise self._end
            return self._backlog.take_all()

    def __iter__(self) -> Iterator[Item | Marker]:
        """Items until the bus closes or the subscription ends. Raises ClusterBusError if the node broke down."""
        while True:
            try:
                item = self.get()
            except StateError:
                if self._end is None:
                    raise
                return
            yield item

    def _wait(self, end_s: float) -> None:
        """Returns when there is an item, or none can come, or at `end_s`. Who has to drive the node takes a step even
        if an item waits: many may wait, and each may take the consumer long.
        """
        node = self._bus._driver_here(waits=not self._has_news())
        if node is not None:
            node.run(max(0.0, end_s - time.monotonic()) * 1000, self._has_news)
            return
        with self._change:
            wait_s = end_s - time.monotonic()
            self._change.wait_for(self._has_news, None if wait_s > threading.TIMEOUT_MAX else max(0.0, wait_s))

    def _has_news(self) -> bool:
        return len(self._backlog) > 0 or self._end is not None


class BlockingEvents(BlockingStream[Kind, EventsLost]):
    """Events of some kinds from the moment it was made by `BlockingBus.events`, until the bus closes."""

    def __init__(self, bus: Driven, backlog: int, kinds: Kinds) -> None:
        super().__init__(bus, EventBacklog(backlog))
        self.kinds = kinds


class BlockingMessages(BlockingStream[Message | ShardChannelEnded, MessagesLost]):
    """A subscription made by `BlockingBus.subscribe`; it lasts while its context is entered."""

    def __init__(self, bus: Driven, wanted: Wanted, max_queued: int, max_queued_bytes: int) -> None:
        super().__init__(bus, message_backlog(max_queued, max_queued_bytes))
        self._wanted = wanted
        self._feed: Feed | None = None

    def __enter__(self) -> Self:
        if self._feed is not None:
            raise StateError("a subscription is entered once; call subscribe() again")
        with self._bus._turn(any_thread=False):
            pubsub = self._bus._open().member.pubsub
            self._feed = Feed(pubsub, self._wanted, self.put_nowait, self.put_always_nowait)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._feed is not None:
            with contextlib.suppress(StateError), self._bus._turn(any_thread=True):  # it is raised in a fork
                self._feed.subscriptions.leave(self._feed)
            self.close(StateError("the subscription is closed"))

    def wait_messages(self, timeout_ms: float) -> list[Message | ShardChannelEnded | MessagesLost]:
        """Waits until there are messages, at most `timeout_ms`; returns all that wait, oldest first (`wait`)."""
        return self.wait(arguments.number("timeout_ms", timeout_ms) / 1000)

    def _wait(self, end_s: float) -> None:
        if self._feed is None:
            raise StateError("the subscription is not entered: with bus.subscribe(...) as messages")
        super()._wait(end_s)


def _end_s(timeout_s: float | None) -> float:
    return math.inf if timeout_s is None else time.monotonic() + arguments.number("timeout_s", timeout_s)
