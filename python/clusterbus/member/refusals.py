"""At most one log line for each peer and reason in an interval, however often it happens.

Owns the memory of recent lines. Must never grow with the number of peers that misbehave, or let many of them together
flood the log. Main thread.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

INTERVAL_MS: Final = 10_000
REMEMBERED_MAX: Final = 1_024
LINES_PER_INTERVAL_MAX: Final = 128


class RefusalLog:
    """Decides whether an incident is worth a line now. A line also names the number of those suppressed before it."""

    def __init__(
        self,
        interval_ms: int = INTERVAL_MS,
        remembered_max: int = REMEMBERED_MAX,
        lines_per_interval_max: int = LINES_PER_INTERVAL_MAX,
    ) -> None:
        self._interval_ms = interval_ms
        self._remembered_max = remembered_max
        self._lines_per_interval_max = lines_per_interval_max
        # (peer, reason) -> [time of its last line, number suppressed since]; the oldest line first
        self._remembered: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._interval_start_ms = 0
        self._lines_in_interval = 0

    def line(self, peer: str, reason: str, text: str, now_ms: int) -> str | None:
        """`peer: text`. None if `peer` had a line for `reason` within the interval, or if there were too many lines."""
        key = (peer, reason)
        remembered = self._remembered.get(key)
        if remembered is not None and now_ms - remembered[0] < self._interval_ms:
            remembered[1] += 1
            return None
        if now_ms - self._interval_start_ms >= self._interval_ms:
            self._interval_start_ms = now_ms
            self._lines_in_interval = 0
        if self._lines_in_interval >= self._lines_per_interval_max:
            if remembered is not None:
                remembered[1] += 1
            return None
        self._lines_in_interval += 1
        suppressed = remembered[1] if remembered is not None else 0
        self._remembered[key] = [now_ms, 0]
        self._remembered.move_to_end(key)
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)
        again = f" ({suppressed} more like it since the last line)" if suppressed else ""
        return f"{peer}: {text}{again}"

    def __len__(self) -> int:
        """The number of (peer, reason) pairs that are remembered."""
        return len(self._remembered)
