"""Times in buckets whose width grows with the time, as precise as two digits.

Owns the arithmetic of buckets. Its memory is bounded: there are BUCKETS_MAX buckets. Any thread. The widths are those
of the histograms that Valkey shows (HdrHistogram with two digits), so that figures of both can be compared.
"""

from __future__ import annotations

from typing import Final

HALF_BITS: Final = 7
HALF: Final = 1 << HALF_BITS
"""Half the number of buckets of equal width in one doubling of the time."""
TIME_MAX_NS: Final = 1_000_000_000
"""Longer times are counted as this one."""
BUCKETS_MAX: Final = (TIME_MAX_NS.bit_length() - HALF_BITS + 1) * HALF
FIRST_STEP_NS: Final = 1_024
"""LATENCY HISTOGRAM shows powers of two from this time on."""


class Histogram:
    """Counts times. A bucket is named by its highest time."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0

    def add(self, time_ns: int) -> None:
        """Counts one time in nanoseconds."""
        time_ns = min(max(time_ns, 1), TIME_MAX_NS)
        shift = max(time_ns.bit_length() - HALF_BITS - 1, 0)
        end_ns = (time_ns >> shift) + 1 << shift
        self._counts[end_ns] = self._counts.get(end_ns, 0) + 1
        self.count += 1

    def clear(self) -> None:
        """Forgets all times."""
        self._counts.clear()
        self.count = 0

    def bucket_count(self) -> int:
        """How many buckets are in use."""
        return len(self._counts)

    def percentile_us(self, percent: float) -> float:
        """The time in microseconds that `percent` of all counted times do not exceed; 0 if none was counted."""
        wanted = max(int(percent / 100 * self.count + 0.5), 1)
        seen = 0
        for end_ns in sorted(self._counts):
            seen += self._counts[end_ns]
            if seen >= wanted:
                return (end_ns - 1) / 1_000
        return 0.0

    def cumulative_us(self) -> dict[int, int]:
        """Microseconds -> how many times did not exceed them. Powers of two; only those at which the number grows."""
        shown: dict[int, int] = {}
        ends_ns = sorted(self._counts)
        step_ns, seen, position = FIRST_STEP_NS, 0, 0
        while position < len(ends_ns):
            last_ns = step_ns + step_ns // HALF - 1
            before = seen
            while position < len(ends_ns) and ends_ns[position] - 1 <= last_ns:
                seen += self._counts[ends_ns[position]]
                position += 1
            if seen > before:
                shown[last_ns // 1_000] = seen
            step_ns *= 2
        return shown
