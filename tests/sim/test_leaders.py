"""Leader election by `take_slots`, as a program would run it, under partitions, crashes and loss.

In every world each member runs the program of `examples/leader.py`: it tries for the slot whenever the slot has no
owner, or one that it suspects or holds failed. The rules of `sim.checks` hold after every event, and here these: no two
members hold the slot at once, the fencing token of its holder only rises, and a minority elects nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from clusterbus.cluster.constants import FAILING
from clusterbus.cluster.events import Event, SlotOrderEnded, SlotsTaken
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import StateError
from clusterbus.sim import Simulation

SLOT = 7
NODE_TIMEOUT_MS = 2_000
TRY_MS = 300
DIRECTIVES = {"cluster_require_full_coverage": "no", "cluster_replica_no_failover": "if-empty"}
SEEDS = range(12)


class Leaders:
    """A cluster without any slots, whose members elect a leader. `held` are (time, node, token) of each new holder."""

    def __init__(self, seed: int, nodes: int = 5, **arguments: Any) -> None:
        self.simulation = Simulation(
            seed, nodes, node_timeout_ms=NODE_TIMEOUT_MS, directives=dict(DIRECTIVES), **arguments
        )
        self.draw = Random(f"{seed}/leaders")
        self.held: list[tuple[float, int, int]] = []
        self.taken: list[tuple[float, int, int]] = []
        self._busy: set[int] = set()
        self.simulation.on_event(self._look)
        self._meet()

    def _meet(self) -> None:
        simulation = self.simulation
        for node in simulation.nodes[1:]:
            simulation.meet(0, node)
        count = len(simulation.nodes)
        assert simulation.run_until(
            lambda: all(simulation.state(node).known_nodes_count == count for node in simulation.nodes)
        )
        simulation.run_for(3_000)  # until nobody waits for a handshake, and their epochs differ

    def _look(self, node: int, event: Event, now_ms: float) -> None:
        if isinstance(event, SlotOrderEnded):
            self._busy.discard(node)
        elif isinstance(event, SlotsTaken):
            self.taken.append((now_ms, node, event.epoch))
        self.look()

    def look(self) -> None:
        holder = self.holder()
        if holder is None:
            return
        token = self.simulation.state(holder).myself.config_epoch
        if not self.held or self.held[-1][1:] != (holder, token):
            if self.held:
                assert token > self.held[-1][2], f"the token went from {self.held[-1]} to {token} of n{holder}"
            self.held.append((self.simulation.now_ms, holder, token))

    def holder(self) -> int | None:
        holders = [node for node in self.simulation.nodes if self.simulation.holds(node, SLOT)]
        assert len(holders) < 2, f"{holders} hold the slot at once"
        return holders[0] if holders else None

    def run(self, nodes: Sequence[int] | None = None) -> None:
        """From now on these members run the program."""
        for node in self.simulation.nodes if nodes is None else nodes:
            self.simulation.after(self.draw.random() * TRY_MS, lambda node=node: self._try(node))  # type: ignore[misc]

    def _try(self, node: int) -> None:
        simulation = self.simulation
        simulation.after(TRY_MS * (0.5 + self.draw.random()), lambda: self._try(node))
        self.look()
        if not simulation.is_up(node):
            self._busy.discard(node)
            return
        with contextlib.suppress(StateError):  # a host that hangs does nothing
            simulation.operate(node, ClusterState.keep_leases)  # as the first `is_mine` of a process does
        state = simulation.state(node)
        owner = state.owner_of(SLOT)
        if node in self._busy or not (owner is None or owner.flags & FAILING):
            return
        with contextlib.suppress(StateError):
            self._busy.add(node)
            simulation.take_slots(node, SLOT, SLOT, timeout_ms=5_000)
            return
        self._busy.discard(node)

    def led(self, nodes: Sequence[int] | None = None) -> bool:
        """Whether one of these members holds the slot, and all of them see that."""
        self.look()
        holder = self.holder()
        chosen = [node for node in (self.simulation.nodes if nodes is None else nodes) if self.simulation.is_up(node)]
        if holder is None or holder not in chosen:
            return False
        owners = {self.simulation.state(node).owner_of(SLOT) for node in chosen}
        return {owner.node_id if owner else "" for owner in owners} == {self.simulation.node_id(holder)}


def _resume_later(simulation: Simulation, node: int, delay_ms: float) -> None:
    simulation.after(delay_ms, lambda: simulation.resume(node) if simulation.is_up(node) else None)


def suffering(seed: int, **arguments: Any) -> Leaders:
    """Faults of all kinds, one after another or at once, while everybody tries to lead. Then quiet."""
    leaders = Leaders(seed, **arguments)
    simulation, draw = leaders.simulation, leaders.draw
    leaders.run()
    nodes = list(simulation.nodes)
    for _ in range(6):
        kind = draw.randrange(6)
        if kind == 0:
            some = draw.sample(nodes, draw.randint(1, len(nodes) - 1))
            simulation.partition(some, [node for node in nodes if node not in some], one_way=draw.random() < 0.4)
        elif kind == 1:
            simulation.isolate(leaders.simulation.living()[0] if leaders.holder() is None else leaders.holder() or 0)
        elif kind == 2:
            simulation.degrade(loss=draw.uniform(0.05, 0.4), delay_ms=draw.uniform(0, 300))
        elif kind == 3 and len(simulation.living()) > 1:
            node = draw.choice(simulation.living())
            simulation.crash(node, power=draw.random() < 0.5)
        elif kind == 4:
            with contextlib.suppress(StateError):
                simulation.bump_epoch(draw.choice(simulation.living()))
        else:
            node = draw.choice(simulation.living())
            simulation.hang(node)
            _resume_later(simulation, node, draw.uniform(100, 6_000))
        simulation.run_for(draw.uniform(200, 3 * NODE_TIMEOUT_MS))
        if draw.random() < 0.6:
            simulation.heal()
        for node in nodes:
            if not simulation.is_up(node) and draw.random() < 0.6:
                simulation.restart(node)
    simulation.heal()
    for node in nodes:
        if simulation.is_up(node):
            simulation.resume(node)
        else:
            simulation.restart(node)
    assert simulation.run_until(leaders.led, limit_ms=60_000), "nobody leads after the last fault"
    return leaders


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_members_lead_at_once_and_tokens_rise_whatever_happens(seed: int) -> None:
    leaders = suffering(seed, skew_ms=300, drift_ppm=10_000)
    epochs = [epoch for _, _, epoch in leaders.taken]
    assert leaders.held
    assert len(epochs) == len(set(epochs)), "an epoch was won twice"


def test_seeds_bring_many_changes_of_the_leader() -> None:
    changes = sum(len(suffering(seed).held) for seed in range(100, 106))
    assert changes > 8
