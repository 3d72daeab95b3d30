"""Leader election by `take_slots`, as a program would run it, under partitions, crashes and loss.

In every world each member runs the program of `examples/leader.py`: it tries for the slot whenever the slot has no
owner, or one that it suspects or holds failed. The rules of `sim.checks` hold after every event, and here these: no two
members hold the slot at once, the fencing token of its holder only rises, and a minority elects nobody.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from clusterbus.cluster.claims import electorate, promises, voting
from clusterbus.cluster.claims.letters import Denial, Letter
from clusterbus.cluster.constants import FAILING
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import Event, SlotOrderEnded, SlotsTaken
from clusterbus.cluster.model.claim_state import Promise
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import InvariantError, StateError
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
    for _ in range(8):
        kind = draw.randrange(8)
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
        elif kind == 5:
            for node in draw.sample(nodes, 2):
                for other in nodes:
                    simulation.break_links(node, other)
        elif kind == 6:
            simulation.lag_links(nodes, draw.uniform(0, NODE_TIMEOUT_MS / 3), draw)
        else:
            node = draw.choice(simulation.living())
            simulation.hang(node)
            _resume_later(simulation, node, draw.uniform(100, 6_000))
        simulation.run_for(draw.uniform(200, 3 * NODE_TIMEOUT_MS))
        if draw.random() < 0.6:
            simulation.heal()
            simulation.lag_links(nodes, 0, draw)
        for node in nodes:
            if not simulation.is_up(node) and draw.random() < 0.6:
                simulation.restart(node)
    simulation.heal()
    simulation.lag_links(nodes, 0, draw)
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


# ---------------------------------------------------------------- single stories


@pytest.fixture
def led() -> Leaders:
    """Five members, one of which leads."""
    leaders = Leaders(7)
    leaders.run()
    assert leaders.simulation.run_until(leaders.led, limit_ms=30_000)
    return leaders


def test_a_leader_in_a_minority_stops_within_the_node_timeout_before_the_majority_elects_another(led: Leaders) -> None:
    simulation = led.simulation
    before = led.holder()
    assert before is not None
    friend = (before + 1) % 5
    majority = [node for node in simulation.nodes if node not in (before, friend)]
    cut_ms = simulation.now_ms
    cut = simulation.partition([before, friend], majority)
    assert simulation.run_until(lambda: not simulation.holds(before, SLOT), limit_ms=NODE_TIMEOUT_MS)
    assert led.holder() is None
    assert simulation.run_until(lambda: led.led(majority), limit_ms=30_000)
    assert simulation.now_ms - cut_ms < 3 * NODE_TIMEOUT_MS
    assert led.held[-1][2] > led.held[-2][2]

    simulation.run_for(20_000)  # as long as they like: the two elect nobody
    for node in (before, friend):
        assert not simulation.holds(node, SLOT)
        with pytest.raises(StateError, match="reaches 2 of 5 members, and 3 must agree"):
            simulation.take_slots(node, SLOT, SLOT)
    assert {node for _, node, _ in led.taken[1:]} <= set(majority)
    cut.heal()
    assert simulation.run_until(led.led, limit_ms=30_000)
    assert led.holder() in majority


def test_nobody_leads_when_no_side_has_a_majority(led: Leaders) -> None:
    simulation = led.simulation
    simulation.partition([0, 1], [2, 3, 4])
    simulation.partition([2, 3], [4])
    taken = len(led.taken)
    simulation.run_for(NODE_TIMEOUT_MS)
    for _ in range(100):
        simulation.run_for(200)
        assert led.holder() is None
    assert len(led.taken) == taken
    simulation.heal()
    assert simulation.run_until(led.led, limit_ms=30_000)


def test_a_broken_path_to_one_member_deposes_nobody(led: Leaders) -> None:
    simulation = led.simulation
    holder = led.holder()
    assert holder is not None
    other = (holder + 1) % 5
    simulation.partition([holder], [other])
    assert simulation.run_until(
        lambda: bool((owner := simulation.state(other).owner_of(SLOT)) and owner.flags & FAILING), limit_ms=30_000
    )
    for _ in range(100):
        simulation.run_for(100)
        assert led.holder() == holder
    assert len(led.held) == 1


def test_slots_that_are_given_are_held_by_the_heir_with_a_greater_token(led: Leaders) -> None:
    simulation = led.simulation
    ended: list[SlotOrderEnded] = []
    simulation.on_event(lambda _node, event, _ms: ended.append(event) if isinstance(event, SlotOrderEnded) else None)
    holder = led.holder()
    assert holder is not None
    heir = (holder + 2) % 5
    token = led.held[-1][2]
    number = simulation.give_slots(holder, SLOT, SLOT, heir)
    assert simulation.run_until(lambda: bool(ended), limit_ms=5_000)
    assert ended == [SlotOrderEnded(number, "", is_late=False)]
    assert simulation.run_until(led.led, limit_ms=5_000)
    assert (led.holder(), led.held[-1][2] > token) == (heir, True)

    simulation.isolate(holder)
    ended.clear()
    number = simulation.give_slots(heir, SLOT, SLOT, holder, timeout_ms=1_000)
    assert simulation.run_until(lambda: bool(ended), limit_ms=5_000)
    assert ended == [
        SlotOrderEnded(number, f"node {simulation.node_id(holder)} has not taken the slots in time", is_late=True)
    ]
    assert led.holder() == heir


def test_with_votes_min_a_member_that_knows_no_other_elects_nobody() -> None:
    simulation = Simulation(3, 3, node_timeout_ms=NODE_TIMEOUT_MS, directives=dict(DIRECTIVES))
    simulation.run_for(1_000)
    with pytest.raises(StateError, match="reaches 1 of 1 members, and 2 must agree"):
        simulation.take_slots(0, SLOT, SLOT, votes_min=2)
    simulation.take_slots(0, SLOT, SLOT)
    assert simulation.holds(0, SLOT)


# ---------------------------------------------------------------- each rule is needed


def one_is_enough(_core: Core, _members_count: int) -> int:
    """No majority is asked for."""
    return 1


def promised_nothing(_core: Core, _node: Node, _now_ms: int) -> int:
    """A voter forgets what it promised to others."""
    return 0


def votes_for_all(core: Core, candidate: Node, letter: Letter) -> Denial | None:
    """A voter votes as often as it is asked in an epoch."""
    core.last_vote_epoch = min(core.last_vote_epoch, letter.epoch - 1)
    return REFUSAL(core, candidate, letter)


def counts_for_longer(core: Core, sender: Node, letter: Letter) -> None:
    """A holder counts on a promise for two node timeouts, from when it came."""
    TAKE_ANSWER(core, sender, letter)
    grant = core.claims.grants.get(sender.node_id)
    if grant is not None:
        until_ms = core.now_ms + 2 * core.node_timeout_ms
        core.claims.grants[sender.node_id] = Promise(grant.bits, until_ms, grant.number)


def keeps_its_vote_to_itself(core: Core) -> None:
    """A save that should be on disk at once comes later."""
    core.want_save()


REFUSAL = voting.refusal
TAKE_ANSWER = promises.take_answer


@pytest.mark.parametrize(
    ("where", "name", "rule", "broken"),
    [
        (electorate, "needed", one_is_enough, "majority|two nodes|hold the slot at once|token"),
        (promises, "promised_to_others", promised_nothing, "two nodes|hold the slot at once"),
        (voting, "refusal", votes_for_all, "one vote per voter"),
        (promises, "take_answer", counts_for_longer, "two nodes|hold the slot at once"),
        (Core, "save_now", keeps_its_vote_to_itself, "on disk"),
    ],
    ids=["majority", "promise", "one vote", "end of a promise", "vote on disk"],
)
def test_a_rule_that_is_broken_is_found_by_some_seed(
    where: object, name: str, rule: Callable[..., object], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, rule)
    for seed in range(40):
        try:
            suffering(seed)
        except (InvariantError, AssertionError) as error:
            if re.search(broken, str(error)):
                return
    pytest.fail("no seed found it")
