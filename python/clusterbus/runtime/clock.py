"""The one timeline of a node: unix milliseconds that never jump (H29).

Reads the wall clock once, at construction, and only the monotonic clock afterwards. Must never follow later changes of
the wall clock, because every timer of the protocol is measured on this timeline. Any thread may read it; the main loop
does.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix milliseconds: the wall time at construction plus the monotonic time since then."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        self._offset_ns = wall_ns() - monotonic_ns()

    def now_ms(self) -> int:
        """Unix milliseconds on this node's timeline; they never go back."""
        return (self._offset_ns + self.monotonic_ns()) // 1_000_000

    def now_us(self) -> int:
        """The same in microseconds, for INFO's server_time_usec."""
        return (self._offset_ns + self.monotonic_ns()) // 1_000


class TickSchedule:
    """When the next tick is due. Ticks lie on a fixed grid of the monotonic clock, so that they do not drift.

    A stall longer than one period causes one late tick, not a burst of the missed ones, and the grid does not shift.
    Times are seconds of the caller's monotonic clock (for example asyncio's `loop.time()`).
    """

    def __init__(self, period_s: float, now_s: float) -> None:
        self._period_s = period_s
        self._start_s = now_s
        self._ticks_due = 1

    @property
    def next_s(self) -> float:
        """When the next tick is due."""
        return self._start_s + self._ticks_due * self._period_s

    def take(self, now_s: float) -> bool:
        """True if a tick is due at `now_s`; the next one is then due at the first grid point after `now_s`."""
        if now_s < self.next_s:
            return False
        self._ticks_due = int((now_s - self._start_s) / self._period_s) + 1
        if self.next_s <= now_s:  # rounding put the grid point at `now_s` itself
            self._ticks_due += 1
        return True
