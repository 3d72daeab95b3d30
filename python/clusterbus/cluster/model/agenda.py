"""`Agenda`: things by the time at which each must be looked at next, so that a tick finds them without seeing the rest.

Owns when a thing is due, and nothing of why: the rule that acts on it says when it is due again. Must never keep a
thing back that is due. Main thread.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")

GRAIN_MS: Final = 100
"""Things that are due within the same so many milliseconds are kept together: those of one tick."""


class Agenda(Generic[T]):
    """A wheel of due times. Every thing is in it at most once.

    Invariants: `_bucket_of[thing]` holds the thing with the time at which it is due, and is `_buckets[n]` for the n in
    which this time is. `_numbers` is a heap of the numbers of all buckets. A bucket stays until its time has come, even
    if it is empty, so there are at most as many as fit into the longest wait.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, int]] = {}
        self._bucket_of: dict[T, dict[T, int]] = {}
        self._numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._bucket_of)

    def put(self, thing: T, due_ms: int) -> None:
        """Makes a thing due then, and no longer when it was due before."""
        number = due_ms // GRAIN_MS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            heappush(self._numbers, number)
        before = self._bucket_of.get(thing)
        if before is not bucket:
            if before is not None:
                del before[thing]
            self._bucket_of[thing] = bucket
        bucket[thing] = due_ms

    def put_first(self, thing: T) -> None:
        """Makes a thing due now."""
        self.put(thing, 0)

    def put_all_first(self) -> None:
        """Makes all things due now: what decides when they are due has changed."""
        for thing in list(self._bucket_of):
            self.put(thing, 0)

    def remove(self, thing: T) -> None:
        """Forgets a thing, if it is there."""
        bucket = self._bucket_of.pop(thing, None)
        if bucket is not None:
            del bucket[thing]

    def due(self, now_ms: int) -> list[T]:
        """The things whose time has come. They stay due until they are put elsewhere or removed, so that none is lost
        if a rule fails.
        """
        found: list[T] = []
        kept: list[int] = []
        last = now_ms // GRAIN_MS
        while self._numbers and self._numbers[0] <= last:
            number = heappop(self._numbers)
            bucket = self._buckets[number]
            if bucket:
                kept.append(number)
                found += bucket if number < last else [thing for thing, due_ms in bucket.items() if due_ms <= now_ms]
            else:
                del self._buckets[number]
        for number in kept:
            heappush(self._numbers, number)
        return found

    def due_ms(self, thing: T) -> int | None:
        """When a thing is due; None for never."""
        bucket = self._bucket_of.get(thing)
        return None if bucket is None else bucket[thing]
