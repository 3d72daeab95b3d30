"""The checks work: each test breaks one rule of the protocol, and the simulator says which rule broke (R38).

The broken rules are patched into the protocol core or into a subclass of its state, and each run is as short as it can
be. In `test_mutations`, scenarios find broken rules without a hint where to look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.effects import Save, Send
from clusterbus.cluster.failover import epochs, roles
from clusterbus.cluster.heartbeats.heartbeat import header
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.operator import orders, persist
from clusterbus.cluster.state import ClusterState
from clusterbus.sim import InvariantError, Simulation, checks
from clusterbus.wire import HeaderOnly, MessageType

Patch = pytest.MonkeyPatch


def formed(nodes: int = 4, seed: int = 7, **arguments: Any) -> Simulation:
    simulation = Simulation(seed, nodes, **arguments)
    simulation.form()
    simulation.sync_disks()
    return simulation


def cluster_of_bent(rule: Callable[[Core, int], None], nodes: int = 4) -> Simulation:
    """A formed cluster in which every member calls `rule(core, tick number)` before each tick."""

    class BentState(ClusterState):
        def tick(self, now_ms: int) -> None:
            rule(self._core, self._ticks)
            super().tick(now_ms)

    return formed(nodes, state_class=BentState)


# ---------------------------------------------------------------- votes


def ack_to_all(core: Core, *, saved_first: bool, receivers: int) -> None:
    """Votes for this many nodes in the present epoch."""
    core.last_vote_epoch = core.current_epoch
    if saved_first:
        core.save_now()
    for node in [node for node in core.table if node.link is not None][:receivers]:
        assert node.link is not None
        core.emit(Send(node.link.link_id, HeaderOnly(MessageType.FAILOVER_AUTH_ACK, header(core))))


def operator_votes(simulation: Simulation, *, saved_first: bool = True, receivers: int = 1) -> None:
    simulation.operate(0, lambda state, now_ms: ack_to_all(state._core, saved_first=saved_first, receivers=receivers))


def test_one_vote_saved_before_it_is_sent_is_right_s5() -> None:
    simulation = formed()
    operator_votes(simulation)
    simulation.run_for(5_000)
    assert simulation.stats["votes"] == 1


def test_two_votes_in_one_epoch_are_caught_s5() -> None:
    simulation = formed()
    with pytest.raises(InvariantError, match=checks.ONE_VOTE):
        operator_votes(simulation, receivers=2)


def test_a_second_vote_after_a_restart_is_caught_s5() -> None:
    simulation = formed()
    operator_votes(simulation)
    simulation.crash(0)
    simulation.restart(0)
    simulation.run_for(2_000)
    with pytest.raises(InvariantError, match=checks.ONE_VOTE):
        operator_votes(simulation)


def test_a_vote_sent_before_it_is_on_disk_is_caught_s5_h47() -> None:
    simulation = formed()
    with pytest.raises(InvariantError, match=checks.VOTE_DURABLE):
        operator_votes(simulation, saved_first=False)


def test_a_vote_the_disk_refuses_is_not_sent_h47() -> None:
    simulation = formed()
    simulation.fail_disk(0)
    operator_votes(simulation)
    simulation.run_for(1_000)
    assert simulation.stats["saves failed"] >= 1
    assert simulation.stats["votes"] == 0


# ---------------------------------------------------------------- epochs


def test_a_current_epoch_that_goes_down_is_caught_s4() -> None:
    def go_down(core: Core, tick: int) -> None:
        if tick == 50:
            core.current_epoch -= 1

    simulation = cluster_of_bent(go_down)
    with pytest.raises(InvariantError, match=checks.EPOCHS_RISE):
        simulation.run_for(10_000)


def test_an_own_config_epoch_that_goes_down_is_caught_s4() -> None:
    def go_down(core: Core, tick: int) -> None:
        if tick == 50:
            core.set_config_epoch(core.myself, core.myself.config_epoch - 1)

    simulation = cluster_of_bent(go_down)
    with pytest.raises(InvariantError, match=checks.EPOCHS_RISE):
        simulation.run_for(10_000)


def test_a_known_config_epoch_that_goes_down_is_caught_s4() -> None:
    def go_down(core: Core, tick: int) -> None:
        node = next(node for node in core.table if node is not core.myself) if tick == 50 else None
        if node is not None:
            core.set_config_epoch(node, node.config_epoch - 1)

    simulation = cluster_of_bent(go_down)
    with pytest.raises(InvariantError, match=checks.EPOCHS_RISE):
        simulation.run_for(10_000)


def test_epochs_lost_by_a_restart_are_caught_s10(monkeypatch: Patch) -> None:
    def restore_without_epochs(core: Core, conf: NodesConf) -> None:
        restore(core, conf)
        core.current_epoch = 0

    restore = persist.restore
    simulation = formed()
    monkeypatch.setattr(persist, "restore", restore_without_epochs)
    simulation.crash(1)
    with pytest.raises(InvariantError, match=f"{checks.EPOCHS_RISE}.*was durable"):
        simulation.restart(1)


def test_a_config_epoch_announced_and_then_lost_by_a_power_cut_is_caught_s4_h47(monkeypatch: Patch) -> None:
    """An epoch that is announced before it is on disk may be forgotten, and then be taken a second time."""

    def save_later(core: Core) -> None:
        core.want_save()

    def set_epoch_later(core: Core, node: Node, config_epoch: int) -> None:
        node.config_epoch = config_epoch
        core.want_save()

    monkeypatch.setattr(Core, "save_now", save_later)
    monkeypatch.setattr(Core, "set_config_epoch", set_epoch_later)
    with pytest.raises(InvariantError, match=f"{checks.EPOCHS_RISE}.*announced config epoch"):
        bump_and_lose_power()


def test_the_same_epoch_on_disk_first_survives_every_power_cut_s4_h47() -> None:
    bump_and_lose_power()


def bump_and_lose_power() -> None:
    """Several times, because half of the power cuts lose what was not synced."""
    for seed in range(12):
        simulation = Simulation(seed, 4)
        simulation.form()
        simulation.sync_disks()
        simulation.bump_epoch(1)
        simulation.run_for(1_000)
        simulation.crash(1, power=True)
        simulation.restart(1)
        assert simulation.run_until(simulation.agrees, limit_ms=30_000)


# ---------------------------------------------------------------- slots


def test_slots_lost_to_a_lower_epoch_are_caught_s4(monkeypatch: Patch) -> None:
    def take_whatever_is_claimed(core: Core, sender: Node, _config_epoch: int, claimed: int) -> None:
        apply_claims(core, sender, c.EPOCH_MAX, claimed)

    apply_claims = roles.apply_claims
    monkeypatch.setattr(roles, "apply_claims", take_whatever_is_claimed)
    simulation = formed(seed=0)  # with others the last node's own heartbeat may come first, and end the claim
    simulation.claim_slots(0, 16_000, 16_099)  # these are the last node's, which has a greater epoch
    with pytest.raises(InvariantError, match=checks.OWN_SLOTS):
        simulation.run_for(10_000)


def test_slots_lost_without_a_new_owner_are_caught_s4() -> None:
    def drop(core: Core, tick: int) -> None:
        if tick == 50:
            core.take_slots(0xFF)

    simulation = cluster_of_bent(drop)
    with pytest.raises(InvariantError, match=f"{checks.OWN_SLOTS}.*slots lost, but"):
        simulation.run_for(10_000)


def test_slots_gained_out_of_nothing_are_caught_s4() -> None:
    def grab(core: Core, tick: int) -> None:
        if tick == 50 and core.myself.slot_bits & 1 == 0:
            core.move_slots(core.myself, 1)

    simulation = cluster_of_bent(grab)
    with pytest.raises(InvariantError, match=checks.OWN_GAINS):
        simulation.run_for(10_000)


def test_one_slot_of_two_owners_at_one_epoch_is_caught_s4() -> None:
    simulation = Simulation(7, 2)
    for node in (0, 1):
        simulation.set_config_epoch(node, 5)
    simulation.add_slots(0, 0, 99)
    with pytest.raises(InvariantError, match=checks.ONE_OWNER):
        simulation.add_slots(1, 99, 200)


# ---------------------------------------------------------------- elections


def promote(core: Core, epoch: int) -> None:
    """A replica makes itself the primary of its primary's slots, as if it had won an election."""
    myself, primary = core.myself, core.myself.replicaof
    assert primary is not None
    slots = primary.slot_bits
    myself.follow(None)
    myself.flags = (myself.flags & ~c.FLAG_REPLICA) | c.FLAG_PRIMARY
    core.current_epoch = max(core.current_epoch, epoch)
    core.set_config_epoch(myself, epoch)
    core.move_slots(myself, slots)
    core.save_now()


class Usurper(ClusterState):
    """A replica that promotes itself at its fiftieth tick, without any vote."""

    def tick(self, now_ms: int) -> None:
        if self._ticks == 50 and self._core.myself.is_replica:
            promote(self._core, 100)
        super().tick(now_ms)


def cluster_with_replicas(replicas: int, state_class: type[ClusterState]) -> Simulation:
    """Three primaries, and replicas of the first one."""
    simulation = Simulation(7, 3 + replicas, state_class=state_class)
    simulation.form(primaries=3)
    for node in simulation.nodes[3:]:
        simulation.replicate(node, 0)
    return simulation


def test_a_winner_without_a_majority_is_caught_s5() -> None:
    simulation = cluster_with_replicas(1, Usurper)
    with pytest.raises(InvariantError, match=checks.MAJORITY):
        simulation.run_for(10_000)


def test_two_winners_of_one_epoch_are_caught_s5() -> None:
    simulation = cluster_with_replicas(2, Usurper)
    electorate = {simulation.node_id(node) for node in (0, 1, 2)}
    for node in (3, 4):  # as if all had voted for each
        simulation._world.checker._acks[simulation.node_id(node), 100] = electorate
    with pytest.raises(InvariantError, match=checks.ONE_WINNER):
        simulation.run_for(10_000)


def test_an_epoch_taken_over_may_be_one_that_was_won_until_the_two_meet_s6() -> None:
    """TAKEOVER needs no vote. Behind a partition it takes the same epoch as the election on the other side."""
    simulation = Simulation(7, 5)
    simulation.form(primaries=3, replicas=2)
    simulation.replicate(4, 0)
    assert simulation.run_until(simulation.agrees, limit_ms=10_000)
    cut = simulation.partition([0, 3], [1, 2, 4])
    assert simulation.run_until(lambda: simulation.state(4).myself.is_primary, limit_ms=20_000)
    simulation.failover(3, "TAKEOVER")
    epochs_of_the_shard = {simulation.state(node).myself.config_epoch for node in (3, 4)}
    assert len(epochs_of_the_shard) == 1
    cut.heal()
    assert simulation.run_until(simulation.agrees, limit_ms=60_000)


# ---------------------------------------------------------------- agreement


def test_an_unresolved_collision_is_no_agreement_h27(monkeypatch: Patch) -> None:
    monkeypatch.setattr(epochs, "resolve_collision", lambda core, sender: None)
    simulation = Simulation(7, 4)
    for node in simulation.nodes[1:]:
        simulation.meet(0, node)
    assert not simulation.run_until(simulation.agrees, limit_ms=30_000)
    assert any("share config epoch" in line for line in simulation.disagreements())


def test_a_failure_that_is_never_cleared_is_no_agreement_s3(monkeypatch: Patch) -> None:
    monkeypatch.setattr("clusterbus.cluster.failover.failure._clear_failed_if_due", lambda core, node: None)
    simulation = formed()
    simulation.crash(1)
    simulation.run_for(10_000)
    simulation.restart(1)
    assert not simulation.run_until(simulation.agrees, limit_ms=30_000)
    assert any("failing, which is up" in line for line in simulation.disagreements())


def test_a_node_forgotten_by_one_is_no_agreement_s9() -> None:
    simulation = formed()
    simulation.operate(0, lambda state, now_ms: state.forget(simulation.node_id(1), now_ms))
    assert simulation.disagreements(at_most=1) == ["n0 knows 3 nodes of 4"]


def test_a_node_that_is_down_but_not_flagged_fail_is_no_agreement() -> None:
    simulation = formed()
    simulation.crash(1, power=True)
    assert "does not flag n1 FAIL" in simulation.disagreements(at_most=1)[0]


def test_save_now_asks_for_a_durable_save() -> None:
    """The tests above replace `save_now`. This is what it does when it is not replaced."""
    simulation = formed()
    core = simulation.state(0)._core
    core.save_now()
    assert core.take_effects() == [Save(durable=True)]
    assert orders.bump_epoch(core) is True
