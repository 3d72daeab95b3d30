"""Scenarios: some seeds from beginning to end, every kind of fault, and the sum of many (R38)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cli.simulate import replay_command
from clusterbus.cluster.membership import observing
from clusterbus.sim import checks
from clusterbus.sim.faults.table import FAULTS
from clusterbus.sim.runner import FAILURES_KEPT_MAX, Summary, run_seeds
from clusterbus.sim.scenario import NODES_MAX, NODES_MIN, Outcome, Scenario, play, replay

from tests.repeat import COMMAND_PROPERTY

pytestmark = pytest.mark.processes

SEEDS = range(110)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return sorted(run_seeds(SEEDS, processes=2), key=lambda outcome: outcome.seed)


def test_every_rule_holds_under_every_seed_r38(
    outcomes: list[Outcome], record_property: Callable[[str, object], None]
) -> None:
    assert [outcome.seed for outcome in outcomes] == list(SEEDS)
    failed = [(outcome.seed, outcome.failure) for outcome in outcomes if outcome.failure]
    for seed, _ in failed[:1]:
        record_property(COMMAND_PROPERTY, replay_command(seed))
    assert failed == []


def test_seeds_draw_clusters_of_5_to_12_nodes_and_every_fault_r38(outcomes: list[Outcome]) -> None:
    assert {outcome.nodes for outcome in outcomes} == set(range(NODES_MIN, NODES_MAX + 1))
    met = set().union(*(outcome.faults for outcome in outcomes))
    assert met == {*FAULTS, "death at an election"}


def test_scenarios_cause_failures_elections_and_role_changes_r38(outcomes: list[Outcome]) -> None:
    total = Summary()
    for outcome in outcomes:
        total.add(outcome)
    for name in ("NodeSuspected", "NodeFailed", "NodeRecovered", "AddressChanged", "deaths between effects"):
        assert total.stats[name] > 0, name
    for name in ("ElectionStarted", "ElectionWon", "ElectionLost", "votes", "RoleChanged", "WritesPaused"):
        assert total.stats[name] > 0, name


def test_a_seed_plays_the_same_in_another_process_and_with_a_trace_r38(outcomes: list[Outcome]) -> None:
    lines: list[str] = []
    assert play(3) == outcomes[3]
    assert replay(3, lines.append) == outcomes[3]
    assert any("CLUSTER MEET" in line for line in lines)


@pytest.mark.parametrize("name", FAULTS)
def test_a_cluster_recovers_from_each_fault_alone_r38(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterbus.sim.scenario.FAULTS", {name: FAULTS[name]})
    for seed in range(1, 20):  # not every cluster can suffer every fault
        scenario = Scenario(seed)
        scenario.killings_left = 0
        outcome = scenario.play()
        assert outcome.failure == ""
        if outcome.faults:
            assert set(outcome.faults) == {name}
            return
    pytest.fail(f"{name} never began")


def test_an_error_out_of_the_protocol_core_is_a_failure_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fall_over(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("clusterbus.cluster.failover.failure.suspect", fall_over)
    outcome = next(outcome for outcome in map(play, range(20)) if outcome.failure)
    assert "ZeroDivisionError: a bug" in outcome.failure
    assert "fall_over" in outcome.traceback


def test_a_sum_keeps_a_bounded_number_of_failures_the_lowest_seeds() -> None:
    total = Summary()
    for seed in reversed(range(FAILURES_KEPT_MAX + 5)):
        total.add(Outcome(seed, nodes=5, failure="broken"))
    assert total.failed == FAILURES_KEPT_MAX + 5
    assert [outcome.seed for outcome in total.failures] == list(range(FAILURES_KEPT_MAX))


@pytest.mark.parametrize("seed", [36, 48])
def test_every_rule_holds_with_an_observer_among_the_members(seed: int) -> None:
    played = Scenario(seed)
    assert played.observers, "this seed draws one"
    outcome = played.play()
    assert not outcome.failure, outcome.failure


def test_an_observer_that_takes_an_epoch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "is_on", lambda _core: False)
    assert checks.WATCHES in play(36).failure
