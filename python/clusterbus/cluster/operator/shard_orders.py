"""Orders that a primary passes on to its replicas: SETSLOT (P27), and to take over before it goes (P29).

Owns their form and what a replica does with them. Between Valkey nodes the replication stream carries such orders; ours
go as MODULE messages under an id of their own, which other servers leave unread, since they have no module of it. A
replica takes them from its own primary alone. Must never change the slots of a primary. Main thread. Source:
`clusterCommandSetSlot` (replication to the shard), `clusterAutoFailoverOnShutdown`.

    data of a SETSLOT: slot, 2 bytes, big-endian | id of the node at the other end, 40 bytes, empty for STABLE
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import SlotOrdered
from clusterbus.cluster.failover import manual_failover
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import StateError
from clusterbus.wire import ModuleMessage

SLOT_LEN_BYTES: Final = 2


class ShardOrder(IntEnum):
    """The kind of an order: the type of its MODULE message."""

    STABLE = 0
    MIGRATING = 1
    IMPORTING = 2
    NODE = 3
    TAKE_OVER = 4


def pass_on_slot(core: Core, order: ShardOrder, slot: int, other: Node | None = None) -> None:
    """An operator's SETSLOT was carried out here: our replicas do the same, and the data plane is told."""
    other_id = other.node_id if other is not None else ""
    core.notify(SlotOrdered(slot, order.name.lower(), other_id or None))
    for replica in core.myself.replicas.values():
        if replica.link is not None:
            data = slot.to_bytes(SLOT_LEN_BYTES, "big") + other_id.encode()
            pubsub.send_module(core, replica.node_id, c.SHARD_ORDERS_MODULE_ID, order, data)


def ask_to_take_over(core: Core, replica: Node) -> None:
    """Asks a replica for a failover as CLUSTER FAILOVER on it would. A server of another kind never answers."""
    pubsub.send_module(core, replica.node_id, c.SHARD_ORDERS_MODULE_ID, ShardOrder.TAKE_OVER, b"")


def receive(core: Core, sender: Node, message: ModuleMessage) -> None:
    """An order came from another node of ours. It is refused unless the sender is our primary and it makes sense."""
    if sender is not core.myself.replicaof:
        core.refuse(Refusal.SHARD_ORDER, sender.node_id, "an order for its replicas, and we are none: ignored")
        return
    try:
        order = ShardOrder(message.module_type)
        if order is ShardOrder.TAKE_OVER:
            _take_over(core, sender)
        else:
            _set_slot(core, order, bytes(message.data))
    except (ValueError, KeyError):
        core.refuse(Refusal.SHARD_ORDER, sender.node_id, f"an order of kind {message.module_type} that makes no sense")


def _set_slot(core: Core, order: ShardOrder, data: bytes) -> None:
    """Raises ValueError or KeyError for bytes that are no order, and for a node that we do not know."""
    slot = int.from_bytes(data[:SLOT_LEN_BYTES], "big")
    other_id = data[SLOT_LEN_BYTES:].decode("ascii")
    if len(data) < SLOT_LEN_BYTES or slot >= c.SLOTS:
        raise ValueError(slot)
    slots = core.slots
    other = core.table.nodes[other_id] if order is not ShardOrder.STABLE else None
    slots.settle(slot)
    if other is not None:
        if order is ShardOrder.MIGRATING:
            slots.migrating[slot] = other
        elif order is ShardOrder.IMPORTING:
            slots.importing[slot] = other
        elif slots.owner_of(slot) is not other and other is not core.myself and other.is_primary:
            core.move_slots(other, 1 << slot)
    core.want_save()
    core.notify(SlotOrdered(slot, order.name.lower(), other_id or None))


def _take_over(core: Core, primary: Node) -> None:
    """Nothing happens while a failover is under way. A refusal is logged now and then, however often we are asked."""
    if core.manual.end_ms is not None:
        return
    try:
        manual_failover.order(core, force=False, takeover=False)
    except StateError as error:
        core.refuse(Refusal.TAKE_OVER, primary.node_id, f"is about to go, but this node does not take over: {error}")
    else:
        core.log("notice", f"Primary {primary.name} is about to go and asked this node to take over.")
