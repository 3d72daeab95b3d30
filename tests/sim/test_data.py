"""Simulated data: it follows the member, replicas copy it, and a role change that loses it is caught (R38)."""

from __future__ import annotations

import pytest
from clusterbus.errors import InvariantError
from clusterbus.sim import Simulation, checks
from clusterbus.sim.data import SimData


def formed(**arguments: object) -> Simulation:
    simulation = Simulation(1, 6, **arguments)  # type: ignore[arg-type]
    simulation.form(primaries=3, replicas=3)
    simulation.sync_disks()
    simulation.run_for(5_000)
    return simulation


@pytest.fixture
def six() -> Simulation:
    return formed(with_data=range(6))


def data_of(simulation: Simulation, node: int) -> SimData:
    data = simulation.members[node].data
    assert data is not None
    return data


def test_replicas_copy_history_keys_and_an_offset_that_moves(six: Simulation) -> None:
    moved = [node for node in (0, 1, 2) if data_of(six, node).offset]
    assert moved
    for node in (0, 1, 2):
        primary, replica = data_of(six, node), data_of(six, node + 3)
        assert primary.is_filled
        assert replica.is_filled
        assert replica.history == primary.history
        assert replica.primary_id == six.node_id(node)
    before = data_of(six, moved[0]).offset
    six.run_for(2_000)
    assert data_of(six, moved[0]).offset > before
    assert 0 < data_of(six, moved[0] + 3).offset <= data_of(six, moved[0]).offset
    assert six.state(moved[0]).repl_offset == data_of(six, moved[0]).offset


def test_a_replica_that_was_cut_off_grows_old_and_keeps_its_keys(six: Simulation) -> None:
    offset = data_of(six, 3).offset
    six.partition([0], [3])
    six.run_for(5_000)
    data = data_of(six, 3)
    assert data.is_filled
    assert data.offset <= offset + 1_000
    age_ms = data.data_age_ms()
    assert age_ms is not None
    assert 4_000 < age_ms < 6_000


def test_data_outlives_its_process_and_follows_a_failover(six: Simulation) -> None:
    six.crash(0)
    assert six.run_until(lambda: six.state(3).myself.is_primary, limit_ms=20_000)
    six.restart(0)
    assert data_of(six, 0).is_filled
    assert six.run_until(six.agrees, limit_ms=60_000)
    assert data_of(six, 0).primary_id == six.node_id(3)
    assert data_of(six, 0).owned == 0
    six.run_for(5_000)
    assert data_of(six, 0).history == data_of(six, 3).history


def test_a_replica_of_another_shard_has_no_offset_before_its_first_copy(six: Simulation) -> None:
    six.partition([3], [1])
    six.replicate(3, 1)
    assert data_of(six, 3).history is None
    assert six.members[3].is_empty
    assert data_of(six, 3).replication_offset() is None
    six.heal()
    six.run_for(10_000)
    assert data_of(six, 3).history == data_of(six, 1).history


def test_a_primary_whose_slots_are_gone_deletes_its_keys(six: Simulation) -> None:
    six.operate(1, lambda state, now_ms: state.del_slots(range(5_461, 10_922), now_ms))
    six.run_for(1_000)
    assert six.members[1].is_empty


def test_slots_with_data_at_an_empty_node_are_caught(six: Simulation) -> None:
    data_of(six, 3).is_filled = False
    six.crash(0)
    data_of(six, 0).is_filled = False
    with pytest.raises(InvariantError, match=checks.DATA_KEPT):
        six.run_for(20_000)


def test_slots_that_an_operator_has_claimed_are_nobodys_loss(six: Simulation) -> None:
    data_of(six, 3).is_filled = False
    six.claim_slots(0, 0, 16_383)
    six.crash(0)
    assert six.run_until(lambda: six.state(3).myself.is_primary, limit_ms=20_000)


def test_a_member_whose_data_plane_was_not_told_disagrees(six: Simulation) -> None:
    assert six.agrees()
    data_of(six, 0).owned ^= 1
    data_of(six, 4).primary_id = None
    lines = six.disagreements()
    assert f"n4's data follows None, its node {six.node_id(1)}" in lines
    assert any("n0's data has 5460 slots, its node 5461" in line for line in lines)
