"""`Ticks`: when the nodes of one event loop tick, on a loop whose time the test moves."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from clusterbus.runtime import ticks as ticks_module
from clusterbus.runtime.ticks import PHASES, Ticks, ticks_of

PERIOD_S = 0.1


class Timer:
    def __init__(self, when_s: float, call: Callable[[], None]) -> None:
        self.when_s = when_s
        self.call = call
        self.is_cancelled = False

    def __lt__(self, other: Timer) -> bool:
        return self.when_s < other.when_s

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The timers of an event loop."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []
        self.wakes: list[float] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(when_s, call)
        heapq.heappush(self.timers, timer)
        return timer

    def run(self, for_s: float, late_s: float = 0.0) -> None:
        """Lets time pass; each timer fires `late_s` after it is due."""
        end_s = self.now_s + for_s
        while self.timers and self.timers[0].when_s + late_s <= end_s:
            timer = heapq.heappop(self.timers)
            if not timer.is_cancelled:
                self.now_s = max(self.now_s, timer.when_s + late_s)
                self.wakes.append(self.now_s)
                timer.call()
        self.now_s = end_s

    @property
    def pending(self) -> int:
        return sum(not timer.is_cancelled for timer in self.timers)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def ticks(loop: Loop) -> Ticks:
    return Ticks(cast(asyncio.AbstractEventLoop, loop), PERIOD_S)


def counted(ticks: Ticks, number: int) -> tuple[Counter[int], list[Callable[[], None]]]:
    """Nodes that count their ticks, and how to stop each."""
    seen: Counter[int] = Counter()

    def add(node: int) -> Callable[[], None]:
        return ticks.add(lambda: seen.update([node]))

    return seen, [add(node) for node in range(number)]


@pytest.mark.parametrize("nodes", [1, 3, 20, 100])
def test_every_node_ticks_ten_times_a_second_on_few_wakes(loop: Loop, ticks: Ticks, nodes: int) -> None:
    seen, _ = counted(ticks, nodes)
    loop.run(10.0)
    assert len(seen) == nodes
    assert set(seen.values()) <= {99, 100}
    assert len(loop.wakes) <= 100 * min(nodes, PHASES)


def test_no_wake_serves_more_than_its_share(loop: Loop, ticks: Ticks) -> None:
    at: Counter[float] = Counter()
    for _ in range(100):
        ticks.add(lambda: at.update([loop.now_s]))
    loop.run(1.0)
    assert max(at.values()) == 100 // PHASES
    gaps_s = [later - earlier for earlier, later in zip(loop.wakes, loop.wakes[1:], strict=False)]
    assert min(gaps_s) > PERIOD_S / PHASES / 2, "the phases lie apart"


def test_a_loop_that_was_away_gets_one_late_tick_of_each(loop: Loop, ticks: Ticks) -> None:
    seen, _ = counted(ticks, 20)
    loop.run(0.2)
    seen.clear()
    for timer in loop.timers:
        timer.when_s += 5.0  # the loop hangs
    loop.run(5.05)
    assert set(seen.values()) == {1}


def test_a_node_that_ends_in_the_tick_of_another_ticks_no_more(loop: Loop, ticks: Ticks) -> None:
    seen: list[str] = []
    stops: list[Callable[[], None]] = []

    def end_the_others() -> None:
        for stop in stops:
            stop()

    for _ in range(PHASES):
        ticks.add(end_the_others)
    for _ in range(PHASES):
        stops.append(ticks.add(lambda: seen.append("ticked")))
    loop.run(1.0)
    assert seen == []


def test_a_phase_without_nodes_has_no_timer_and_begins_again(loop: Loop, ticks: Ticks) -> None:
    seen, stops = counted(ticks, 20)
    for stop in [*stops, *stops]:
        stop()
    assert (ticks.is_empty, loop.pending) == (True, 0)
    loop.run(7.03)
    assert not seen
    seen, _ = counted(ticks, 1)
    loop.run(1.0)
    assert seen[0] in (9, 10), "no tick for the time without nodes"


def test_a_loop_is_kept_only_while_nodes_tick_on_it() -> None:
    loop: Any = Loop()
    ticks = ticks_of(loop, PERIOD_S)
    stop = ticks.add(lambda: None)
    assert ticks_of(loop, PERIOD_S) is ticks
    stop()
    assert loop not in ticks_module._TICKS
