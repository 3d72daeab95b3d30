"""Members with older rules beside members with today's: they differ where they should, and nowhere else (R38)."""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster import receive
from clusterbus.sim import Simulation, older
from clusterbus.sim.scenario import Scenario

NODE_TIMEOUT_MS = 2_000


def second_failover_ms(older_nodes: range) -> float:
    """How long it takes from an order to a primary, if the same shard had a failover a moment ago."""
    with older.rules():
        simulation = Simulation(1, 6, node_timeout_ms=NODE_TIMEOUT_MS, with_data=range(6), older=older_nodes)
        simulation.form(primaries=3, replicas=3)
        simulation.run_for(5_000)
        for node in (3, 0, 3):
            begun_ms = simulation.now_ms
            while not simulation.state(node).myself.is_primary:
                simulation.failover(node)
                simulation.run_until(
                    lambda node=node: simulation.state(node).myself.is_primary,  # type: ignore[misc]
                    limit_ms=NODE_TIMEOUT_MS,
                )
                assert simulation.now_ms < begun_ms + 60_000
            simulation.run_for(500)
        return simulation.now_ms - begun_ms


def test_older_voters_keep_a_distance_between_votes_and_todays_do_not_p11() -> None:
    assert second_failover_ms(range(0)) < NODE_TIMEOUT_MS
    assert second_failover_ms(range(6)) > NODE_TIMEOUT_MS


def test_outside_its_context_nobody_follows_older_rules() -> None:
    before = [getattr(module, name) for module, name, _ in older.RULES]
    vote = receive._HANDLERS[c.AUTH_REQUEST]
    with older.rules():
        assert receive._HANDLERS[c.AUTH_REQUEST] is not vote
        assert all(
            getattr(module, name) is not rule for (module, name, _), rule in zip(older.RULES, before, strict=True)
        )
    assert [getattr(module, name) for module, name, _ in older.RULES] == before
    assert receive._HANDLERS[c.AUTH_REQUEST] is vote


def test_a_rule_asks_the_member_whose_it_is() -> None:
    simulation = Simulation(1, 2, older=(1,), with_data=(0, 1))
    assert [older.is_older(simulation.state(node)._core) for node in (0, 1)] == [False, True]
    assert [host.is_older for host in simulation.members] == [False, True]


def test_scenarios_mix_older_members_with_todays_r38() -> None:
    shares = {len(scenario.older) / scenario.outcome.nodes for scenario in map(Scenario, range(30))}
    assert min(shares) == 0
    assert 0.3 < max(shares) < 1
    seed = next(seed for seed in range(30) if Scenario(seed).older)
    assert Scenario(seed).play().failure == ""
