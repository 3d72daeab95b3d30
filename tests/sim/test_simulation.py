"""`Simulation`: what a script may do to a cluster, and what follows (R38)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from clusterbus.cluster.events import Event, NodeFailed, NodeSuspected
from clusterbus.errors import ConfigError, StateError
from clusterbus.sim import Simulation

NODE_TIMEOUT_MS = 2_000


@pytest.fixture
def five() -> Simulation:
    simulation = Simulation(seed=5, nodes=5)
    simulation.form()
    return simulation


def failed_everywhere(simulation: Simulation, node: int) -> bool:
    views = [simulation.state(other).find(simulation.node_id(node)) for other in simulation.living()]
    return all(view is not None and view.is_failed for view in views)


# ---------------------------------------------------------------- forming


def test_nodes_that_meet_form_one_cluster_that_is_ok_r38_s1(five: Simulation) -> None:
    assert five.agrees()
    for node in five.nodes:
        state = five.state(node)
        assert state.is_ok
        assert state.known_nodes_count == 5
        assert state.assigned_slots == (1 << 16_384) - 1


def test_members_do_not_agree_before_they_meet() -> None:
    simulation = Simulation(nodes=3)
    assert not simulation.agrees()
    assert simulation.disagreements()[0] == "n0 knows 1 nodes of 3"


def test_every_message_goes_over_the_wire_r38(five: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterbus import wire
    from clusterbus.sim import engine

    lengths: list[int] = []

    def count(data: bytes) -> list[wire.Packet]:
        lengths.append(len(data))
        return wire.parse(data)

    monkeypatch.setattr(engine, "parse", count)
    five.run_for(1_000)
    assert lengths
    assert min(lengths) >= wire.HEADER_LEN_BYTES


def test_the_cluster_forms_through_loss_and_delay_r38() -> None:
    simulation = Simulation(seed=2, nodes=6)
    simulation.degrade(loss=0.1, delay_ms=50, jitter_ms=100)
    simulation.form()
    assert simulation.agrees()


def test_a_form_that_fails_says_where_the_members_differ() -> None:
    simulation = Simulation(nodes=3)
    simulation.isolate(2)
    with pytest.raises(StateError, match="n0 knows"):
        simulation.form(limit_ms=10_000)


# ---------------------------------------------------------------- one seed, one run


def trace_of(seed: int) -> list[str]:
    lines: list[str] = []
    simulation = Simulation(seed, 6, skew_ms=1_000, drift_ppm=500, trace=lines.append, trace_heartbeats=True)
    simulation.form()
    simulation.degrade(loss=0.2, jitter_ms=30)
    simulation.crash(1, power=True)
    simulation.run_for(5_000)
    simulation.restart(1)
    simulation.run_for(3_000)
    return lines


def test_one_seed_gives_one_trace_and_another_gives_another_r38() -> None:
    first = trace_of(1)
    assert first == trace_of(1)
    assert len(first) > 1_000
    assert first != trace_of(2)


@pytest.mark.processes
@pytest.mark.parametrize("hash_seed", ["1", "77"])
def test_a_trace_does_not_depend_on_the_order_of_hashes_r38(hash_seed: str) -> None:
    script = "from clusterbus.sim.scenario import replay; replay(11, print, heartbeats=True)"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("0", hash_seed)
    ]
    assert outputs[0].count(b"\n") > 1_000
    assert outputs[0] == outputs[1]


def test_writing_a_trace_does_not_change_the_run_r38() -> None:
    traced = Simulation(3, 5, trace=lambda line: None)
    plain = Simulation(3, 5)
    assert traced.form() == plain.form()
    traced.run_for(10_000)
    plain.run_for(10_000)
    assert traced.stats == plain.stats
    for node in plain.nodes:
        assert traced.state(node).nodes_conf_text() == plain.state(node).nodes_conf_text()


# ---------------------------------------------------------------- faults of hosts


@pytest.mark.parametrize("power", [False, True])
def test_a_crashed_node_is_failed_by_all_and_back_after_its_restart_s3(five: Simulation, power: bool) -> None:
    five.sync_disks()
    identity = five.node_id(2)
    events: list[tuple[int, Event]] = []
    five.on_event(lambda node, event, now_ms: events.append((node, event)))
    crashed_ms = five.now_ms
    five.crash(2, power=power)
    assert not five.is_up(2)
    assert five.run_until(lambda: failed_everywhere(five, 2), limit_ms=3 * NODE_TIMEOUT_MS)
    assert five.now_ms - crashed_ms > NODE_TIMEOUT_MS / 2
    assert {node for node, event in events if isinstance(event, NodeFailed)} == {0, 1, 3, 4}
    assert {event.node_id for _, event in events if isinstance(event, NodeSuspected)} == {identity}
    assert not five.state(0).is_ok
    five.restart(2)
    assert five.node_id(2) == identity
    assert five.run_until(five.agrees, limit_ms=30_000)
    assert five.state(2).is_ok


def test_a_node_back_at_another_address_is_found_there_s1(five: Simulation) -> None:
    five.crash(3)
    five.run_for(NODE_TIMEOUT_MS)
    five.restart(3, ip="10.9.9.9")
    assert five.run_until(five.agrees, limit_ms=60_000)
    seen = five.state(0).find(five.node_id(3))
    assert seen is not None
    assert seen.ip == "10.9.9.9"


def test_an_address_that_is_taken_is_refused(five: Simulation) -> None:
    five.crash(3)
    with pytest.raises(StateError, match="taken"):
        five.restart(3, ip=five.members[0].ip)


def test_a_power_cut_may_lose_what_was_not_synced_and_a_kill_does_not() -> None:
    def left(*, power: bool, seed: int) -> bool:
        """Whether what node 1 saved last is still there after its restart."""
        simulation = Simulation(seed, 3)
        simulation.form()
        simulation.sync_disks()
        simulation.operate(2, lambda state, now_ms: state.forget(simulation.node_id(0), now_ms))
        simulation.run_until(lambda: simulation.state(1).known_nodes_count == 2)
        simulation.crash(1, power=power)
        simulation.restart(1)
        return simulation.state(1).known_nodes_count == 2

    assert {left(power=False, seed=seed) for seed in range(6)} == {True}
    assert {left(power=True, seed=seed) for seed in range(6)} == {True, False}


def test_a_process_can_die_between_two_effects(five: Simulation) -> None:
    five.crash(1, after_effects=3)
    assert five.is_up(1)
    assert five.run_until(lambda: not five.is_up(1), limit_ms=5_000)
    assert five.stats["deaths between effects"] == 1
    five.restart(1)
    assert five.run_until(five.agrees, limit_ms=30_000)


def test_a_crash_that_was_called_off_does_not_come(five: Simulation) -> None:
    five.crash(1, after_effects=3)
    assert five.spare(1)
    five.run_for(10_000)
    assert five.is_up(1)


@pytest.mark.parametrize("reads", [False, True])
def test_a_node_that_hangs_looks_dead_and_comes_back_with_what_it_missed(five: Simulation, reads: bool) -> None:
    five.hang(4, reads=reads)
    assert five.run_until(
        lambda: all(five.state(node).find(five.node_id(4)).is_failed for node in (0, 1, 2, 3)),  # type: ignore[union-attr]
        limit_ms=4 * NODE_TIMEOUT_MS,
    )
    with pytest.raises(StateError, match="hangs"):
        five.bump_epoch(4)
    five.resume(4)
    assert five.run_until(five.agrees, limit_ms=30_000)


def test_a_durable_save_that_failed_is_tried_again_at_the_tick_and_durably_h47(five: Simulation) -> None:
    member = five.members[1]
    five.sync_disks()
    before = five.state(1).current_epoch
    five.fail_disk(1)
    five.bump_epoch(1)
    five.run_for(1_000)
    assert member.owes_durable_save
    assert five.stats["saves failed"] >= 10
    assert member.disk.durable.current_epoch == before
    five.fail_disk(1, failing=False)
    five.run_for(200)
    assert not member.owes_durable_save
    assert member.disk.durable.current_epoch == before + 1
    assert five.run_until(five.agrees, limit_ms=30_000)


def test_mistakes_of_a_script_raise(five: Simulation) -> None:
    five.crash(0)
    for wrong in (
        lambda: five.crash(0),
        lambda: five.state(0),
        lambda: five.bump_epoch(0),
        lambda: five.hang(0),
    ):
        with pytest.raises(StateError, match="node 0 is down"):
            wrong()
    with pytest.raises(StateError, match="node 1 is up"):
        five.restart(1)
    with pytest.raises(StateError, match="1 to"):
        Simulation(nodes=0)
    with pytest.raises(ConfigError):
        Simulation(nodes=1, directives={"no_such_directive": 1})


# ---------------------------------------------------------------- faults of the network


def test_a_minority_is_down_and_the_majority_is_not_s4() -> None:
    simulation = Simulation(seed=9, nodes=5, directives={"cluster_require_full_coverage": False})
    simulation.form()
    cut = simulation.partition([0, 1], [2, 3, 4])
    assert simulation.run_until(
        lambda: not simulation.state(0).is_ok and not simulation.state(1).is_ok, limit_ms=10_000
    )
    majority = [simulation.state(node) for node in (2, 3, 4)]
    views = [state.find(simulation.node_id(node)) for state in majority for node in (0, 1)]
    assert simulation.run_until(lambda: all(view is not None and view.is_failed for view in views), limit_ms=10_000)
    assert all(state.is_ok for state in majority)
    cut.heal()
    assert simulation.run_until(simulation.agrees, limit_ms=60_000)


def test_one_dead_path_makes_no_failure_s3(five: Simulation) -> None:
    five.partition([0], [1])
    five.run_for(10 * NODE_TIMEOUT_MS)
    assert five.stats["NodeFailed"] == 0
    assert five.stats["NodeSuspected"] >= 2
    five.heal()
    assert five.run_until(five.agrees, limit_ms=30_000)


def test_a_one_way_partition_heals_too(five: Simulation) -> None:
    five.partition([0], [1, 2, 3, 4], one_way=True)
    five.run_for(5 * NODE_TIMEOUT_MS)
    assert not five.agrees()
    five.heal()
    assert five.run_until(five.agrees, limit_ms=60_000)


def test_healing_one_fault_leaves_the_other(five: Simulation) -> None:
    first, _second = five.isolate(0), five.isolate(1)
    first.heal()
    first.heal()
    five.run_for(5 * NODE_TIMEOUT_MS)
    seen = five.state(2).find(five.node_id(1))
    assert seen is not None
    assert seen.is_failed
    five.heal()
    assert five.run_until(five.agrees, limit_ms=60_000)


def test_reset_links_are_dialled_again_h39(five: Simulation) -> None:
    assert five.break_links(0, 1) == 2
    assert not five.agrees()
    assert five.run_until(five.agrees, limit_ms=5_000)
    assert five.stats["NodeSuspected"] == 0


def test_skewed_and_drifting_clocks_make_no_failure_h29() -> None:
    simulation = Simulation(seed=4, nodes=6, skew_ms=3_600_000, drift_ppm=10_000)
    simulation.form()
    simulation.run_for(60_000)
    assert simulation.stats["NodeSuspected"] == 0
    assert simulation.agrees()


def test_slots_claimed_twice_go_to_the_greater_epoch_s4(five: Simulation) -> None:
    five.claim_slots(4, 0, 99)
    five.claim_slots(0, 16_000, 16_099)
    assert five.run_until(five.agrees, limit_ms=30_000)
    for slot in (0, 99, 16_000, 16_099):
        owner = five.state(2).owner_of(slot)
        assert owner is not None
        assert owner.node_id == five.node_id(4)


# ---------------------------------------------------------------- time


def test_run_until_takes_a_moment_or_a_condition_and_gives_up_at_its_limit() -> None:
    simulation = Simulation(nodes=2)
    assert simulation.run_until(1_234.5)
    assert simulation.now_ms == 1_234.5
    assert not simulation.run_until(lambda: False, limit_ms=333)
    assert simulation.now_ms == 1_567.5


# ---------------------------------------------------------------- quiet heartbeats


def test_members_that_compare_heartbeats_and_members_that_do_not_make_one_cluster_r33() -> None:
    simulation = Simulation(seed=6, nodes=6, without_views=(3, 4, 5))
    simulation.form()
    simulation.run_for(20_000)
    quiet = simulation.stats["quiet heartbeats"]
    received = [
        sum(simulation.state(node).counters[f"messages_{name}_received"] for name in ("ping", "pong"))
        for node in simulation.nodes
    ]
    assert quiet > 0.7 * sum(received[:3])
    simulation.crash(5, power=True)
    assert simulation.run_until(lambda: failed_everywhere(simulation, 5), limit_ms=4 * NODE_TIMEOUT_MS)
    simulation.restart(5)
    assert simulation.run_until(simulation.agrees, limit_ms=30_000)


def test_without_views_no_heartbeat_is_quiet_r33() -> None:
    simulation = Simulation(seed=5, nodes=5, without_views=range(5))
    simulation.form()
    simulation.run_for(5_000)
    assert simulation.stats["quiet heartbeats"] == 0


def test_a_calm_cluster_is_nearly_all_quiet_by_default_r33_r34(five: Simulation) -> None:
    five.run_for(5_000)
    before = five.stats["quiet heartbeats"]
    five.run_for(10_000)
    received = [
        five.state(node).counters[f"messages_{name}_received"] for node in five.nodes for name in ("ping", "pong")
    ]
    assert five.stats["quiet heartbeats"] - before > 0.5 * sum(received) * 10_000 / five.now_ms
