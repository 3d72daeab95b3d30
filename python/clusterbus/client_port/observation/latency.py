"""LATENCY: spikes, which are commands that took at least `latency-monitor-threshold` milliseconds.

Owns the samples: for each kind of event the worst of each second, SAMPLES_MAX seconds back. Main thread. Source:
`latency.c`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

SAMPLES_MAX: Final = 160


class LatencyEvent(Enum):
    """What was slow, by the word of LATENCY."""

    COMMAND = "command"
    FAST_COMMAND = "fast-command"


@dataclass(slots=True)
class Spikes:
    """The spikes of one event since the last reset. A sample is (unix second, worst milliseconds in it)."""

    samples: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    worst_ms: int = 0
    sum_ms: int = 0
    count: int = 0

    def add(self, time_ms: int, now_s: int) -> None:
        self.worst_ms = max(self.worst_ms, time_ms)
        self.sum_ms += time_ms
        self.count += 1
        if self.samples and self.samples[-1][0] == now_s:
            self.samples[-1] = (now_s, max(self.samples[-1][1], time_ms))
        else:
            self.samples.append((now_s, time_ms))

    def average_ms(self) -> int:
        """The average of the samples."""
        return sum(time_ms for _, time_ms in self.samples) // len(self.samples)

    def deviation_ms(self) -> int:
        """How far the samples are from their average, on average."""
        average_ms = self.average_ms()
        return sum(abs(time_ms - average_ms) for _, time_ms in self.samples) // len(self.samples)

    def period_s(self, now_s: int) -> float:
        """Seconds from one sample to the next, on average."""
        return max(now_s - self.samples[0][0], 1) / len(self.samples)


class LatencyMonitor:
    """Spikes by event."""

    def __init__(self) -> None:
        self.threshold_ms = 0
        """0 turns the monitor off."""
        self.spikes: dict[LatencyEvent, Spikes] = {}

    def add(self, event: LatencyEvent, time_ms: int, now_s: int) -> None:
        """Notes how long something took, if that reaches the threshold."""
        if self.threshold_ms and time_ms >= self.threshold_ms:
            self.spikes.setdefault(event, Spikes()).add(time_ms, now_s)

    def find(self, name: str) -> Spikes | None:
        """The spikes of an event by its name in any case."""
        return next((spikes for event, spikes in self.spikes.items() if event.value == name.lower()), None)

    def reset(self, names: list[str]) -> int:
        """Forgets events by name, or all without any name. Returns how many were forgotten."""
        wanted = {name.lower() for name in names}
        gone = [event for event in self.spikes if not names or event.value in wanted]
        for event in gone:
            del self.spikes[event]
        return len(gone)
