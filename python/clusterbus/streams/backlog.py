"""The bounded queue between the main loop and one consumer.

Owns the queue and the asyncio iterator over it. Must never grow past its limits, and never lose an item silently: a
marker stands exactly where items are missing and carries their number. Main thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Marker = TypeVar("Marker")


class Backlog(Generic[Item, Marker]):
    """Items that one consumer has not taken yet, oldest first.

    At most `items_max` entries wait, of at most `bytes_max` bytes together, measured by `size_bytes`. A marker counts
    as an entry, but the marker at the end may be one more than `items_max`. `marker` makes one from the number of items
    lost.
    """

    def __init__(
        self,
        marker: Callable[[int], Marker],
        *,
        items_max: int,
        bytes_max: int = 0,
        size_bytes: Callable[[Item], int] = lambda _item: 0,
    ) -> None:
        if items_max < 1:
            raise ValueError("the limit must be at least 1")
        self._marker = marker
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._size_bytes = size_bytes
        self._waiting: deque[tuple[Item | Marker, int]] = deque()
        self._held_bytes = 0
        self._lost_last = 0  # the number in the last waiting entry if that is a marker, else 0

    def put_nowait(self, item: Item) -> None:
        """Appends an item, or counts it as lost if there is no room for it."""
        size_bytes = self._size_bytes(item)
        if len(self._waiting) < self._items_max and self._held_bytes + size_bytes <= self._bytes_max:
            self._append(item, size_bytes)
            return
        if self._lost_last:
            self._waiting.pop()
        self._lost_last += 1
        self._waiting.append((self._marker(self._lost_last), 0))

    def put_always_nowait(self, item: Item) -> None:
        """Appends an item that must not be lost, even past the limits. The caller must bound the number of these."""
        self._append(item, self._size_bytes(item))

    def take(self) -> Item | Marker:
        """Takes the oldest item or marker. Raises IndexError if there is none."""
        item, size_bytes = self._waiting.popleft()
        self._held_bytes -= size_bytes
        if not self._waiting:
            self._lost_last = 0
        return item

    def take_all(self) -> list[Item | Marker]:
        """Takes everything that waits, oldest first."""
        return [self.take() for _ in range(len(self._waiting))]

    def __len__(self) -> int:
        return len(self._waiting)

    def _append(self, item: Item, size_bytes: int) -> None:
        self._waiting.append((item, size_bytes))
        self._held_bytes += size_bytes
        self._lost_last = 0


class Stream(AsyncIterator[Item | Marker], Generic[Item, Marker]):
    """A backlog as an async iterator. It ends when it is closed, with an error if it is closed with one."""

    def __init__(self, backlog: Backlog[Item, Marker]) -> None:
        self._backlog = backlog
        self._something = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def put_nowait(self, item: Item) -> None:
        """Hands over an item; never waits."""
        self._backlog.put_nowait(item)
        self._something.set()

    def put_always_nowait(self, item: Item) -> None:
        """Hands over an item that must not be lost (`Backlog.put_always_nowait`)."""
        self._backlog.put_always_nowait(item)
        self._something.set()

    def close(self, error: Exception | None = None) -> None:
        """Takes no more items. Waiting items are still handed out, then `error` is raised if given. Idempotent."""
        if not self._closed:
            self._error = error
        self._closed = True
        self._something.set()

    async def __anext__(self) -> Item | Marker:
        while not len(self._backlog):
            if self._closed:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        return self._backlog.take()
