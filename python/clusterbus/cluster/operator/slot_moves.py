"""Slots that move one by one between two primaries, as an operator orders (S4).

Owns CLUSTER SETSLOT with Valkey's error texts, and the end of a move when a node claims or gives up the slot. The moves
are in `SlotMap.migrating` and `.importing`. Must never touch a key: moving keys is the work of the operator or of
redis-cli. Main thread. Source: `clusterParseSetSlotCommand`, `clusterCommandSetSlot`, `clusterUpdateSlotsConfigWith`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import epochs, no_harm, replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import MovingSlots, slots_in
from clusterbus.cluster.operator import shard_orders
from clusterbus.cluster.operator.shard_orders import ShardOrder
from clusterbus.errors import StateError


def migrate(core: Core, slot: int, node_id: str) -> None:
    """SETSLOT MIGRATING: our slot will go to another primary. Clients that want keys we lack are redirected there."""
    _check_slot(core, slot)
    if core.slots.owner_of(slot) is not core.myself:
        raise StateError(f"I'm not the owner of hash slot {slot}")
    target = _other_primary(core, node_id)
    core.log("notice", f"Slot {slot} is migrating to node {target.name}")
    _open(core, core.slots.migrating, slot, target)
    shard_orders.pass_on_slot(core, ShardOrder.MIGRATING, slot, target)


def import_slot(core: Core, slot: int, node_id: str) -> None:
    """SETSLOT IMPORTING: a slot will come to us. Clients that send ASKING are served."""
    _check_slot(core, slot)
    if core.slots.owner_of(slot) is core.myself:
        raise StateError(f"I'm already the owner of hash slot {slot}")
    source = _other_primary(core, node_id)
    core.log("notice", f"Slot {slot} is being imported from node {source.name}")
    _open(core, core.slots.importing, slot, source)
    shard_orders.pass_on_slot(core, ShardOrder.IMPORTING, slot, source)


def _open(core: Core, moves: MovingSlots, slot: int, other: Node) -> None:
    """Notes a move. `redis-cli --cluster fix` orders anew what is open already, and that is not worth a save."""
    if moves.get(slot) is not other:
        moves[slot] = other
        core.want_save()


def settle(core: Core, slot: int) -> None:
    """SETSLOT STABLE: the slot no longer moves, in either direction."""
    _check_slot(core, slot)
    if slot in core.slots.migrating or slot in core.slots.importing:
        core.want_save()
    core.slots.settle(slot)
    core.log("notice", f"Slot {slot} is stable")
    shard_orders.pass_on_slot(core, ShardOrder.STABLE, slot)


def give_up_import(core: Core, slot: int) -> None:
    """Ends an import because this node cannot take the keys. The slot stays with its owner, which has them (P5).

    Otherwise `redis-cli --cluster fix` would order the same move again and again: it only closes a slot that nobody
    imports.
    """
    source = core.slots.importing.pop(slot, None)
    if source is not None:
        core.log("warning", f"Slot {slot} has keys, which cannot be kept here: import from node {source.name} given up")
        core.want_save()
        shard_orders.pass_on_slot(core, ShardOrder.STABLE, slot)


def assign(core: Core, slot: int, node_id: str) -> None:
    """SETSLOT NODE: the slot belongs to that node from now on.

    A node that imports the slot and takes it also takes a new config epoch and announces it at once, so that its claim
    beats that of the former owner. The epoch is on disk before that. A slot that we take under an epoch of ours that is
    on disk already is saved at once and synced with the next tick, together with all others: Valkey does not sync it at
    all, and a reshard would wait for the disk at each slot.
    """
    _check_slot(core, slot)
    node = core.table.find(node_id)
    if node is None:
        raise StateError(f"Unknown node {node_id}")
    _check_is_primary(node)
    myself = core.myself
    owner = core.slots.owner_of(slot)
    keys_left = core.data_plane.count_keys_in_slot(slot)
    if owner is myself and node is not myself and keys_left:
        raise StateError(
            f"Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
        )
    core.log("notice", f"Slot {slot} is assigned to node {node.name}")
    if not keys_left and core.slots.migrating.pop(slot, None) is not None:
        core.want_save()
    shard_orders.pass_on_slot(core, ShardOrder.NODE, slot, node)  # before we may leave our replicas
    if owner is not node:
        core.move_slots(node, 1 << slot, durable=False)
        if node is myself:
            core.want_sync()
        if owner is myself and not myself.slot_bits:
            _lose_last_slot(core, node)
    if node is myself and core.slots.importing.pop(slot, None) is not None:
        core.want_save()
        if epochs.bump(core):  # announces the slot too
            core.log("notice", f"Config epoch raised after slot {slot} was imported")
        else:
            heartbeat.broadcast_pong(core)


def _lose_last_slot(core: Core, taker: Node) -> None:
    """We own no slot now. If cluster-allow-replica-migration permits it, we replicate the node with the last one, but
    never without data one that may have some (P4).
    """
    may_move = core.config.cluster_allow_replica_migration and not core.claims.is_kept
    if may_move and no_harm.may_follow(core, taker):
        core.log("notice", f"My last slot went to node {taker.name}, whose replica I am now")
        replication.replicate(core, taker)
    else:
        core.log("notice", f"My last slot went to node {taker.name}. I am now an empty primary.")


def follow_claims(core: Core, sender: Node, config_epoch: int, claimed: int, gained: int) -> None:
    """Adjusts our moves to the slots that a primary announces. Called before the slots change hands.

    `claimed` are all its slots, `gained` those that it gets now. A move of a gained slot ends. If a failover replaced
    the node at the other end of a move, the move goes on with the new primary.
    """
    _end_moves(core, sender, gained)
    migrating = core.slots.migrating
    for target in migrating.nodes():
        if target is sender or target.shard_id != sender.shard_id:
            continue
        if target.config_epoch < config_epoch or target.is_replica:
            for slot in slots_in(migrating.with_node(target) & ~claimed):
                core.log("notice", f"Slot {slot} is now migrating to node {sender.name}, which took over the shard")
                migrating[slot] = sender
                core.want_save(durable=True)
    if core.myself.is_primary:
        _take_unclaimed(core, sender, claimed)


def follow_failover(core: Core, old: Node, new: Node) -> None:
    """The node at the other end of some of our moves was deposed: they go on with its successor (P19)."""
    for moves, what in ((core.slots.migrating, "migrating to"), (core.slots.importing, "imported from")):
        for slot in slots_in(moves.with_node(old)):
            core.log("notice", f"Slot {slot} is now {what} node {new.name}, which took over the shard")
            moves[slot] = new
            core.want_save(durable=True)


def _end_moves(core: Core, sender: Node, gained: int) -> None:
    slots = core.slots
    if sender.shard_id != core.myself.shard_id:
        for slot in slots_in(slots.migrating.bits & gained):
            core.log("notice", f"Slot {slot} is no longer migrating to node {slots.migrating[slot].name}")
            del slots.migrating[slot]
    for slot in slots_in(slots.importing.bits & gained & ~slots.importing.with_node(sender)):
        source = slots.importing[slot]
        if source.shard_id == sender.shard_id:
            core.log("notice", f"Slot {slot} is now imported from node {sender.name}, which took over the shard")
            slots.importing[slot] = sender
        else:
            core.log("notice", f"Slot {slot} is no longer being imported from node {source.name}")
            del slots.importing[slot]


def _take_unclaimed(core: Core, sender: Node, claimed: int) -> None:
    """The source of an import no longer claims the slot. So we missed the order that made it ours, and take it now.

    Or the slot went elsewhere, and the claim of its owner is on the way: our new epoch would beat it. A node without
    data leaves the slot open for its operator, so that no keys are lost through it (P4).
    """
    importing = core.slots.importing
    if not no_harm.may_take_unasked(core):
        return
    for slot in slots_in(importing.with_node(sender) & ~claimed):
        del importing[slot]
        core.want_save(durable=True)
        if core.slots.owner_of(slot) is not core.myself:
            core.log("notice", f"Slot {slot} was given up by node {sender.name} and is now mine")
            core.move_slots(core.myself, 1 << slot)
            if not epochs.bump(core):
                heartbeat.broadcast_pong(core)


def _check_slot(core: Core, slot: int) -> None:
    if core.myself.is_replica:
        raise StateError("Please use SETSLOT only with masters.")
    if not 0 <= slot < c.SLOTS:
        raise StateError("Invalid or out of range slot")


def _other_primary(core: Core, node_id: str) -> Node:
    node = core.table.find(node_id)
    if node is None:
        raise StateError(f"I don't know about node {node_id}")
    if node is core.myself:  # a slip that would leave the slot open at one end, and hard to see (P25)
        raise StateError("Target node is myself")
    _check_is_primary(node)
    return node


def _check_is_primary(node: Node) -> None:
    if node.is_replica:
        raise StateError("Target node is not a master")
