"""Whole scenarios in a simulated cluster: joining, failing, coming back, partitions, conflicts (S1-S4, S9)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.events import (
    LinkDown,
    LinkUp,
    NodeFailed,
    NodeJoined,
    NodeRecovered,
    NodeSuspected,
    SlotsChanged,
    StateChanged,
)

from tests.cluster.harness import Member, Network, all_connected, joined, pairs


def hold(members: list[Member], victim: Member, flag: int) -> bool:
    """Whether all members have this flag set for the victim."""
    return all(member.node(victim).flags & flag for member in members)


def hold_well(members: list[Member], other: Member) -> bool:
    return not any(member.node(other).flags & c.FAILING for member in members)


def all_ok(members: list[Member]) -> bool:
    return all(member.state.is_ok for member in members)


def tables(members: list[Member]) -> set[tuple[tuple[str, int, int], ...]]:
    """The slots and epochs of all nodes, as each member knows them. One element if all agree."""
    return {
        tuple(sorted((node.node_id, node.slot_bits, node.config_epoch) for node in member.state.nodes))
        for member in members
    }


@pytest.mark.parametrize("seed", range(5))
def test_s1_s2_six_nodes_find_each_other_from_one_meet_each(seed: int) -> None:
    network = Network(seed, 6)
    members = network.members
    for member, other in pairwise(members):
        network.meet(other, member)
    took_ms = network.run_until(lambda: all_connected(members), 10_000)
    assert took_ms <= 10_000
    for one, other in pairs(members):
        assert NodeJoined(other.id, other.ip, other.config.port, other.state.myself.cport) in one.events
        assert len(one.events_of(NodeJoined)) == 5
        assert LinkUp(other.id, inbound=False) in one.events
        assert LinkUp(other.id, inbound=True) in one.events


@pytest.mark.parametrize("seed", range(3))
def test_s4_config_epochs_end_up_different_and_agreed(seed: int) -> None:
    network, members = joined(seed, 6, owners=3)
    network.run_until(lambda: len(tables(members)) == 1 and all_ok(members), 30_000)
    epochs = [member.state.myself.config_epoch for member in members]
    assert len(set(epochs)) == 6
    assert {member.state.current_epoch for member in members} == {max(epochs)}


@pytest.mark.parametrize("victim_owns_slots", [True, False])
def test_s3_a_dead_node_is_pfail_then_fail_on_all_and_well_again_when_it_returns(
    victim_owns_slots: bool,
) -> None:
    network, members = joined(size=6, owners=3)
    network.run_until(lambda: all_ok(members))
    victim = members[2 if victim_owns_slots else 5]
    rest = [member for member in members if member is not victim]
    network.kill(victim)
    network.run_until(lambda: hold(rest, victim, c.FLAG_FAIL), 10_000)
    for member in rest:
        assert LinkDown(victim.id, inbound=False, reason="eof: the peer ended the connection") in member.events
        assert any(isinstance(event, NodeFailed) and event.node_id == victim.id for event in member.events)
    assert any(NodeSuspected(victim.id) in member.events for member in rest)
    assert all_ok(rest) is not victim_owns_slots
    network.restart(victim)
    network.run_until(lambda: hold_well(rest, victim) and all_connected(members), 20_000)
    for member in rest:
        assert NodeRecovered(victim.id, was_failed=True) in member.events
    network.run_until(lambda: all_ok(members), 20_000)


def test_s3_a_node_that_hangs_is_failed_and_comes_back_by_itself() -> None:
    """Its sockets stay open, as with DEBUG SLEEP."""
    network, members = joined(size=5, owners=3)
    victim, rest = members[4], members[:4]
    ticking = victim.state
    network.hang(victim)
    network.run_until(lambda: hold(rest, victim, c.FLAG_FAIL), 10_000)
    network.resume(victim)
    assert victim.state is ticking
    network.run_until(lambda: hold_well(rest, victim), 20_000)
    network.run_until(lambda: all_connected(members), 20_000)


def test_s3_a_minority_does_not_fail_the_majority_and_knows_it_is_one() -> None:
    network, members = joined(size=5, owners=5, cluster_require_full_coverage=False)
    network.run_until(lambda: all_ok(members))
    minority, majority = members[:2], members[2:]
    network.partition(minority, majority)
    network.run_until(lambda: all(hold(majority, member, c.FLAG_FAIL) for member in minority), 20_000)
    network.run(20_000)
    for member in minority:
        assert not any(member.node(other).is_failed for other in majority)
        assert all(member.node(other).is_pfail for other in majority)
        assert not member.state.is_ok
    assert all_ok(majority)
    network.heal()
    network.run_until(lambda: all_connected(members), 30_000)
    network.run_until(lambda: all_ok(members), 30_000)


@pytest.mark.parametrize("seed", range(3))
def test_s3_loss_of_messages_makes_no_node_fail_for_good(seed: int) -> None:
    network, members = joined(seed, 5, owners=3)
    network.simulation.degrade(loss=0.3)
    network.run(60_000)
    network.heal()
    network.run_until(lambda: all_connected(members) and all_ok(members), 30_000)


def test_s4_a_slot_claimed_twice_ends_with_the_greater_epoch_everywhere() -> None:
    """Two halves of a cluster took the same slot before they met."""
    network = Network(nodes=3)
    first, second, third = network.members
    network.simulation.set_config_epoch(0, 3)
    network.simulation.set_config_epoch(1, 8)
    network.add_slots(first, [100, 101])
    network.add_slots(second, [101, 102])
    members = [first, second, third]
    network.meet(third, first)
    network.meet(third, second)
    network.run_until(lambda: all_connected(members))
    network.run_until(lambda: len(tables(members)) == 1, 20_000)
    owner = third.state.owner_of(101)
    assert owner is not None
    assert owner.node_id == second.id
    assert first.state.myself.slot_bits == 1 << 100
    assert SlotsChanged(first.id, (), ((101, 101),)) in first.events


def test_s4_a_returning_owner_with_old_slots_gets_an_update() -> None:
    network, members = joined(size=4, owners=3)
    network.run_until(lambda: len(tables(members)) == 1 and all_ok(members))
    old, new = members[0], members[3]
    slots = old.state.myself.slot_bits
    owned = [slot for slot in range(c.SLOTS) if slots >> slot & 1]
    network.kill(old)
    network.run_until(lambda: hold(members[1:], old, c.FLAG_FAIL))
    for member in members[1:]:
        network.operate(member, lambda state, now_ms: state.del_slots(owned, now_ms))
    for member in (members[1], new):  # the second epoch is one that the old owner has never heard of
        network.simulation.bump_epoch(member.index)
        network.run(3_000)
    network.add_slots(new, owned)
    network.run(3_000)
    network.partition([new], [old])  # so that the others must inform it
    network.restart(old)
    assert old.state.myself.slot_bits == slots
    network.run_until(lambda: old.state.myself.slot_bits == 0, 10_000)
    network.heal()
    network.run_until(lambda: len(tables(members)) == 1 and all_ok(members), 20_000)
    updates = [
        message
        for member in members[1:]
        for name, message in member.sent
        if name == old.name and message.type == c.UPDATE
    ]
    assert updates


def test_s1_a_node_that_restarts_at_another_address_is_found_again() -> None:
    network, members = joined(size=4, owners=3)
    mover, rest = members[3], members[:3]
    network.kill(mover)
    network.run(500)
    network.restart(mover, ip="10.9.9.9")
    network.run_until(lambda: all(member.node(mover).ip == "10.9.9.9" for member in rest), 20_000)
    network.run_until(lambda: all_connected(members), 20_000)


def test_s1_announced_names_and_ports_reach_all_members_and_follow_changes() -> None:
    network = Network()
    first, second = network.members
    first.config.update(cluster_announce_hostname="one.example", cluster_announce_port=17)
    second.config.update(cluster_announce_human_nodename="two")
    network.meet(first, second)
    network.run_until(lambda: all_connected([first, second]))
    network.run_until(lambda: second.node(first).hostname == "one.example", 5_000)
    assert second.node(first).port == 17
    assert first.node(second).nodename == "two"
    first.config.update(cluster_announce_hostname="new.example")
    first.config.update(cluster_announce_port=18)
    network.run_until(lambda: second.node(first).hostname == "new.example", 5_000)
    network.run_until(lambda: second.node(first).port == 18, 5_000)


def test_s9_a_node_forgotten_by_all_may_be_met_anew() -> None:
    network, members = joined(size=4, owners=3)
    gone, rest = members[3], members[:3]
    network.forget(rest[0], gone)
    network.run_until(lambda: not any(member.knows(gone) for member in rest))
    network.kill(gone)
    network.run(c.FORGET_TTL_MS + 1_000)
    network.restart(gone)
    network.meet(rest[1], gone)
    network.run_until(lambda: all_connected(members), 20_000)


def test_h39_a_flapping_link_is_redialled_with_pauses() -> None:
    network, (first, second) = joined(size=2)
    dials_before = len(first.events_of(LinkUp))
    for _ in range(50):
        network.close_links(first, second)
        network.run(100)
    dials = len(first.events_of(LinkUp)) - dials_before
    assert dials <= 2 * 50
    network.run_until(lambda: all_connected([first, second]), 10_000)


def test_s4_the_state_is_reported_as_events() -> None:
    network, members = joined(size=3, owners=3)
    network.run_until(lambda: all_ok(members))
    assert all(member.events_of(StateChanged) == [StateChanged("ok")] for member in members)


@pytest.mark.parametrize("seed", range(3))
def test_r38_a_run_with_the_same_seed_is_the_same_run(seed: int) -> None:
    def story() -> list[str]:
        network, members = joined(seed, 5, owners=3)
        network.kill(members[4])
        network.run(6_000)
        return [member.state.nodes_text() for member in members[:4]]

    assert story() == story()
