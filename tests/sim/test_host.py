"""`Host`: the life of a simulated process, and that it ends anywhere (R38, R42)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.effects import Save
from clusterbus.cluster.events import EpochChanged, Event
from clusterbus.errors import StateError
from clusterbus.sim import Simulation
from clusterbus.sim.host import Host, PlannedCrash
from clusterbus.wire import Packet


@pytest.fixture
def simulation() -> Simulation:
    simulation = Simulation(seed=2, nodes=3)
    simulation.form()
    return simulation


def test_a_process_that_cannot_save_at_its_start_ends_as_a_real_node_does_h47(simulation: Simulation) -> None:
    host = simulation.members[1]
    simulation.crash(1)
    simulation.fail_disk(1)
    simulation.restart(1)
    assert not host.is_up
    assert simulation.stats["starts failed"] == 1
    simulation.fail_disk(1, failing=False)
    simulation.restart(1)
    assert host.is_up
    assert simulation.run_until(simulation.agrees)


def test_what_a_process_was_and_is_can_only_be_asked_while_it_runs(simulation: Simulation) -> None:
    host = simulation.members[0]
    node_id, state = host.node_id, host.state
    simulation.crash(0)
    assert host.node_id == node_id
    with pytest.raises(AssertionError, match="n0 is down"):
        _ = host.state
    simulation.restart(0)
    assert host.node_id == node_id, "read from nodes.conf"
    assert host.state is not state


@pytest.mark.parametrize("acts", range(8))
def test_a_process_dies_between_any_two_things_the_world_can_see_r42_h47(simulation: Simulation, acts: int) -> None:
    """A bump is an event here, a save, and packets that announce it, in this order: each is an act to die before. The
    first packets go to all peers before the operator has an answer, and are handed over together.
    """
    host = simulation.members[0]
    epoch = host.state.current_epoch
    announced: list[int] = []
    events: list[Event] = []

    def note(sender: int, _receivers: object, packet: Packet) -> None:
        if sender == 0 and packet.config_epoch > epoch:
            assert host.disk.durable.current_epoch >= packet.config_epoch
            announced.append(packet.config_epoch)

    simulation.on_message(note)
    simulation.on_event(lambda node, event, _now_ms: events.append(event) if node == 0 else None)
    host.planned_crash = PlannedCrash(acts, power=True)
    peers = len(simulation.members) - 1
    if acts < 2 + peers:
        with pytest.raises(StateError, match="died before it answered"):
            simulation.bump_epoch(0)
    else:
        assert simulation.bump_epoch(0)
        assert simulation.run_until(lambda: not host.is_up, limit_ms=5_000)
    assert [type(event) for event in events[:1]] == [EpochChanged] * (acts > 0)
    assert (host.disk.durable.current_epoch > epoch) == (acts > 1)
    assert len(announced) <= (max(acts - 2, peers) if acts > 1 else 0)


def test_a_hung_process_is_late_and_not_lost(simulation: Simulation) -> None:
    host = simulation.members[0]
    simulation.hang(0, reads=True)
    started_ms = host.clock.now_ms()
    applied = sum(host.state.counters.values())
    simulation.run_for(500)
    assert host.engine.has_events, "the workers go on"
    assert sum(host.state.counters.values()) == applied, "the main loop does not"
    assert host.clock.now_ms() >= started_ms + 400
    simulation.resume(0)
    assert sum(host.state.counters.values()) > applied
    assert not host.engine.has_events
    assert simulation.run_until(simulation.agrees)


def test_a_power_cut_tells_nobody_and_a_kill_does(simulation: Simulation) -> None:
    def links_with(host: Host, other: Host) -> int:
        node = host.state.find(other.node_id)
        assert node is not None
        return sum(link is not None for link in (node.link, node.inbound_link))

    one, other, watcher = simulation.members
    simulation.crash(0, power=True)
    simulation.crash(1)
    simulation.run_for(50)
    assert links_with(watcher, one) == 2
    assert links_with(watcher, other) == 0


def test_every_process_has_chances_of_its_own_and_a_seed_repeats_them_r38() -> None:
    def drawn(seed: int, boots: int) -> float:
        simulation = Simulation(seed=seed, nodes=2)
        for _ in range(boots):
            simulation.crash(0)
            simulation.restart(0)
        return simulation.members[0].state._core.random.random()

    assert drawn(1, 0) == drawn(1, 0)
    assert len({drawn(1, 0), drawn(1, 1), drawn(2, 0)}) == 3


def test_a_save_that_is_asked_for_reaches_the_disk_of_the_host_r42(simulation: Simulation) -> None:
    host = simulation.members[0]
    writes, syncs = host.disk.writes, host.disk.syncs
    host.state._core.emit(Save(durable=True))
    host.member.settle()
    assert (host.disk.writes, host.disk.syncs) == (writes + 1, syncs + 1)
    host.state._core.emit(Save(durable=False))
    host.member.settle()
    assert (host.disk.writes, host.disk.syncs) == (writes + 2, syncs + 1)
