"""`Faults`: what becomes of an error in our own code or the user's, in the real world and in a simulation (R42)."""

from __future__ import annotations

from collections import Counter

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster import receive
from clusterbus.member.faults import Faults
from clusterbus.sim import Simulation
from clusterbus.sim.scenario import play

from tests.member.test_saving import Clock


class Lines:
    """A `Log` that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, BaseException | None]] = []

    def __call__(self, level: str, text: str, error: BaseException | None = None) -> None:
        self.lines.append((level, text, error))


def test_a_fault_is_counted_every_time_and_logged_once_in_an_interval() -> None:
    log = Lines()
    counters: Counter[str] = Counter()
    faults = Faults(Clock(), log, counters)
    error = ZeroDivisionError("a bug")
    for _ in range(3):
        faults.survive(error, "packet_errors", "10.0.0.1:7000", "a packet of type 0 could not be applied")
    faults.survive(error, "tick_errors", "tick", "the clock tick failed")
    assert counters == {"packet_errors": 3, "tick_errors": 1}
    assert [(level, text, raised is error) for level, text, raised in log.lines] == [
        ("warning", f"10.0.0.1:7000: a packet of type 0 could not be applied: {error!r}", True),
        ("warning", f"tick: the clock tick failed: {error!r}", True),
    ]


def test_in_strict_mode_a_fault_is_raised_where_it_was_met_r42() -> None:
    log = Lines()
    counters: Counter[str] = Counter()
    faults = Faults(Clock(), log, counters, strict=True)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        faults.survive(ZeroDivisionError("a bug"), "packet_errors", "a peer", "a packet could not be applied")
    assert (counters, log.lines) == ({}, [])


def divide_by_zero(*_arguments: object) -> None:
    raise ZeroDivisionError("a bug in a rule")


def test_what_a_node_would_survive_ends_a_simulation_r42(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(seed=1, nodes=3)
    simulation.form()
    monkeypatch.setitem(receive._HANDLERS, c.FAIL, divide_by_zero)
    simulation.crash(2)
    with pytest.raises(ZeroDivisionError, match="a bug in a rule"):
        simulation.run_for(20_000)


def test_a_seed_that_meets_a_fault_names_it_and_shows_where_r42(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(receive._HANDLERS, c.FAIL, divide_by_zero)
    outcome = play(0)
    assert "ZeroDivisionError: a bug in a rule" in outcome.failure
    assert "divide_by_zero" in outcome.traceback
