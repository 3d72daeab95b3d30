"""Workers that answer while the main loop is away, as peers see it: for a lease, and no longer (R33)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.member.driver import LEASE_MAX_MS
from clusterbus.sim import Simulation
from clusterbus.wire import Packet

NODE_TIMEOUT_MS = 4_000
ON_THE_WAY_MS = 10
CALM_MS = 3_000
"""After this time, the heartbeats of a new cluster are quiet."""


@pytest.fixture
def calm() -> Simulation:
    simulation = Simulation(seed=5, nodes=5, node_timeout_ms=NODE_TIMEOUT_MS)
    simulation.form()
    simulation.run_for(CALM_MS + NODE_TIMEOUT_MS)
    return simulation


def answers(simulation: Simulation, node: int) -> list[float]:
    """The times, from now on, at which a member's PONGs arrive somewhere."""
    times: list[float] = []
    node_id = simulation.node_id(node)

    def note(_sender: int, _receiver: int, packet: Packet) -> bool:
        if packet.type == c.PONG and packet.sender == node_id:
            times.append(simulation.now_ms)
        return False

    simulation.drop_packets(note)
    return times


def test_a_main_loop_that_is_away_is_answered_for_until_its_lease_ends_r33(calm: Simulation) -> None:
    told = answers(calm, 1)
    ages_ms: list[float] = []
    for number in range(40):
        told.clear()
        away_ms = calm.now_ms
        calm.hang(1, reads=True)
        calm.run_for(NODE_TIMEOUT_MS / 4)
        ages_ms += [at_ms - away_ms for at_ms in told]
        calm.resume(1)
        calm.run_for(CALM_MS + 37 * number)  # at another moment between two PINGs each time
    assert LEASE_MAX_MS / 4 < max(ages_ms) <= LEASE_MAX_MS + ON_THE_WAY_MS


def test_a_hung_main_loop_looks_dead_no_later_than_a_lease_after_one_that_was_killed_r33(calm: Simulation) -> None:
    calm.hang(1, reads=True)
    limit_ms = 2 * NODE_TIMEOUT_MS + LEASE_MAX_MS
    hung = calm.state(0).find(calm.node_id(1))
    assert hung is not None
    assert calm.run_until(lambda: hung.is_failed, limit_ms=limit_ms)


def test_an_absence_within_the_lease_costs_nobody_an_answer_r33(calm: Simulation) -> None:
    calm.keep_away(1, LEASE_MAX_MS * 0.9)
    suspected = calm.stats["NodeSuspected"]
    calm.run_for(5 * NODE_TIMEOUT_MS)
    assert calm.stats["NodeSuspected"] == suspected
