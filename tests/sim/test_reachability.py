"""Clusters in which nobody owns a slot: who is unreachable, when all members say so, and that they never say it for
nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster.events import Event, NodeFailed, NodeReachable, NodeUnreachable
from clusterbus.sim import Simulation

NODE_TIMEOUT_MS = 2_000
SAID_WITHIN_MS = 5 * NODE_TIMEOUT_MS // 2
"""A PING goes out after half a node timeout, is late after one more, and a heartbeat tells of it within another half.
A tick, and links that drop, cost the rest.
"""
UNSAID_WITHIN_MS = 5 * NODE_TIMEOUT_MS // 2
"""It is dialled again after half a node timeout at most, a report that nobody takes back counts for one, and that is
looked at once a second.
"""


class Slotless:
    """A simulated cluster without slots, and what its members have said of each other."""

    def __init__(self, seed: int, nodes: int, **world: Any) -> None:
        self.world = Simulation(seed=seed, nodes=nodes, node_timeout_ms=NODE_TIMEOUT_MS, **world)
        self.said: list[tuple[int, Event, float]] = []
        self.world.on_event(self._note)
        for other in range(1, nodes):
            self.world.meet(0, other)
        assert self.world.run_until(lambda: all(self.knows_all(node) for node in self.world.nodes), limit_ms=60_000)
        self.world.run_for(2 * NODE_TIMEOUT_MS)

    def _note(self, node: int, event: Event, now_ms: float) -> None:
        assert not isinstance(event, NodeFailed), "only primaries with slots can agree on that"
        if isinstance(event, NodeUnreachable | NodeReachable):
            self.said.append((node, event, now_ms))

    def knows_all(self, node: int) -> bool:
        state = self.world.state(node)
        return all(
            (known := state.find(self.world.node_id(other))) is not None and (other == node or known.link is not None)
            for other in self.world.nodes
        )

    def unreachable(self, node: int) -> set[int]:
        """The members that one holds unreachable."""
        state = self.world.state(node)
        views = {other: state.find(self.world.node_id(other)) for other in self.world.nodes}
        return {other for other, view in views.items() if view is not None and view.is_unreachable}

    def all_hold(self, nodes: list[int], expected: set[int]) -> bool:
        return all(self.unreachable(node) == expected for node in nodes)


@pytest.mark.parametrize("nodes", [3, 5, 12])
def test_all_members_say_that_one_which_died_is_unreachable_and_that_it_is_back(nodes: int) -> None:
    slotless = Slotless(nodes, nodes)
    world, others = slotless.world, list(range(1, nodes))
    for power in (False, True):
        slotless.said.clear()
        world.crash(0, power=power)
        assert world.run_until(lambda: slotless.all_hold(others, {0}), limit_ms=SAID_WITHIN_MS)
        world.run_for(20 * NODE_TIMEOUT_MS)
        dead = world.node_id(0)
        assert sorted(node for node, _, _ in slotless.said) == others, "each said so once"
        for _, event, _ in slotless.said:
            assert isinstance(event, NodeUnreachable)
            assert event.node_id == dead
            assert nodes // 2 < event.suspected_by + 1 <= event.of + 1 == nodes
        slotless.said.clear()
        world.restart(0)
        assert world.run_until(lambda: slotless.all_hold(list(world.nodes), set()), limit_ms=UNSAID_WITHIN_MS)
        assert sorted(node for node, _, _ in slotless.said) == others
        assert all(event == NodeReachable(dead) for _, event, _ in slotless.said)
        world.run_for(4 * NODE_TIMEOUT_MS)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_unreachable_while_all_is_well(seed: int) -> None:
    slotless = Slotless(seed, 4 + seed, skew_ms=800, drift_ppm=300)
    slotless.world.run_for(100 * NODE_TIMEOUT_MS)
    assert not slotless.said


def test_a_loss_of_packets_that_no_timeout_notices_makes_nobody_unreachable() -> None:
    slotless = Slotless(3, 7)
    slotless.world.degrade(loss=0.05, delay_ms=20, jitter_ms=40)
    slotless.world.run_for(60 * NODE_TIMEOUT_MS)
    assert not slotless.said


@pytest.mark.parametrize("seed", range(3))
def test_a_dead_member_stays_unreachable_though_packets_are_lost(seed: int) -> None:
    slotless = Slotless(seed, 6)
    world, others = slotless.world, list(range(1, 6))
    world.degrade(loss=0.1, delay_ms=20, jitter_ms=40)
    world.crash(0, power=True)
    assert world.run_until(lambda: slotless.all_hold(others, {0}), limit_ms=2 * SAID_WITHIN_MS)
    world.run_for(60 * NODE_TIMEOUT_MS)
    assert sorted(node for node, _, _ in slotless.said) == others, "each said so once, and took nothing back"


def test_each_side_of_a_partition_finds_the_other_unreachable_and_one_knows_that_it_is_the_smaller() -> None:
    slotless = Slotless(1, 5)
    world, few, many = slotless.world, [0, 1], [2, 3, 4]
    cut = world.partition(few, many)
    assert world.run_until(
        lambda: slotless.all_hold(few, set(many)) and slotless.all_hold(many, set(few)), limit_ms=SAID_WITHIN_MS
    )
    assert {world.state(node).census for node in few} == {(2, 5)}
    assert {world.state(node).census for node in many} == {(3, 5)}
    cut.heal()
    assert world.run_until(lambda: slotless.all_hold(list(world.nodes), set()), limit_ms=UNSAID_WITHIN_MS)


def test_a_broken_path_between_two_members_makes_neither_unreachable() -> None:
    slotless = Slotless(2, 4)
    world = slotless.world
    world.partition([0], [1])
    ids = [world.node_id(node) for node in (0, 1)]

    def suspects(node: int, other: int) -> bool:
        view = world.state(node).find(ids[other])
        return view is not None and view.is_pfail

    assert world.run_until(lambda: suspects(0, 1) and suspects(1, 0), limit_ms=SAID_WITHIN_MS)
    world.run_for(20 * NODE_TIMEOUT_MS)
    assert not slotless.said


def test_a_member_that_most_others_have_lost_is_unreachable_to_all_of_them_alike() -> None:
    """Member 4 still reaches 0, which hears of it from the other three."""
    slotless = Slotless(4, 5)
    world = slotless.world
    world.partition([4], [1, 2, 3])
    assert world.run_until(lambda: slotless.all_hold([0, 1, 2, 3], {4}), limit_ms=SAID_WITHIN_MS)
    view = world.state(0).find(world.node_id(4))
    assert view is not None
    assert not view.is_pfail
    world.run_for(20 * NODE_TIMEOUT_MS)
    assert slotless.unreachable(4) == set(), "of 4 and 0, which it reaches, one alone suspects the others"
    assert world.state(4).census == (2, 5)


def test_two_members_that_lose_each_other_both_say_so() -> None:
    slotless = Slotless(6, 2)
    cut = slotless.world.isolate(0)
    assert slotless.world.run_until(
        lambda: slotless.all_hold([0], {1}) and slotless.all_hold([1], {0}), limit_ms=SAID_WITHIN_MS
    )
    assert all(isinstance(event, NodeUnreachable) and event.of == 1 for _, event, _ in slotless.said)
    cut.heal()
    assert slotless.world.run_until(lambda: slotless.all_hold([0, 1], set()), limit_ms=UNSAID_WITHIN_MS)


def test_a_member_that_starts_alone_says_of_each_that_it_is_unreachable() -> None:
    slotless = Slotless(7, 3)
    world = slotless.world
    for node in world.nodes:
        world.crash(node)
    world.restart(0)
    assert world.run_until(lambda: slotless.all_hold([0], {1, 2}), limit_ms=SAID_WITHIN_MS)
    for node in (1, 2):
        world.restart(node)
    assert world.run_until(lambda: slotless.all_hold([0, 1, 2], set()), limit_ms=UNSAID_WITHIN_MS)
