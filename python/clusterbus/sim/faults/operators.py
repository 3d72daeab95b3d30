"""The orders that operators give while a cluster suffers: failovers, new primaries, slots that move, epochs.

Owns which order a scenario gives to whom. An order that the member refuses is no fault. What an order does is up to
`Simulation` and the member. One thread.
"""

from __future__ import annotations

import contextlib
from typing import Final

from clusterbus.cluster.constants import SLOTS
from clusterbus.cluster.events import ElectionStarted, Event
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.errors import StateError
from clusterbus.sim.faults.stage import Stage, Undo, is_mortal

CLAIM_SLOTS: Final = 300
MOVED_SLOTS: Final = 3


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
    if node is None or stage.simulation.members[node].config.cluster_observer:
        return None
    stage.simulation.bump_epoch(node)
    stage.simulation.crash(node, power=True, after_effects=stage.draw.randint(1, 60))
    return lambda: stage.start([node])


def bump_in_isolation(stage: Stage) -> Undo | None:
    """A primary is cut off, and an operator has it take an epoch: the same one in which its replica is elected."""
    primaries = [host for host in stage.simulation.members if stage.is_active(host) and host.state.myself.slot_bits]
    primaries = [host for host in primaries if _replicas_of(stage, host.node_id)]
    if not primaries:
        return None
    node = stage.draw.choice(primaries).index
    cut = stage.simulation.isolate(node)
    with contextlib.suppress(StateError):
        stage.simulation.bump_epoch(node)
    return cut.heal


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


def failover_amid_election(stage: Stage) -> Undo | None:
    """A primary dies, messages are slow, and an operator orders a failover while a replica waits for votes."""
    simulation, draw = stage.simulation, stage.draw
    primaries = [host for host in simulation.members if is_mortal(host) and _replicas_of(stage, host.node_id)]
    if not primaries:
        return None
    dying = draw.choice(primaries)
    replicas = _replicas_of(stage, dying.node_id)
    orders = [(draw.choice(replicas), draw.choice(("FORCE", "FORCE", "TAKEOVER")))]
    simulation.crash(dying.index)
    slow = simulation.degrade(delay_ms=draw.uniform(0, 0.3) * stage.node_timeout_ms)

    def order(node: int, event: Event, _now_ms: float) -> None:
        if isinstance(event, ElectionStarted) and node in replicas and orders:
            chosen, how = orders.pop()
            wait_ms = draw.uniform(0, 0.6) * stage.node_timeout_ms
            simulation.after(wait_ms, lambda: _try_failover(stage, chosen, how))

    simulation.on_event(order)

    def repair() -> None:
        orders.clear()
        slow.heal()
        stage.start([dying.index])

    return repair


def _try_failover(stage: Stage, node: int, how: str) -> None:
    with contextlib.suppress(StateError):
        stage.simulation.failover(node, how)


def _replicas_of(stage: Stage, node_id: str) -> list[int]:
    """The replicas of a node that are up and do not hang, as they see themselves."""
    return [
        host.index
        for host in stage.simulation.members
        if stage.is_active(host)
        and host.state.myself.replicaof is not None
        and host.state.myself.replicaof.node_id == node_id
    ]


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
    if node is None or stage.simulation.members[node].config.cluster_observer:
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
    owners = _active_owners(stage)
    if len(owners) < 2:
        return None
    source, target = stage.draw.sample(owners, 2)
    first, last = stage.draw.choice(ranges_of(simulation.state(source).myself.slot_bits))
    with contextlib.suppress(StateError):
        simulation.move_slot(stage.draw.randint(first, last), source, target)
    return lambda: None


def reshard_amid_failures(stage: Stage) -> Undo | None:
    """Slots begin to move, and then the primary at one end dies, or both. Afterwards the operator finishes what can be
    finished, or leaves it.
    """
    simulation, draw = stage.simulation, stage.draw
    owners = [node for node in _active_owners(stage) if is_mortal(simulation.members[node])]
    if len(owners) < 2:
        return None
    source, target = draw.sample(owners, 2)
    ranges = ranges_of(simulation.state(source).myself.slot_bits)
    slots = {draw.randint(*draw.choice(ranges)) for _ in range(MOVED_SLOTS)}
    with contextlib.suppress(StateError):
        for slot in slots:
            simulation.open_move(slot, source, target)
    dying = [node for node in draw.choice(([source], [target], [source, target])) if simulation.is_up(node)]
    for node in dying:
        simulation.crash(node, power=draw.random() < 0.5)
    finishes = draw.random() < 0.6

    def repair() -> None:
        stage.start(dying)
        if finishes:
            for slot in slots:
                with contextlib.suppress(StateError):
                    simulation.finish_move(slot, source, target)

    return repair


def _active_owners(stage: Stage) -> list[int]:
    return [host.index for host in stage.simulation.members if stage.is_active(host) and host.state.myself.slot_bits]


def forget(stage: Stage) -> Undo | None:
    """A node without slots dies and is forgotten by all who can be told. It comes back, and must stay out until an
    operator has it met.
    """
    simulation = stage.simulation
    idle = [
        host.index
        for host in simulation.members
        if is_mortal(host) and stage.is_active(host) and not host.state.myself.slot_bits
    ]
    idle = [node for node in idle if not _replicas_of(stage, simulation.node_id(node))]
    if not idle or not stage.losses_left:
        return None
    stage.losses_left -= 1
    node = stage.draw.choice(idle)
    simulation.crash(node)
    simulation.outsiders.add(node)
    for other in stage.others([node]):
        with contextlib.suppress(StateError):
            simulation.forget(other, simulation.node_id(node))
    return lambda: stage.start([node])
