"""Virtual time: the heap of events, and the clock that a process reads.

Owns the order in which things happen: by time, then by the order in which they were scheduled. So a run depends on
nothing but its seed. Reads no real clock, draws nothing. One thread.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

US_PER_MS: Final = 1_000
WALL_START_MS: Final = 1_750_000_000_000
"""Unix milliseconds at virtual time zero, on a clock without skew."""
PARTS_PER_MILLION: Final = 1_000_000

Action = Callable[[Any], None]


class Timeline:
    """Events that wait for their virtual time. `now_us` is microseconds since the start of the simulation."""

    __slots__ = ("_heap", "_sequence", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: list[tuple[int, int, Action, Any]] = []
        self._sequence = 0

    @property
    def now_ms(self) -> float:
        return self.now_us / US_PER_MS

    def at(self, time_us: int, action: Action, subject: Any) -> None:
        """Schedules `action(subject)` for `time_us`. A time in the past counts as now."""
        self._sequence += 1
        heappush(self._heap, (max(time_us, self.now_us), self._sequence, action, subject))

    def after(self, delay_us: int, action: Action, subject: Any) -> None:
        """Schedules `action(subject)` for `delay_us` from now."""
        self._sequence += 1
        heappush(self._heap, (self.now_us + delay_us, self._sequence, action, subject))

    def run_to(self, until_us: int) -> None:
        """Runs everything that is due up to and including `until_us`, in order. Afterwards that is the time."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, action, subject = heappop(heap)
            action(subject)
        self.now_us = max(self.now_us, until_us)


class NodeClock:
    """The clock of one process: it reads a wall clock once at its start, and then counts seconds of its own length.

    `offset_ms` is how far its wall clock is ahead. `drift_ppm` is by how many millionths its seconds are too short; the
    clock runs fast if it is positive.
    """

    __slots__ = ("_base_ms", "_start_us", "_timeline", "rate_ppm")

    def __init__(self, timeline: Timeline, *, offset_ms: int, drift_ppm: int) -> None:
        self._timeline = timeline
        self._start_us = timeline.now_us
        self._base_ms = WALL_START_MS + offset_ms + timeline.now_us // US_PER_MS
        self.rate_ppm = PARTS_PER_MILLION + drift_ppm

    def now_ms(self) -> int:
        """Unix milliseconds on the timeline of this process. Never goes back."""
        elapsed_us = self._timeline.now_us - self._start_us
        return self._base_ms + elapsed_us * self.rate_ppm // (PARTS_PER_MILLION * US_PER_MS)

    def now_us(self) -> int:
        """The same in microseconds."""
        return self.now_ms() * US_PER_MS

    def monotonic_ns(self) -> int:
        """Nanoseconds of virtual time. They do not pass during a step."""
        return self._timeline.now_us * 1_000

    def ms_since(self, past_us: int) -> int:
        """Milliseconds that this clock has counted since a moment of the timeline."""
        return (self._timeline.now_us - past_us) * self.rate_ppm // (PARTS_PER_MILLION * US_PER_MS)

    def true_us(self, clock_ms: int) -> int:
        """Microseconds of the timeline that this clock takes to count `clock_ms`."""
        return clock_ms * PARTS_PER_MILLION * US_PER_MS // self.rate_ppm
