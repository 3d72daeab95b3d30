"""The scenario of one seed: a cluster forms, suffers faults and is healed, and then all members must agree.

Owns the draws: the shape of the cluster, the delays of the network, and the order, kind and length of the faults
(`faults`). `simulation` injects them; `checks` and `agreement` have the rules that must hold. A scenario depends on
nothing but its seed. One thread.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from clusterbus.cluster.constants import ALL_SLOTS
from clusterbus.cluster.events import ElectionStarted, Event
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import InvariantError, StateError
from clusterbus.sim import older
from clusterbus.sim.faults.repairs import repair
from clusterbus.sim.faults.stage import Stage, Undo
from clusterbus.sim.faults.table import FAULTS
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
AGREE_LIMIT_MS: Final = 60_000
AGREE_LIMIT_TIMEOUTS: Final = 20
"""The members must agree within this many node timeouts plus AGREE_LIMIT_MS after the last fault."""
TAGGING: Final = 0.2
"""Before each fault, and at the end, the program of each member sets other tags with this probability."""
OBSERVING: Final = 0.5
"""Of a cluster with members that have no slots and no data, the last of these observes with this probability."""
STILL_MS: Final = 1_000
"""They must still agree this long plus a node timeout later."""


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
        self._tags = Random(f"{seed}/tags")
        observers = Random(f"{seed}/observers")
        self.outcome = Outcome(seed)
        self.outcome.nodes = nodes = self.draw.randint(NODES_MIN, NODES_MAX)
        self.primaries = self.draw.randint(PRIMARIES_MIN, max(PRIMARIES_MIN, nodes * 2 // 3))
        self.replicas = self.draw.choice((nodes - self.primaries, nodes - self.primaries, self.draw.randrange(2)))
        self.killings_left = self.draw.choice((0, 0, 1, 3))
        self.node_timeout_ms = self.draw.choice(NODE_TIMEOUTS_MS)
        self.older = self._draw_older()
        with_data = sorted({*self._draw_data(), *self.older})
        idle = [node for node in range(self.primaries + self.replicas, nodes) if node not in with_data]
        self.observers = idle[-1:] if observers.random() < OBSERVING else []
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
                "cluster_blacklist_ttl": self.draw.choice((5, 20, 60)),
                "cluster_replica_validity_factor": self.draw.choice((0, 1, 10)),
            },
            with_data=with_data,
            older=self.older,
            observers=self.observers,
            without_views=self.draw.choice(((), (), range(nodes // 2))),
            trace=trace,
            trace_heartbeats=trace_heartbeats,
            state_class=state_class,
        )
        self.stage = Stage(self.simulation, self.draw, self.node_timeout_ms)
        self.simulation.on_event(self._kill_at_election)

    def play(self) -> Outcome:
        """Plays the scenario to its end, or until a rule is broken."""
        outcome = self.outcome
        try:
            with older.rules() if self.older else contextlib.nullcontext():
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

    def _draw_older(self) -> list[int]:
        """The hosts whose members follow older rules: none or some, never all. They all keep keys, as servers do."""
        share = self.draw.choice((0.0, 0.0, 0.0, 0.3, 0.6))
        return [node for node in range(1, self.outcome.nodes) if self.draw.random() < share]

    def _draw_data(self) -> list[int]:
        """The hosts that keep keys: all, none or some."""
        share = self.draw.choice((1.0, 1.0, 0.0, 0.5))
        return [node for node in range(self.outcome.nodes) if self.draw.random() < share]

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
            self._set_tags()
            name = draw.choices(names, weights)[0]
            undo = FAULTS[name][1](self.stage)
            if undo is None:
                continue
            self.outcome.faults[name] += 1
            lasting.append((simulation.now_ms + self.stage.length_ms(), undo))
            # The next fault begins while the present ones last, or after their end.
            last_ms = simulation.now_ms if draw.random() < 0.5 else max(end_ms for end_ms, _ in lasting)
            lasting = self._pass_time(lasting, last_ms + draw.uniform(0, 2) * self.node_timeout_ms)
        self._pass_time(lasting, max((end_ms for end_ms, _ in lasting), default=0.0))

    def _set_tags(self) -> None:
        for host in self.simulation.members:
            if self.stage.is_active(host) and self._tags.random() < TAGGING and host.index not in self.observers:
                tags = {name: str(self._tags.random()) for name in "abc"[: self._tags.randrange(4)]}
                self.simulation.set_tags(host.index, tags)

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
        victim = self.stage.mortal()
        if victim is None:
            return
        self.killings_left -= 1
        self.outcome.faults["death at an election"] += 1
        power = self.draw.random() < 0.7
        self.simulation.crash(victim, power=power, after_effects=self.draw.randint(0, 6))
        self.simulation.after(self.stage.length_ms(), lambda: self.stage.start([victim]))

    def _calm_down(self) -> None:
        simulation = self.simulation
        self.killings_left = 0
        self._set_tags()
        simulation.heal()
        self.stage.start(list(simulation.nodes))
        repair(self.stage)
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


def play(seed: int) -> Outcome:
    """The outcome of one seed."""
    return Scenario(seed).play()


def replay(seed: int, write: Callable[[str], None], *, heartbeats: bool = False) -> Outcome:
    """The same, but every line of the trace goes to `write` at once."""
    return Scenario(seed, trace=write, trace_heartbeats=heartbeats).play()
