"""Many seeds at once: scenarios over all cores, and what they add up to.

Owns the worker processes and the sum of their outcomes. Shows nothing (the command does). Outcomes come in
any order; the sum does not depend on it. The caller's thread, one process per core beside it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from clusterbus.sim.scenario import Outcome, play

SEEDS_PER_ERRAND: Final = 4
"""A worker is handed so many seeds at a time."""
FAILURES_KEPT_MAX: Final = 100


def run_seeds(seeds: range, *, processes: int | None = None) -> Iterator[Outcome]:
    """The outcome of each seed, as they are done. `processes` defaults to the number of cores."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes or os.cpu_count() or 1, initializer=_prepare) as pool:
        yield from pool.imap_unordered(_play_cleanly, seeds, chunksize=SEEDS_PER_ERRAND)


def _prepare() -> None:
    """A scenario is short and its garbage is cyclic: collected between scenarios, not within."""
    gc.freeze()
    gc.disable()


def _play_cleanly(seed: int) -> Outcome:
    outcome = play(seed)
    gc.collect()
    return outcome


@dataclass(slots=True)
class Summary:
    """What many scenarios add up to."""

    played: int = 0
    lived_ms: float = 0.0
    nodes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    stats: Counter[str] = field(default_factory=Counter)
    formed_ms: list[float] = field(default_factory=list)
    agreed_ms: list[float] = field(default_factory=list)
    failed: int = 0
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Takes one outcome in; keeps at most FAILURES_KEPT_MAX of the failed ones, the lowest seeds."""
        self.played += 1
        self.lived_ms += outcome.lived_ms
        self.nodes[outcome.nodes] += 1
        self.faults.update(outcome.faults)
        self.stats.update(outcome.stats)
        if outcome.failure:
            self.failed += 1
            self.failures = sorted([*self.failures, outcome], key=lambda failure: failure.seed)
            del self.failures[FAILURES_KEPT_MAX:]
            return
        self.formed_ms.append(outcome.formed_ms)
        self.agreed_ms.append(outcome.agreed_ms)
