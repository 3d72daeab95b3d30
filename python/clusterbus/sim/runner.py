"""Many seeds at once: scenarios on all cores, and the sum of their outcomes.

Owns the worker processes and the sum. Shows nothing; the command does. The outcomes come in any order, and the sum does
not depend on it. Runs on the caller's thread, with one process per core beside it.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from typing import Final

from clusterbus.sim import scenario
from clusterbus.sim.scenario import Outcome

SEEDS_PER_CHUNK: Final = 4
"""The number of seeds that a worker process gets at a time."""
FAILURES_KEPT_MAX: Final = 100


def run_seeds(
    seeds: range, *, processes: int | None = None, play: Callable[[int], Outcome] = scenario.play
) -> Iterator[Outcome]:
    """The outcome of each seed, in the order in which they finish. `processes` defaults to the number of cores. `play`
    is a function of a module: that of scenarios with faults, or of those with a liar.

    Ctrl-C reaches only the caller: the workers end with the iterator, and say nothing.
    """
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        with _interrupts_blocked():
            pool = stack.enter_context(context.Pool(processes or os.cpu_count() or 1, initializer=_prepare))
        yield from pool.imap_unordered(partial(_play_cleanly, play), seeds, chunksize=SEEDS_PER_CHUNK)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A Ctrl-C comes to the caller afterwards, and never to a process that is started meanwhile.

    Such a process keeps the mask of this thread. Here the mask does not suffice: another thread may take the signal.
    """
    resource_tracker.ensure_running()  # it guards itself, and lifts the mask of whoever starts it
    is_main = threading.current_thread() is threading.main_thread()
    taken: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: taken.append(number)) if is_main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if taken:
            signal.raise_signal(signal.SIGINT)


def _prepare() -> None:
    """Stops garbage collection during scenarios: they are short, and their cyclic garbage is collected after each."""
    gc.freeze()
    gc.disable()


def _play_cleanly(play: Callable[[int], Outcome], seed: int) -> Outcome:
    outcome = play(seed)
    gc.collect()
    return outcome


@dataclass(slots=True)
class Summary:
    """The sum of many scenarios."""

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
        """Adds one outcome. Keeps at most FAILURES_KEPT_MAX of those that failed, the ones with the lowest seeds."""
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
