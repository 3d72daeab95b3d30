"""How long a healthy cluster takes: until all nodes know each other, until all see a failure, until a node is back.

Owns one undisturbed run (join, crash of some, return) and the times of its events, in virtual milliseconds. Draws
nothing but which nodes fail. One thread.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Final

from clusterbus.cluster.events import ElectionWon, Event, NodeFailed, NodeJoined, NodeSuspected
from clusterbus.errors import StateError
from clusterbus.sim.simulation import Simulation

SETTLE_TIMEOUTS: Final = 2
"""The node timeouts between the join and the crash."""
WATCH_TIMEOUTS: Final = 10
WATCH_MS: Final = 10_000
"""A failure that not all have seen within this and WATCH_TIMEOUTS node timeouts will not be seen by all."""


@dataclass(slots=True)
class Measurement:
    """Times in virtual milliseconds.

    - `joined_ms`: from the first MEET until a node knew all others; one for each node.
    - `agreed_ms`: from the first MEET until all agreed.
    - `suspected_ms`, `failed_ms`: from the crash until a survivor flagged a crashed node PFAIL, FAIL; one for each
      pair.
    - `elected_ms`: from the crash until a replica won the place of its primary; one for each election that was won.
    - `served_ms`: from the crash until the cluster was ok again for every survivor; None if it was not.
    - `returned_ms`: from the restart until all agreed again; None if they did not.
    """

    seed: int
    nodes: int
    fail: int
    node_timeout_ms: int
    replicas: int = 0
    agreed_ms: float = 0.0
    joined_ms: list[float] = field(default_factory=list)
    crashed: list[int] = field(default_factory=list)
    suspected_ms: list[float] = field(default_factory=list)
    failed_ms: list[float] = field(default_factory=list)
    unseen: int = 0
    """The pairs of a survivor and a crashed node that did not get to FAIL (no majority was left)."""
    elected_ms: list[float] = field(default_factory=list)
    served_ms: float | None = None
    returned_ms: float | None = None
    messages: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class _Watch:
    """Notes when each awaited event happens for the first time."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._known: dict[int, set[str]] = {node: set() for node in simulation.nodes}
        self._victims: set[str] = set()
        self._since_ms = simulation.now_ms
        self.joined_ms: dict[int, float] = {}
        self.suspected_ms: dict[tuple[int, str], float] = {}
        self.failed_ms: dict[tuple[int, str], float] = {}
        self.elected_ms: list[float] = []
        simulation.on_event(self._note)

    def expect(self, victims: set[str]) -> None:
        """From now on these nodes are crashed."""
        self._victims = victims
        self._since_ms = self._simulation.now_ms

    def _note(self, node: int, event: Event, now_ms: float) -> None:
        if isinstance(event, NodeJoined):
            known = self._known[node]
            known.add(event.node_id)
            if len(known) == len(self._known) - 1:
                self.joined_ms.setdefault(node, now_ms - self._since_ms)
        elif isinstance(event, NodeSuspected) and event.node_id in self._victims:
            self.suspected_ms.setdefault((node, event.node_id), now_ms - self._since_ms)
        elif isinstance(event, NodeFailed) and event.node_id in self._victims:
            self.failed_ms.setdefault((node, event.node_id), now_ms - self._since_ms)
        elif isinstance(event, ElectionWon):
            self.elected_ms.append(now_ms - self._since_ms)


def measure(nodes: int, seed: int, fail: int, node_timeout_ms: int, replicas: int = 0) -> Measurement:
    """Forms a cluster, cuts the power of `fail` of its nodes at once, and starts them again.

    With `replicas`, that many of the last nodes replicate the others, and only the others fail. Raises StateError
    unless at least one node survives, and no more nodes fail than there are primaries.
    """
    if not 0 <= fail < nodes:
        raise StateError(f"of {nodes} nodes {fail} cannot fail: at least one has to see it")
    if replicas and fail > nodes - replicas:
        raise StateError(f"of {nodes - replicas} primaries {fail} cannot fail")
    simulation = Simulation(seed, nodes, node_timeout_ms=node_timeout_ms)
    watch = _Watch(simulation)
    result = Measurement(seed, nodes, fail, node_timeout_ms, replicas)
    result.agreed_ms = simulation.form(replicas=replicas)
    result.joined_ms = sorted(watch.joined_ms.values())
    if fail:
        simulation.run_for(SETTLE_TIMEOUTS * node_timeout_ms)
        _crash_and_return(simulation, watch, result)
    result.messages = _messages(simulation)
    return result


def _crash_and_return(simulation: Simulation, watch: _Watch, result: Measurement) -> None:
    candidates = range(result.nodes - result.replicas)
    result.crashed = sorted(Random(f"{result.seed}/victims").sample(candidates, result.fail))
    victims = {simulation.node_id(node) for node in result.crashed}
    simulation.sync_disks()
    watch.expect(victims)
    crashed_ms = simulation.now_ms
    for node in result.crashed:
        simulation.crash(node, power=True)
    pairs = (result.nodes - result.fail) * result.fail
    limit_ms = WATCH_MS + WATCH_TIMEOUTS * result.node_timeout_ms
    simulation.run_until(lambda: len(watch.failed_ms) == pairs, limit_ms=limit_ms)
    if result.replicas and simulation.run_until(lambda: _is_served(simulation), limit_ms=limit_ms):
        result.served_ms = simulation.now_ms - crashed_ms
    result.suspected_ms = sorted(watch.suspected_ms.values())
    result.failed_ms = sorted(watch.failed_ms.values())
    result.elected_ms = sorted(watch.elected_ms)
    result.unseen = pairs - len(watch.failed_ms)
    back_ms = simulation.now_ms
    for node in result.crashed:
        simulation.restart(node)
    if simulation.run_until(simulation.agrees, limit_ms=limit_ms):
        result.returned_ms = simulation.now_ms - back_ms


def _is_served(simulation: Simulation) -> bool:
    return all(simulation.state(node).is_ok for node in simulation.living())


def _messages(simulation: Simulation) -> dict[str, int]:
    """The number of messages that the members have sent, by type."""
    total: dict[str, int] = {}
    for host in simulation.members:
        for name, count in host.state.counters.items():
            if name.startswith("messages_") and name.endswith("_sent"):
                kind = name.removeprefix("messages_").removesuffix("_sent")
                total[kind] = total.get(kind, 0) + count
    return dict(sorted(total.items()))
