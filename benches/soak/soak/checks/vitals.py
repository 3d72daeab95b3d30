"""Memory, descriptors and threads of a process over its life: flat after the warm-up, or a finding.

The slope is Theil and Sen's, the median of the slopes between all pairs of samples: single peaks, such as a restart of
a peer or a slow client makes, do not move it, and what grows steadily does. Pure but for `read`.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE_LEN_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
WARM_UP_S: Final = 120.0
"""Caches, pools and the allocator's arenas have grown by then."""
JUDGED_LIFE_MIN_S: Final = 180.0
"""A slope over less, after the warm-up, says nothing."""
RSS_SLOPE_MAX_KIB_PER_MIN: Final = 64.0
RSS_SWING_MAX_MIB: Final = 8.0
"""The allocator keeps what single faults needed and gives it back minutes later, so RSS goes up and down by this much.
A slope counts only when it adds up to more over the time judged: the longer the soak, the smaller a leak it finds."""
DESCRIPTOR_SLOPE_MAX_PER_MIN: Final = 0.2
THREAD_SLOPE_MAX_PER_MIN: Final = 0.05
SLOPE_SAMPLES_MAX: Final = 400
"""More samples are thinned out: the number of pairs grows with the square."""


@dataclass(frozen=True)
class Sample:
    """One look at a process. `io_threads` is what it was told to have: its threads follow that number."""

    node: str
    pid: int
    at_s: float
    rss_bytes: int
    descriptors: int
    threads: int
    io_threads: int = 1


@dataclass(frozen=True)
class Slopes:
    """How a process changed per minute of its life after the warm-up."""

    node: str
    pid: int
    life_s: float
    judged_s: float
    rss_kib_per_min: float
    descriptors_per_min: float
    threads_per_min: float

    def findings(self) -> list[str]:
        swing_kib_per_min = RSS_SWING_MAX_MIB * 1024 * 60 / self.judged_s
        bounds = (
            ("RSS", self.rss_kib_per_min, max(RSS_SLOPE_MAX_KIB_PER_MIN, swing_kib_per_min), "KiB"),
            ("descriptors", self.descriptors_per_min, DESCRIPTOR_SLOPE_MAX_PER_MIN, ""),
            ("threads", self.threads_per_min, THREAD_SLOPE_MAX_PER_MIN, ""),
        )
        return [
            f"{self.node} (pid {self.pid}): {slope:.2f} {unit} more {name} a minute, the most is {most:.2f}"
            for name, slope, most, unit in bounds
            if slope > most
        ]


def read(node: str, pid: int, at_s: float, io_threads: int) -> Sample | None:
    """Looks at a process (Linux); None if it is gone."""
    place = Path(f"/proc/{pid}")
    try:
        pages = int((place / "statm").read_text().split()[1])
        return Sample(
            node,
            pid,
            at_s,
            pages * PAGE_LEN_BYTES,
            len(os.listdir(place / "fd")),
            len(os.listdir(place / "task")),
            io_threads,
        )
    except (OSError, IndexError):
        return None


def slope_per_min(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's slope of (seconds, value), per minute; 0 for fewer than two points."""
    step = max(1, len(points) // SLOPE_SAMPLES_MAX)
    thinned = points[::step]
    slopes = [
        (later[1] - sooner[1]) / (later[0] - sooner[0]) * 60
        for number, sooner in enumerate(thinned)
        for later in thinned[number + 1 :]
        if later[0] > sooner[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def slopes(
    samples: Sequence[Sample], warm_up_s: float = WARM_UP_S, life_min_s: float = JUDGED_LIFE_MIN_S
) -> list[Slopes]:
    """The slopes of each process that lived long enough."""
    lives: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.node, sample.pid].append(sample)
    found = []
    for (node, pid), life in lives.items():
        warm = [sample for sample in life if sample.at_s >= life[0].at_s + warm_up_s]
        if len(warm) < 2 or warm[-1].at_s - warm[0].at_s < life_min_s:
            continue
        found.append(
            Slopes(
                node,
                pid,
                life[-1].at_s - life[0].at_s,
                warm[-1].at_s - warm[0].at_s,
                slope_per_min([(sample.at_s, sample.rss_bytes / 1024) for sample in warm]),
                slope_per_min([(sample.at_s, sample.descriptors) for sample in warm]),
                slope_per_min([(sample.at_s, sample.threads - sample.io_threads) for sample in warm]),
            )
        )
    return found
