"""Requests of many clients leave the rest of the event loop its turn (rounds)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clusterbus.client_port.rounds import ROUND_MAX_S, Rounds


class Clock:
    """Time that passes only when something is served."""

    def __init__(self) -> None:
        self.now_s = 100.0


def served_by_round(costs_s: dict[str, float], *, again: str = "", leaves: str = "") -> list[list[str]]:
    """The names that were served between two looks of the event loop at everything else."""
    clock = Clock()
    rounds = Rounds(lambda: clock.now_s)
    history: list[list[str]] = []
    serves: dict[str, Callable[[], None]] = {}

    def make(name: str, cost_s: float) -> Callable[[], None]:
        def serve() -> None:
            history[-1].append(name)
            clock.now_s += cost_s
            if name == again and len(history) < 3:
                rounds.wait(serves[name])
            if leaves and name != leaves:
                rounds.leave(serves[leaves])

        return serve

    async def run() -> None:
        for name, cost_s in costs_s.items():
            serves[name] = make(name, cost_s)
            rounds.wait(serves[name])
        for _ in range(6):
            history.append([])
            await asyncio.sleep(0)

    asyncio.run(run())
    return [names for names in history if names]


def test_a_round_ends_when_its_time_is_over_and_the_next_goes_on_in_order() -> None:
    half_s = ROUND_MAX_S * 0.6
    assert served_by_round({"a": half_s, "b": half_s, "c": half_s}) == [["a", "b"], ["c"]]
    assert served_by_round({"a": 0.0, "b": 0.0, "c": 0.0}) == [["a", "b", "c"]]


def test_a_costly_request_is_one_round_and_keeps_nobody_out() -> None:
    assert served_by_round({"a": 9.0, "b": 9.0, "c": 0.0}) == [["a"], ["b"], ["c"]]


def test_who_has_more_to_do_comes_after_those_who_wait() -> None:
    half_s = ROUND_MAX_S * 0.6
    rounds = served_by_round({"a": half_s, "b": half_s, "c": half_s}, again="a")
    assert rounds[:2] == [["a", "b"], ["c", "a"]]


def test_who_is_gone_is_not_served() -> None:
    assert served_by_round({"a": 0.0, "b": 0.0, "c": 0.0}, leaves="b") == [["a", "c"]]


def test_time_is_over_until_a_round_begins() -> None:
    clock = Clock()
    rounds = Rounds(lambda: clock.now_s)
    assert not rounds.has_time()

    async def run() -> None:
        rounds.wait(lambda: None)
        await asyncio.sleep(0)
        assert rounds.has_time()
        clock.now_s += ROUND_MAX_S
        assert not rounds.has_time()

    asyncio.run(run())
