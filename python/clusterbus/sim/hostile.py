"""The scenario of one seed with a liar: a member that lies, is expelled, lies on as a stranger, and is gone (H48).

Owns the draws and the story. While it lies, nothing raises, the tables stay sound and within their limits, and every
rule holds that does not rest on its word (`checks.RESTS_ON_WORDS`). Once it is gone, an operator who forgets whom it
made up, brings back whom it had forgotten and outbids what it said of others must get an agreeing cluster. One thread.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from random import Random
from typing import Final

from clusterbus.cluster.constants import FAILING, SLOTS
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import InvariantError, StateError
from clusterbus.sim.agreement import disagreements
from clusterbus.sim.host import Host
from clusterbus.sim.lies import Liar
from clusterbus.sim.scenario import Outcome
from clusterbus.sim.simulation import CLIENT_PORT, Simulation

NODES_MIN, NODES_MAX = 4, 8
NODE_TIMEOUTS_MS: Final = (1_000, 2_000)
LIES_TIMEOUTS: Final = 6
"""The liar lies for so many node timeouts as a member, and for half as many as a stranger."""
LOOK_MS: Final = 200
THROWN_PER_LOOK: Final = 6
LIMITS: Final[dict[str, int]] = {"cluster_max_nodes": 40, "cluster_max_handshakes": 10, "cluster_max_trial_nodes": 8}
"""Small, so that the liar meets them."""
BLACKLIST_TTL_S: Final = 5
REPAIRS_MAX: Final = 60
BUMP_EVERY: Final = 4
REPAIR_MS: Final = 3_000
FORM_LIMIT_MS: Final = 120_000


class HostileScenario:
    """The scenario of one seed. `trace` gets each line of the trace; `state_class` is that of `Simulation`."""

    def __init__(
        self,
        seed: int,
        *,
        trace: Callable[[str], None] | None = None,
        trace_heartbeats: bool = False,
        state_class: type[ClusterState] = ClusterState,
    ) -> None:
        self.draw = Random(f"{seed}/hostile")
        self.outcome = Outcome(seed)
        self.outcome.nodes = nodes = self.draw.randint(NODES_MIN, NODES_MAX)
        self.node_timeout_ms = self.draw.choice(NODE_TIMEOUTS_MS)
        self.liar = self.draw.randrange(nodes)
        self.simulation = Simulation(
            seed,
            nodes,
            node_timeout_ms=self.node_timeout_ms,
            jitter_ms=self.draw.choice((0, 1, 20)),
            directives={**LIMITS, "cluster_blacklist_ttl": BLACKLIST_TTL_S},
            without_views=self.draw.choice(((), (), range(nodes // 2))),
            trace=trace,
            trace_heartbeats=trace_heartbeats,
            state_class=state_class,
        )
        self.honest = [node for node in self.simulation.nodes if node != self.liar]

    def play(self) -> Outcome:
        """Plays the scenario to its end, or until a rule is broken."""
        outcome, simulation = self.outcome, self.simulation
        try:
            outcome.formed_ms = simulation.form(replicas=self.draw.randrange(3), limit_ms=FORM_LIMIT_MS)
            simulation.sync_disks()
            self._suffer()
            self._repair()
        except InvariantError as error:
            outcome.failure = str(error)
        except Exception as error:  # nothing that a liar says may raise
            outcome.failure = f"at {simulation.now_ms:.3f} ms: {type(error).__name__}: {error}"
            outcome.traceback = traceback.format_exc()
        outcome.lived_ms = simulation.now_ms
        outcome.stats = simulation.stats
        return outcome

    def _suffer(self) -> None:
        simulation = self.simulation
        members = simulation.members
        lies = Liar(
            self.draw,
            simulation.node_id(self.liar),
            [host.node_id for host in members],
            [host.ip for host in members],
            CLIENT_PORT,
        )
        simulation.lie(self.liar, lies.instead_of)
        self.outcome.faults["a member that lies"] += 1
        self._lie_for(lies, LIES_TIMEOUTS * self.node_timeout_ms)
        for node in self.honest:
            self._forget_all_but_honest(node)
        self.outcome.faults["a stranger that lies"] += 1
        self._lie_for(lies, LIES_TIMEOUTS * self.node_timeout_ms // 2)
        simulation.crash(self.liar)

    def _lie_for(self, lies: Liar, duration_ms: float) -> None:
        """Beside what it says in the place of what it was to say, the liar says things of its own accord."""
        simulation = self.simulation
        end_ms = simulation.now_ms + duration_ms
        while simulation.now_ms < end_ms:
            for _ in range(THROWN_PER_LOOK):
                simulation.throw(self.liar, self.draw.choice(self.honest), lies.lie())
            simulation.run_for(LOOK_MS)
            for node in self.honest:
                check_tables(simulation.members[node])

    # ------------------------------------------------------------ the operator

    def _repair(self) -> None:
        """An operator mends what no member can. Raises InvariantError if that does not lead to agreement."""
        simulation = self.simulation
        hosts = [simulation.members[node] for node in self.honest]
        begun_ms = simulation.now_ms
        for number in range(REPAIRS_MAX):
            for node in self.honest:
                self._forget_all_but_honest(node)
                self._meet_all_honest(node)
            if number % BUMP_EVERY == BUMP_EVERY - 1:
                self._outbid()
            simulation.run_for(REPAIR_MS)
            if not disagreements(hosts, at_most=1):
                self.outcome.agreed_ms = simulation.now_ms - begun_ms
                return
        lines = "; ".join(disagreements(hosts, at_most=6))
        raise InvariantError(f"at {simulation.now_ms:.3f} ms: no agreement after the liar is gone: {lines}")

    def _ids(self) -> set[str]:
        return {self.simulation.node_id(node) for node in self.honest}

    def _forget_all_but_honest(self, node: int) -> None:
        simulation, ids = self.simulation, self._ids()
        primary = simulation.state(node).myself.replicaof
        if primary is not None and primary.node_id not in ids:
            simulation.operate(node, lambda state, now_ms: state.replicate_no_one(now_ms))
        for known in list(simulation.state(node).nodes):
            if known.node_id not in ids and not known.in_handshake:
                with contextlib.suppress(StateError):
                    simulation.forget(node, known.node_id)

    def _meet_all_honest(self, node: int) -> None:
        for other in self.honest:
            if self.simulation.state(node).find(self.simulation.node_id(other)) is None:
                with contextlib.suppress(StateError):
                    self.simulation.meet(node, other)

    def _outbid(self) -> None:
        """The liar has told others of honest members what they do not know of themselves: epochs above theirs, slots
        that they do not have. A new epoch for each is above that, and who claims all slots under one ends the rest.
        """
        simulation = self.simulation
        for node in self.honest:
            with contextlib.suppress(StateError):
                simulation.bump_epoch(node)
        simulation.run_for(REPAIR_MS)
        primaries = [node for node in self.honest if simulation.state(node).myself.is_primary]
        if primaries:
            with contextlib.suppress(StateError):
                simulation.claim_slots(primaries[0], 0, SLOTS - 1)


def check_tables(host: Host) -> None:
    """Checks that the tables of a member are sound and within their limits. Raises InvariantError."""
    state = host.state
    nodes = list(state.nodes)
    owned = 0
    for node in nodes:
        _hold(host, state.find(node.node_id) is node, "a node is found by its id")
        _hold(host, not owned & node.slot_bits, "no slot has two owners")
        owned |= node.slot_bits
        _hold(host, node.replicaof is not node, "no node is its own replica")
        primary = node.replicaof
        if primary is not None:
            _hold(host, primary.replicas.get(node.node_id) is node, "a primary knows its replicas")
        for link in (node.link, node.inbound_link):
            _hold(host, link is None or link.node is node, "a link is of its node")
    _hold(host, owned == state.assigned_slots, "the owners have the slots that are assigned")
    _hold(host, not state.myself.flags & FAILING and not state.myself.in_handshake, "we are up and no stranger")
    handshakes = sum(node.in_handshake for node in nodes)
    _hold(host, len(nodes) <= LIMITS["cluster_max_nodes"] + LIMITS["cluster_max_handshakes"], "nodes are bounded")
    _hold(host, handshakes <= LIMITS["cluster_max_handshakes"] + LIMITS["cluster_max_trial_nodes"], "so are handshakes")
    conf = persist.parse(state.nodes_conf_text())
    _hold(host, persist.myself_of(conf).node_id == state.myself.node_id, "nodes.conf is of us")


def _hold(host: Host, holds: bool, rule: str) -> None:
    if not holds:
        raise InvariantError(f"at {host.now_text()}: {host.name}: not so: {rule}")


def play(seed: int) -> Outcome:
    """The outcome of one seed."""
    return HostileScenario(seed).play()


def replay(seed: int, write: Callable[[str], None], *, heartbeats: bool = False) -> Outcome:
    """The same, but every line of the trace goes to `write` at once."""
    return HostileScenario(seed, trace=write, trace_heartbeats=heartbeats).play()
