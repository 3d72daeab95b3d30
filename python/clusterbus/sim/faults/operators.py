"""The orders that operators give while a cluster suffers: failovers, new primaries, slots that move, epochs.

Owns which order a scenario gives to whom. An order that the member refuses is no fault. What an order does is up to
`Simulation` and the member. One thread.
"""

from __future__ import annotations

import contextlib
from typing import Final

from clusterbus.cluster.constants import SLOTS
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.errors import StateError
from clusterbus.sim.faults.stage import Stage, Undo

CLAIM_SLOTS: Final = 300


def bump(stage: Stage) -> Undo | None:
    node = stage.active()
    if node is None:
        return None
    with contextlib.suppress(StateError):  # a member that is about to crash may crash here
        stage.simulation.bump_epoch(node)
    return lambda: None


def bump_and_die(stage: Stage) -> Undo | None:
    """Shows whether an epoch was on disk before it was announced."""
    node = stage.mortal()
    if node is None:
        return None
    stage.simulation.bump_epoch(node)
    stage.simulation.crash(node, power=True, after_effects=stage.draw.randint(1, 60))
    return lambda: stage.start([node])


def manual_failover(stage: Stage) -> Undo | None:
    """An operator orders a replica to take the place of its primary, with the primary's help or without."""
    return _order_failover(stage, stage.draw.choice(("", "", "FORCE")))


def takeover(stage: Stage) -> Undo | None:
    """The same without any vote."""
    return _order_failover(stage, "TAKEOVER")


def _order_failover(stage: Stage, how: str) -> Undo | None:
    node = _some_replica(stage)
    if node is None:
        return None
    try:
        stage.simulation.failover(node, how)
    except StateError:
        return None  # its primary is down: the order is refused
    return lambda: None


def move_replica(stage: Stage) -> Undo | None:
    """An operator gives a replica another primary."""
    node = _some_replica(stage)
    if node is None:
        return None
    primaries = [peer for peer in stage.simulation.nodes if peer != node and _is_primary(stage, peer)]
    if not primaries:
        return None
    try:
        stage.simulation.replicate(node, stage.draw.choice(primaries))
    except StateError:
        return None  # for this node, the other one is not a primary
    return lambda: None


def _some_replica(stage: Stage) -> int | None:
    """A replica that is up and does not hang; None if there is none."""
    hosts = stage.simulation.members
    nodes = [host.index for host in hosts if host.is_up and not host.is_hung and host.state.myself.is_replica]
    return stage.draw.choice(nodes) if nodes else None


def _is_primary(stage: Stage, node: int) -> bool:
    return stage.simulation.is_up(node) and stage.simulation.state(node).myself.is_primary


def claim_twice(stage: Stage) -> Undo | None:
    """A member claims slots of others. No other member may have its config epoch: equal ones decide nothing."""
    node = stage.active()
    if node is None:
        return None
    living = [host.state.myself for host in stage.simulation.members if host.is_up]
    myself = stage.simulation.state(node).myself
    if not myself.is_primary or sum(peer.config_epoch == myself.config_epoch for peer in living) > 1:
        return None
    first = stage.draw.randrange(SLOTS - CLAIM_SLOTS)
    with contextlib.suppress(StateError):
        stage.simulation.claim_slots(node, first, first + CLAIM_SLOTS)
    return lambda: None


def reshard(stage: Stage) -> Undo | None:
    """A slot goes from one primary to another. If an order is refused, the operator gives up."""
    simulation = stage.simulation
    owners = [
        host.index for host in simulation.members if host.is_up and not host.is_hung and host.state.myself.slot_bits
    ]
    if len(owners) < 2:
        return None
    source, target = stage.draw.sample(owners, 2)
    first, last = stage.draw.choice(ranges_of(simulation.state(source).myself.slot_bits))
    with contextlib.suppress(StateError):
        simulation.move_slot(stage.draw.randint(first, last), source, target)
    return lambda: None
