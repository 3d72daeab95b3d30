"""The scenario of one seed: a cluster forms, suffers faults and is healed, and then all members must agree.

Owns the draws: the shape of the cluster, the delays of the network, and the order, kind, target and length of the
faults (`FAULTS`). `simulation` injects them; `checks` and `agreement` have the rules that must hold. A scenario depends
on nothing but its seed. One thread.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from clusterbus.cluster.constants import ALL_SLOTS, SLOTS
from clusterbus.cluster.events import ElectionStarted, Event
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import InvariantError, StateError
from clusterbus.sim.host import Host
from clusterbus.sim.simulation import Simulation

NODES_MIN: Final = 5
NODES_MAX: Final = 12
PRIMARIES_MIN: Final = 3
FAULTS_MIN: Final = 3
FAULTS_MAX: Final = 6
NODE_TIMEOUTS_MS: Final = (1_000, 1_500, 2_000, 3_000)
SKEWS_MS: Final = (0, 0, 300, 5_000, 3_600_000)
DRIFTS_PPM: Final = (0, 100, 10_000)
FORM_LIMIT_MS: Final = 120_000
CLAIM_SLOTS: Final = 300
AGREE_LIMIT_MS: Final = 60_000
AGREE_LIMIT_TIMEOUTS: Final = 20
"""The members must agree within this many node timeouts plus AGREE_LIMIT_MS after the last fault."""
STILL_MS: Final = 1_000
"""They must still agree this long plus a node timeout later."""

Undo = Callable[[], None]
"""Ends a fault."""


@dataclass(slots=True)
class Outcome:
    """How one scenario went. `failure` is empty if every rule held. Times are virtual milliseconds."""

    seed: int
    nodes: int = 0
    failure: str = ""
    traceback: str = ""
    formed_ms: float = 0.0
    agreed_ms: float = 0.0
    lived_ms: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    stats: Counter[str] = field(default_factory=Counter)


class Scenario:
    """The scenario of one seed. `trace` gets each line of the trace; `state_class` is that of `Simulation`."""

    def __init__(
        self,
        seed: int,
        *,
        trace: Callable[[str], None] | None = None,
        trace_heartbeats: bool = False,
        state_class: type[ClusterState] = ClusterState,
    ) -> None:
        self.draw = Random(f"{seed}/scenario")
        self.outcome = Outcome(seed)
        self.outcome.nodes = nodes = self.draw.randint(NODES_MIN, NODES_MAX)
        self.primaries = self.draw.randint(PRIMARIES_MIN, max(PRIMARIES_MIN, nodes * 2 // 3))
        self.replicas = self.draw.choice((nodes - self.primaries, nodes - self.primaries, self.draw.randrange(2)))
        self.killings_left = self.draw.choice((0, 0, 1, 3))
        self.node_timeout_ms = self.draw.choice(NODE_TIMEOUTS_MS)
        self.moves_left = 1
        self.simulation = Simulation(
            seed,
            nodes,
            node_timeout_ms=self.node_timeout_ms,
            delay_ms=self.draw.choice((0.1, 1, 20)),
            jitter_ms=self.draw.choice((0, 1, 20)),
            skew_ms=self.draw.choice(SKEWS_MS),
            drift_ppm=self.draw.choice(DRIFTS_PPM),
            directives={
                "cluster_require_full_coverage": self.draw.random() < 0.7,
                "cluster_allow_replica_migration": self.draw.random() < 0.7,
                "cluster_replica_validity_factor": self.draw.choice((0, 1, 10)),
            },
            without_views=self.draw.choice(((), (), range(nodes // 2))),
            trace=trace,
            trace_heartbeats=trace_heartbeats,
            state_class=state_class,
        )
        self.simulation.on_event(self._kill_at_election)

    def play(self) -> Outcome:
        """Plays the scenario to its end, or until a rule is broken."""
        outcome = self.outcome
        try:
            self._form()
            self._suffer()
            self._calm_down()
        except InvariantError as error:
            outcome.failure = str(error)
        except Exception as error:  # no act of a peer and no fault may raise out of the protocol core
            outcome.failure = f"at {self.simulation.now_ms:.3f} ms: {type(error).__name__}: {error}"
            outcome.traceback = traceback.format_exc()
        outcome.lived_ms = self.simulation.now_ms
        outcome.stats = self.simulation.stats
        return outcome

    # ------------------------------------------------------------ the three acts

    def _form(self) -> None:
        simulation = self.simulation
        rough = self.draw.random() < 0.3
        if rough:
            simulation.degrade(loss=self.draw.uniform(0, 0.1), jitter_ms=self.draw.uniform(0, 100))
        try:
            self.outcome.formed_ms = simulation.form(
                primaries=self.primaries,
                replicas=self.replicas,
                config_epochs=self.draw.random() < 0.8,
                limit_ms=FORM_LIMIT_MS,
            )
        except StateError as error:
            raise InvariantError(f"at {simulation.now_ms:.3f} ms: {error}") from None
        simulation.heal()
        simulation.sync_disks()

    def _suffer(self) -> None:
        simulation, draw = self.simulation, self.draw
        names = list(FAULTS)
        weights = [FAULTS[name][0] for name in names]
        lasting: list[tuple[float, Undo]] = []
        for _ in range(draw.randint(FAULTS_MIN, FAULTS_MAX)):
            name = draw.choices(names, weights)[0]
            undo = FAULTS[name][1](self)
            if undo is None:
                continue
            self.outcome.faults[name] += 1
            lasting.append((simulation.now_ms + self._length_ms(), undo))
            # The next fault begins while the present ones last, or after their end.
            last_ms = simulation.now_ms if draw.random() < 0.5 else max(end_ms for end_ms, _ in lasting)
            lasting = self._pass_time(lasting, last_ms + draw.uniform(0, 2) * self.node_timeout_ms)
        self._pass_time(lasting, max((end_ms for end_ms, _ in lasting), default=0.0))

    def _length_ms(self) -> float:
        shortest, longest = self.draw.choice(((0.05, 1.0), (1.0, 2.5), (2.5, 5.0), (4.0, 8.0)))
        return self.draw.uniform(shortest, longest) * self.node_timeout_ms

    def _pass_time(self, lasting: list[tuple[float, Undo]], until_ms: float) -> list[tuple[float, Undo]]:
        """Lets time pass. Ends each fault at its time, and returns those that still last."""
        lasting = sorted(lasting, key=lambda fault: fault[0])
        while lasting and lasting[0][0] <= until_ms:
            end_ms, undo = lasting.pop(0)
            self.simulation.run_until(end_ms)
            undo()
        self.simulation.run_until(until_ms)
        return lasting

    def _kill_at_election(self, _node: int, event: Event, _now_ms: float) -> None:
        """An election has begun. A few times in a scenario, a member now dies within its next acts."""
        if not isinstance(event, ElectionStarted) or not self.killings_left:
            return
        victim = self.mortal()
        if victim is None:
            return
        self.killings_left -= 1
        self.outcome.faults["death at an election"] += 1
        power = self.draw.random() < 0.7
        self.simulation.crash(victim, power=power, after_effects=self.draw.randint(0, 6))
        self.simulation.after(self._length_ms(), lambda: _start(self, [victim]))

    def _calm_down(self) -> None:
        simulation = self.simulation
        self.killings_left = 0
        simulation.heal()
        _start(self, list(simulation.nodes))
        begun_ms = simulation.now_ms
        limit_ms = AGREE_LIMIT_MS + AGREE_LIMIT_TIMEOUTS * self.node_timeout_ms
        if not simulation.run_until(simulation.agrees, limit_ms=limit_ms):
            self._disagree(f"no agreement {limit_ms} ms after the last fault")
        self.outcome.agreed_ms = simulation.now_ms - begun_ms
        simulation.run_for(STILL_MS + self.node_timeout_ms)
        if not simulation.agrees():
            self._disagree("agreement was lost again, with no fault")
        unowned = ALL_SLOTS & ~simulation.state(0).assigned_slots
        if unowned:
            self._disagree(f"{unowned.bit_count()} slots have no owner")

    def _disagree(self, what: str) -> None:
        lines = "; ".join(self.simulation.disagreements(at_most=6))
        raise InvariantError(f"at {self.simulation.now_ms:.3f} ms: {what}: {lines}")

    # ------------------------------------------------------------ draws

    def some(self, *, at_least: int = 1, at_most: int | None = None) -> list[int]:
        """The numbers of some hosts, up or not."""
        nodes = list(self.simulation.nodes)
        count = self.draw.randint(at_least, min(at_most or len(nodes), len(nodes)))
        return sorted(self.draw.sample(nodes, count))

    def active(self) -> int | None:
        """A host that is up and does not hang; None if there is none."""
        nodes = [host.index for host in self.simulation.members if host.is_up and not host.is_hung]
        return self.draw.choice(nodes) if nodes else None

    def mortal(self) -> int | None:
        """A host that may be crashed; None if there is none.

        It must be active, and have saved all that it was to save. A crash after a failed save would lose what the disk
        refused, and no member can promise to keep that.
        """
        nodes = [host.index for host in self.simulation.members if _is_mortal(host)]
        return self.draw.choice(nodes) if nodes else None

    def others(self, nodes: list[int]) -> list[int]:
        return [node for node in self.simulation.nodes if node not in nodes]


def _is_mortal(host: Host) -> bool:
    return host.is_up and not (host.is_hung or host.owes_durable_save or host.disk.is_failing or host.planned_crash)


# ---------------------------------------------------------------- the faults


def _kill(scenario: Scenario) -> Undo | None:
    return _crash(scenario, power=False)


def _cut_power(scenario: Scenario) -> Undo | None:
    return _crash(scenario, power=True)


def _crash(scenario: Scenario, *, power: bool) -> Undo | None:
    node = scenario.mortal()
    if node is None:
        return None
    if scenario.draw.random() < 0.5:
        scenario.simulation.crash(node, power=power)
    else:
        scenario.simulation.crash(node, power=power, after_effects=scenario.draw.randint(0, 12))
    return lambda: _start(scenario, [node])


def _blackout(scenario: Scenario) -> Undo | None:
    hosts = scenario.simulation.members
    nodes = [node for node in scenario.some(at_least=2) if _is_mortal(hosts[node])]
    for node in nodes:
        scenario.simulation.crash(node, power=scenario.draw.random() < 0.7)
    return lambda: _start(scenario, nodes)


def _start(scenario: Scenario, nodes: list[int]) -> None:
    for node in nodes:
        if not scenario.simulation.spare(node):
            scenario.simulation.restart(node)


def _move(scenario: Scenario) -> Undo | None:
    node = scenario.mortal()
    if node is None or not scenario.moves_left:
        return None
    scenario.moves_left -= 1
    scenario.simulation.crash(node)

    def come_back_elsewhere() -> None:
        if not scenario.simulation.is_up(node):
            scenario.simulation.restart(node, ip=f"10.255.0.{node + 1}")

    return come_back_elsewhere


def _hang(scenario: Scenario) -> Undo | None:
    node = scenario.active()
    if node is None:
        return None
    scenario.simulation.hang(node, reads=scenario.draw.random() < 0.5)
    return lambda: scenario.simulation.resume(node) if scenario.simulation.is_up(node) else None


def _partition(scenario: Scenario) -> Undo | None:
    one = scenario.some(at_most=len(scenario.simulation.nodes) - 1)
    return scenario.simulation.partition(one, scenario.others(one)).heal


def _one_way(scenario: Scenario) -> Undo | None:
    one = scenario.some(at_most=len(scenario.simulation.nodes) - 1)
    return scenario.simulation.partition(one, scenario.others(one), one_way=True).heal


def _isolate(scenario: Scenario) -> Undo | None:
    return scenario.simulation.isolate(scenario.some(at_most=1)[0]).heal


def _broken_path(scenario: Scenario) -> Undo | None:
    one, other = scenario.some(at_least=2, at_most=2)
    return scenario.simulation.partition([one], [other], one_way=scenario.draw.random() < 0.5).heal


def _loss(scenario: Scenario) -> Undo | None:
    return scenario.simulation.degrade(scenario.some(), loss=scenario.draw.uniform(0.01, 0.5)).heal


def _delay(scenario: Scenario) -> Undo | None:
    draw = scenario.draw
    longest_ms = scenario.node_timeout_ms * 0.6
    return scenario.simulation.degrade(
        scenario.some(), delay_ms=draw.uniform(0, longest_ms), jitter_ms=draw.uniform(0, longest_ms)
    ).heal


def _resets(scenario: Scenario) -> Undo | None:
    for node in scenario.some():
        for other in scenario.some():
            if node != other:
                scenario.simulation.break_links(node, other)
    return lambda: None


def _bad_disk(scenario: Scenario) -> Undo | None:
    node = scenario.mortal()
    if node is None:
        return None
    scenario.simulation.fail_disk(node)
    return lambda: scenario.simulation.fail_disk(node, failing=False)


def _rivals(scenario: Scenario) -> Undo | None:
    """Two primaries die at once while messages are slow, so their replicas may ask for votes in one epoch. Meanwhile
    the disks of some voters fail, so they must withhold their votes.
    """
    simulation = scenario.simulation
    primaries = [host.index for host in simulation.members if _is_mortal(host) and host.state.myself.slot_bits]
    if len(primaries) < 2:
        return None
    dying = scenario.draw.sample(primaries, 2)
    voters = [node for node in scenario.others(dying) if _is_mortal(simulation.members[node])]
    failing = [node for node in voters if scenario.draw.random() < 0.3]
    for node in failing:
        simulation.fail_disk(node)
    slow = simulation.degrade(delay_ms=scenario.draw.uniform(0, 0.3) * scenario.node_timeout_ms)
    for node in dying:
        simulation.crash(node)

    def repair() -> None:
        slow.heal()
        for node in failing:
            simulation.fail_disk(node, failing=False)
        _start(scenario, dying)

    return repair


def _bump(scenario: Scenario) -> Undo | None:
    node = scenario.active()
    if node is None:
        return None
    with contextlib.suppress(StateError):  # a member that is about to crash may crash here
        scenario.simulation.bump_epoch(node)
    return lambda: None


def _bump_and_die(scenario: Scenario) -> Undo | None:
    """Shows whether an epoch was on disk before it was announced."""
    node = scenario.mortal()
    if node is None:
        return None
    scenario.simulation.bump_epoch(node)
    scenario.simulation.crash(node, power=True, after_effects=scenario.draw.randint(1, 60))
    return lambda: _start(scenario, [node])


def _manual_failover(scenario: Scenario) -> Undo | None:
    """An operator orders a replica to take the place of its primary, with the primary's help or without."""
    return _order_failover(scenario, scenario.draw.choice(("", "", "FORCE")))


def _takeover(scenario: Scenario) -> Undo | None:
    """The same without any vote."""
    return _order_failover(scenario, "TAKEOVER")


def _order_failover(scenario: Scenario, how: str) -> Undo | None:
    node = _some_replica(scenario)
    if node is None:
        return None
    try:
        scenario.simulation.failover(node, how)
    except StateError:
        return None  # its primary is down: the order is refused
    return lambda: None


def _move_replica(scenario: Scenario) -> Undo | None:
    """An operator gives a replica another primary."""
    node = _some_replica(scenario)
    if node is None:
        return None
    primaries = [peer for peer in scenario.simulation.nodes if peer != node and _is_primary(scenario, peer)]
    if not primaries:
        return None
    try:
        scenario.simulation.replicate(node, scenario.draw.choice(primaries))
    except StateError:
        return None  # for this node, the other one is not a primary
    return lambda: None


def _some_replica(scenario: Scenario) -> int | None:
    """A replica that is up and does not hang; None if there is none."""
    hosts = scenario.simulation.members
    nodes = [host.index for host in hosts if host.is_up and not host.is_hung and host.state.myself.is_replica]
    return scenario.draw.choice(nodes) if nodes else None


def _is_primary(scenario: Scenario, node: int) -> bool:
    return scenario.simulation.is_up(node) and scenario.simulation.state(node).myself.is_primary


def _claim_twice(scenario: Scenario) -> Undo | None:
    """A member claims slots of others. No other member may have its config epoch: equal ones decide nothing."""
    node = scenario.active()
    if node is None:
        return None
    living = [host.state.myself for host in scenario.simulation.members if host.is_up]
    myself = scenario.simulation.state(node).myself
    if not myself.is_primary or sum(peer.config_epoch == myself.config_epoch for peer in living) > 1:
        return None
    first = scenario.draw.randrange(SLOTS - CLAIM_SLOTS)
    with contextlib.suppress(StateError):
        scenario.simulation.claim_slots(node, first, first + CLAIM_SLOTS)
    return lambda: None


def _reshard(scenario: Scenario) -> Undo | None:
    """A slot goes from one primary to another. If an order is refused, the operator gives up."""
    simulation = scenario.simulation
    owners = [
        host.index for host in simulation.members if host.is_up and not host.is_hung and host.state.myself.slot_bits
    ]
    if len(owners) < 2:
        return None
    source, target = scenario.draw.sample(owners, 2)
    first, last = scenario.draw.choice(ranges_of(simulation.state(source).myself.slot_bits))
    with contextlib.suppress(StateError):
        simulation.move_slot(scenario.draw.randint(first, last), source, target)
    return lambda: None


FAULTS: Final[dict[str, tuple[int, Callable[[Scenario], Undo | None]]]] = {
    "process killed": (14, _kill),
    "power cut": (12, _cut_power),
    "several down": (5, _blackout),
    "back elsewhere": (6, _move),
    "main loop hangs": (8, _hang),
    "partition": (12, _partition),
    "one-way partition": (8, _one_way),
    "node cut off": (8, _isolate),
    "path dead": (6, _broken_path),
    "loss": (7, _loss),
    "delay": (7, _delay),
    "links reset": (5, _resets),
    "disk fails": (3, _bad_disk),
    "two elections at once": (8, _rivals),
    "epoch bumped": (4, _bump),
    "power cut after a bump": (4, _bump_and_die),
    "manual failover": (8, _manual_failover),
    "takeover": (2, _takeover),
    "slot moved": (6, _reshard),
    "replica moved": (3, _move_replica),
    "slots claimed twice": (5, _claim_twice),
}
"""Name of a fault: its weight in the draw, and the function that begins it. That returns what ends the fault, or None
if the fault cannot begin now."""


def play(seed: int) -> Outcome:
    """The outcome of one seed."""
    return Scenario(seed).play()


def replay(seed: int, write: Callable[[str], None], *, heartbeats: bool = False) -> Outcome:
    """The same, but every line of the trace goes to `write` at once."""
    return Scenario(seed, trace=write, trace_heartbeats=heartbeats).play()
