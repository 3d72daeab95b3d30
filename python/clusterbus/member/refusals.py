"""One log line for each peer and reason in an interval, however often it happens.

Owns the memory of what was logged lately. Must never grow with the number of peers that misbehave, and
must never let many peers together flood the log. Main thread.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

INTERVAL_MS: Final = 10_000
REMEMBERED_MAX: Final = 1_024
LINES_PER_INTERVAL_MAX: Final = 128


class RefusalLog:
    """Decides whether something is worth a line now, and says what was swallowed meanwhile."""

    def __init__(
        self,
        interval_ms: int = INTERVAL_MS,
        remembered_max: int = REMEMBERED_MAX,
        lines_per_interval_max: int = LINES_PER_INTERVAL_MAX,
    ) -> None:
        self._interval_ms = interval_ms
        self._remembered_max = remembered_max
        self._lines_per_interval_max = lines_per_interval_max
        # (peer, reason) -> [when its last line was, how many were swallowed since]; oldest line first
        self._remembered: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._interval_start_ms = 0
        self._lines_in_interval = 0

    def line(self, peer: str, reason: str, text: str, now_ms: int) -> str | None:
        """`peer: text`, or None when `peer` had a line for `reason` within the interval."""
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
        swallowed = remembered[1] if remembered is not None else 0
        self._remembered[key] = [now_ms, 0]
        self._remembered.move_to_end(key)
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)
        again = f" ({swallowed} more like it since the last line)" if swallowed else ""
        return f"{peer}: {text}{again}"

    def __len__(self) -> int:
        """How many (peer, reason) pairs are remembered."""
        return len(self._remembered)
