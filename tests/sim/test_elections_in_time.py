"""How long it takes until shards are served again, where a rule about elections is there to save time (R38)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election, manual_failover
from clusterbus.cluster.model.node import Node
from clusterbus.sim import Simulation

NODE_TIMEOUT_MS = 2_000
SEEDS = range(8)
REPLICAS = (5, 6)


def rivalry(seed: int) -> Simulation:
    """Five shards, two with a replica. Both their primaries die while messages are slow."""
    simulation = Simulation(seed, 7, node_timeout_ms=NODE_TIMEOUT_MS)
    simulation.form(primaries=5, replicas=2)
    simulation.run_for(3_000)
    simulation.degrade(delay_ms=300)
    simulation.crash(0)
    simulation.crash(1)
    return simulation


def winners(simulation: Simulation) -> list[int]:
    return [node for node in REPLICAS if simulation.state(node).myself.is_primary]


def second_win_ms(seed: int) -> float:
    """How long after the first win of two rivals the second one comes."""
    simulation = rivalry(seed)
    assert simulation.run_until(lambda: len(winners(simulation)) == 1, limit_ms=60_000)
    first_ms = simulation.now_ms
    simulation.heal()
    assert simulation.run_until(lambda: len(winners(simulation)) == 2, limit_ms=60_000)
    return simulation.now_ms - first_ms


def forced_win_ms(seed: int) -> float:
    """How long after an order the loser of two rivals is a primary, if it waits for votes that do not come."""
    simulation = rivalry(seed)
    assert simulation.run_until(lambda: len(winners(simulation)) == 1, limit_ms=60_000)
    (loser,) = set(REPLICAS) - set(winners(simulation))
    simulation.heal()
    ordered_ms = simulation.now_ms
    simulation.failover(loser, "FORCE")
    assert simulation.run_until(lambda: len(winners(simulation)) == 2, limit_ms=60_000)
    return simulation.now_ms - ordered_ms


def ignore_claims(_core: Core, _claimer: Node) -> None:
    """An election goes on though somebody else has won its epoch."""


def wait_for_the_open_election(core: Core) -> None:
    """A manual failover does not end the election that is open."""
    core.manual.can_start = True
    election.step(core)


def test_the_loser_of_two_rivals_tries_again_at_once_p12(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(second_win_ms, SEEDS)) < NODE_TIMEOUT_MS
    monkeypatch.setattr(election, "note_claim", ignore_claims)
    assert max(map(second_win_ms, SEEDS)) > 3 * NODE_TIMEOUT_MS


def test_an_order_does_not_wait_for_an_election_that_is_open_p12(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "note_claim", ignore_claims)
    assert max(map(forced_win_ms, SEEDS)) < NODE_TIMEOUT_MS
    monkeypatch.setattr(manual_failover, "_begin_election", wait_for_the_open_election)
    assert max(map(forced_win_ms, SEEDS)) > NODE_TIMEOUT_MS
