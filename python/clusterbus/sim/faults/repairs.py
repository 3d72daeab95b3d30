"""What an operator mends when the faults of a scenario are over, since no member can.

Owns the orders that follow a lost disk: the old id is forgotten, the new node met, and slots without an owner given to
somebody. Before that, the members must have done their part. One thread.
"""

from __future__ import annotations

import contextlib
from typing import Final

from clusterbus.cluster.constants import ALL_SLOTS
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.errors import InvariantError, StateError
from clusterbus.sim.faults.stage import Stage

GONE_LIMIT_MS: Final = 30_000
GONE_LIMIT_TIMEOUTS: Final = 4
"""A node whose address another one has must be FAIL for all within this many node timeouts plus GONE_LIMIT_MS."""
ELECTION_TIMEOUTS: Final = 6
"""An operator gives elections this many node timeouts before slots are given away."""
MEETS_MAX: Final = 25
MEET_PERIOD_MS: Final = 3_000
"""How often an operator repeats a MEET."""


def repair(stage: Stage) -> None:
    """Brings outsiders in. Raises InvariantError if the members still wait for a node that is gone."""
    simulation = stage.simulation
    if simulation.gone:
        limit_ms = GONE_LIMIT_MS + GONE_LIMIT_TIMEOUTS * stage.node_timeout_ms
        if not simulation.run_until(lambda: not simulation.still_hoped_for(), limit_ms=limit_ms):
            raise InvariantError(f"at {simulation.now_ms:.3f} ms: {simulation.still_hoped_for()[0]}")
        simulation.run_for(ELECTION_TIMEOUTS * stage.node_timeout_ms)
        _forget_the_gone(stage)
    if simulation.outsiders:
        _meet_outsiders(stage)
        _give_away_free_slots(stage)


def _forget_the_gone(stage: Stage) -> None:
    simulation = stage.simulation
    for node_id in sorted(simulation.gone):
        for node in simulation.nodes:
            state = simulation.state(node)
            primary = state.myself.replicaof
            if primary is not None and primary.node_id == node_id:
                _follow_another(stage, node)
            if state.find(node_id) is not None:
                simulation.forget(node, node_id)
    simulation.gone.clear()


def _follow_another(stage: Stage, node: int) -> None:
    """A replica whose primary is gone may not be fit for an election. It gets another primary."""
    known = {peer.node_id for peer in stage.simulation.state(node).nodes if peer.is_primary and not peer.is_failed}
    primaries = [peer for peer in stage.simulation.nodes if stage.simulation.node_id(peer) in known]
    stage.simulation.replicate(node, stage.draw.choice(primaries))


def _meet_outsiders(stage: Stage) -> None:
    simulation = stage.simulation
    outsiders, insiders = simulation.outsiders, [node for node in simulation.nodes if node not in simulation.outsiders]
    simulation.outsiders = set()
    askers = insiders[:1]  # gossip does the rest, except where a node was forgotten
    for _ in range(MEETS_MAX):
        for node in sorted(outsiders):
            for asker in askers:
                if simulation.state(asker).find(simulation.node_id(node)) is None:
                    simulation.meet(asker, node)
        askers = insiders
        if simulation.run_until(simulation.agrees, limit_ms=MEET_PERIOD_MS):
            return


def _give_away_free_slots(stage: Stage) -> None:
    """Slots of a primary that is gone for good, with its keys: those that no member claims, also where they had just
    been moved to it, and others still know their former owner.
    """
    simulation = stage.simulation
    taker = next(node for node in simulation.nodes if simulation.state(node).myself.slot_bits)
    free = ALL_SLOTS
    for node in simulation.nodes:
        free &= ~simulation.state(node).myself.slot_bits
    for first, last in ranges_of(free):
        with contextlib.suppress(StateError):
            simulation.claim_slots(taker, first, last)
