"""Work sharding by `take_slots`, as `examples/sharding.py` does it, under partitions and crashes.

Each member takes an equal share of the slots among the members that it holds for alive. After every event the rules of
`sim.checks` hold, above all that no slot is held by two. When the faults are over, each slot is held once, in equal
shares.
"""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from clusterbus.cluster.constants import ALL_SLOTS, FAILING, SLOTS
from clusterbus.cluster.events import Event, SlotOrderEnded
from clusterbus.cluster.model.slots import bits_of_ranges
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import StateError
from clusterbus.sim import Simulation

NODE_TIMEOUT_MS = 2_000
LOOK_MS = 300
SEEDS = range(6)


class Shards:
    """Members without slots that know each other and share all slots out."""

    def __init__(self, seed: int, nodes: int = 5) -> None:
        directives: dict[str, object] = {"cluster_replica_no_failover": "if-empty"}
        self.simulation = Simulation(seed, nodes, node_timeout_ms=NODE_TIMEOUT_MS, directives=directives)
        self.draw = Random(f"{seed}/shards")
        self._busy: set[int] = set()
        self.simulation.on_event(self._note)
        for node in self.simulation.nodes[1:]:
            self.simulation.meet(0, node)
        assert self.simulation.run_until(
            lambda: all(self.simulation.state(node).known_nodes_count == nodes for node in self.simulation.nodes)
        )
        for node in self.simulation.nodes:
            self._look(node)

    def _note(self, node: int, event: Event, _now_ms: float) -> None:
        if isinstance(event, SlotOrderEnded):
            self._busy.discard(node)

    def _look(self, node: int) -> None:
        simulation = self.simulation
        simulation.after(LOOK_MS * (0.5 + self.draw.random()), lambda: self._look(node))
        if not simulation.is_up(node):
            self._busy.discard(node)
        elif node not in self._busy:
            with contextlib.suppress(StateError):
                simulation.operate(node, self._rebalance)

    def _rebalance(self, state: ClusterState, now_ms: int) -> None:
        state.keep_leases(now_ms)
        alive = sorted(node.node_id for node in state.nodes if not node.in_handshake and not node.flags & FAILING)
        number = alive.index(state.myself.node_id)
        first, end = number * SLOTS // len(alive), (number + 1) * SLOTS // len(alive)
        missing = bits_of_ranges([(first, end - 1)]) & ~state.myself.slot_bits
        if missing:
            state.take_slots(missing, 3_000, now_ms)
            self._busy.add(next(n for n in self.simulation.living() if self.simulation.state(n) is state))

    def held(self, node: int) -> int:
        host = self.simulation.members[node]
        return host.held_slots(ALL_SLOTS) if host.is_up else 0

    def are_shared_out(self, *nodes: int) -> bool:
        """Whether these hold all slots together, in equal shares."""
        shares = [self.held(node) for node in nodes or self.simulation.nodes]
        sizes = [share.bit_count() for share in shares]
        return sum(sizes) == SLOTS and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_slots_are_shared_out_again_after_every_fault_and_never_held_twice(seed: int) -> None:
    shards = Shards(seed)
    simulation, draw = shards.simulation, shards.draw
    nodes = list(simulation.nodes)
    assert simulation.run_until(shards.are_shared_out, limit_ms=60_000)
    for _ in range(3):
        some = draw.sample(nodes, draw.randint(1, 4))
        others = [node for node in nodes if node not in some]
        if draw.random() < 0.6:
            simulation.partition(some, others, one_way=draw.random() < 0.3)
        else:
            simulation.crash(some[0], power=draw.random() < 0.5)
        simulation.run_for(draw.uniform(500, 4 * NODE_TIMEOUT_MS))
        simulation.heal()
        for node in nodes:
            if not simulation.is_up(node):
                simulation.restart(node)
        simulation.run_for(draw.uniform(500, 2 * NODE_TIMEOUT_MS))
    assert simulation.run_until(shards.are_shared_out, limit_ms=60_000)


def test_the_majority_takes_all_slots_and_the_minority_holds_none() -> None:
    shards = Shards(3)
    simulation = shards.simulation
    assert simulation.run_until(shards.are_shared_out, limit_ms=60_000)
    simulation.partition([0, 1], [2, 3, 4])
    simulation.run_for(NODE_TIMEOUT_MS)
    assert shards.held(0) == shards.held(1) == 0
    assert simulation.run_until(lambda: shards.are_shared_out(2, 3, 4), limit_ms=60_000)
    simulation.run_for(10_000)
    assert shards.held(0) == shards.held(1) == 0
    simulation.heal()
    assert simulation.run_until(shards.are_shared_out, limit_ms=60_000)
