"""Rules that no drawn fault finds bent, each in a story made for it: with the rule, and without (R38)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election, manual_failover, roles
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


# ---------------------------------------------------------------- two primaries in one shard


def deposed(seed: int) -> Simulation:
    """Host 4 has been elected in the place of host 0, which comes back after a power cut."""
    directives: dict[str, object] = {"cluster_allow_replica_migration": False}
    simulation = Simulation(seed, 5, node_timeout_ms=NODE_TIMEOUT_MS, directives=directives)
    simulation.form(primaries=4)
    simulation.sync_disks()
    simulation.replicate(4, 0)
    simulation.run_for(500)
    simulation.crash(0, power=True)
    assert simulation.run_until(lambda: simulation.state(4).myself.is_primary, limit_ms=30_000)
    simulation.restart(0)
    return simulation


def deposed_unaware() -> Simulation:
    """A primary loses its power before it has saved that it has a replica, which is elected. Then it comes back."""
    for seed in range(20):
        simulation = deposed(seed)
        replica = simulation.state(0).find(simulation.node_id(4))
        assert replica is not None
        if replica.is_primary:
            return simulation
    pytest.fail("every disk kept what it was not asked to sync")


def test_a_primary_that_does_not_know_its_successor_for_one_follows_it_all_the_same_p21(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation = deposed_unaware()
    assert simulation.run_until(lambda: simulation.state(0).myself.is_replica, limit_ms=30_000)
    assert simulation.run_until(simulation.agrees, limit_ms=30_000)
    monkeypatch.setattr(roles, "give_way", lambda core, other: None)
    monkeypatch.setattr(roles, "_heir", lambda core: None)
    bent = deposed_unaware()
    bent.run_for(30_000)
    assert bent.state(0).myself.is_primary
    assert bent.state(0).myself.shard_id == bent.state(4).myself.shard_id
