"""What a primary passes on to its replicas: SETSLOT (P27), and to take over before it goes (P29)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Effect, Log, Refuse
from clusterbus.cluster.events import HandoverEnded, SlotOrdered, WritesResumed
from clusterbus.cluster.operator.shard_orders import ShardOrder
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.wire import ModuleMessage

from tests.cluster.shards import lives, make_replica, promoted, replicate, sends
from tests.cluster.solo import MYSELF_ID, Puppet, Solo

SLOTS = [7, 8]


def orders_in(effects: list[Effect]) -> list[tuple[int, bytes]]:
    """(kind, data) of the orders that are sent."""
    messages = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [
        (message.module_type, bytes(message.data))
        for message in messages
        if isinstance(message, ModuleMessage) and message.module_id == c.SHARD_ORDERS_MODULE_ID
    ]


class Primary:
    """We own SLOTS and "b" replicates us. "a" owns slot 3."""

    def __init__(self) -> None:
        self.solo = Solo()
        self.solo.state.add_slots(SLOTS, self.solo.now_ms)
        self.other = self.solo.puppet("a", slots=[3])
        self.replica = make_replica(self.solo, "b", MYSELF_ID, offset=1)


class Replica:
    """We replicate "a", which owns SLOTS; "c" owns slot 3."""

    def __init__(self, **directives: Any) -> None:
        self.solo = Solo(**directives)
        self.primary = self.solo.puppet("a", slots=SLOTS)
        self.other = self.solo.puppet("c", slots=[3])
        replicate(self.solo, self.primary)

    def orders(self, order: int, data: bytes, sender: Puppet | None = None) -> list[Effect]:
        puppet = sender or self.primary
        header = self.solo.header(puppet, mflags=0)
        return self.solo.receive(puppet.inbound, ModuleMessage(header, c.SHARD_ORDERS_MODULE_ID, order, data))

    def set_slot(self, order: ShardOrder, slot: int, other: Puppet | None = None) -> list[Effect]:
        return self.orders(order, slot.to_bytes(2, "big") + (other.node_id.encode() if other else b""))


# ---------------------------------------------------------------- SETSLOT


def test_each_setslot_goes_to_the_replicas_and_to_the_data_plane_p27() -> None:
    primary = Primary()
    state, now_ms, other_id = primary.solo.state, primary.solo.now_ms, primary.other.node_id
    told = []
    orders: tuple[Callable[[], object], ...] = (
        lambda: state.migrate_slot(7, other_id, now_ms),
        lambda: state.settle_slot(7, now_ms),
        lambda: state.import_slot(3, other_id, now_ms),
        lambda: state.assign_slot(3, MYSELF_ID, now_ms),
    )
    for order in orders:
        order()
        (sent,) = orders_in(primary.solo.poll())
        (event,) = primary.solo.events(SlotOrdered)
        told.append((sent, (event.slot, event.order, event.node_id)))
    assert told == [
        ((ShardOrder.MIGRATING, b"\0\7" + other_id.encode()), (7, "migrating", other_id)),
        ((ShardOrder.STABLE, b"\0\7"), (7, "stable", None)),
        ((ShardOrder.IMPORTING, b"\0\3" + other_id.encode()), (3, "importing", other_id)),
        ((ShardOrder.NODE, b"\0\3" + MYSELF_ID.encode()), (3, "node", MYSELF_ID)),
    ]


def test_a_replica_does_what_its_primary_was_ordered_and_keeps_it_when_promoted_p27() -> None:
    replica = Replica()
    state, other = replica.solo.state, replica.solo.node(replica.other)
    replica.set_slot(ShardOrder.MIGRATING, 7, replica.other)
    assert replica.solo.events(SlotOrdered) == [SlotOrdered(7, "migrating", replica.other.node_id)]
    replica.set_slot(ShardOrder.IMPORTING, 3, replica.other)
    assert (state.migrating_to(7), state.importing_from(3)) == (other, other)
    state.failover(replica.solo.now_ms, takeover=True)
    replica.solo.poll()
    assert state.myself.is_primary
    assert (state.migrating_to(7), state.importing_from(3)) == (other, other)
    assert state.owner_of(7) is state.myself


@pytest.mark.parametrize("taker", ["primary", "other"])
def test_a_replica_promoted_just_after_setslot_node_keeps_the_owner_p27(taker: str) -> None:
    replica = Replica()
    state = replica.solo.state
    slot, owner = (3, replica.primary) if taker == "primary" else (7, replica.other)
    replica.set_slot(ShardOrder.MIGRATING, 7, replica.other)
    replica.set_slot(ShardOrder.NODE, slot, owner)
    state.failover(replica.solo.now_ms, takeover=True)
    replica.solo.poll()
    expected = state.myself if taker == "primary" else replica.solo.node(replica.other)
    assert state.owner_of(slot) is expected
    assert (state.migrating_to(7) is None) is (taker == "other")


def test_stable_ends_a_move_on_the_replica_p27() -> None:
    replica = Replica()
    replica.set_slot(ShardOrder.MIGRATING, 7, replica.other)
    replica.set_slot(ShardOrder.STABLE, 7)
    assert replica.solo.state.migrating_to(7) is None


def test_only_our_primary_gives_orders_p27() -> None:
    replica = Replica()
    effects = replica.orders(ShardOrder.MIGRATING, b"\0\7" + replica.other.node_id.encode(), replica.other)
    assert replica.solo.of(Refuse, effects)
    assert replica.solo.state.migrating_to(7) is None
    primary = Primary()
    header = primary.solo.header(primary.replica, mflags=0)
    effects = primary.solo.receive(
        primary.replica.inbound, ModuleMessage(header, c.SHARD_ORDERS_MODULE_ID, ShardOrder.STABLE, b"\0\7")
    )
    assert primary.solo.of(Refuse, effects)


@pytest.mark.parametrize(
    ("order", "data"),
    [
        (ShardOrder.MIGRATING, b""),
        (ShardOrder.MIGRATING, b"\0"),
        (ShardOrder.MIGRATING, b"\x40\0" + b"c" * 40),
        (ShardOrder.MIGRATING, b"\0\7" + b"d" * 40),
        (ShardOrder.NODE, b"\0\3" + b"d" * 40),
        (ShardOrder.NODE, b"\0\7\xff\xff"),
        (99, b"\0\7"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing_p27(order: int, data: bytes) -> None:
    replica = Replica()
    replica.set_slot(ShardOrder.IMPORTING, 3, replica.other)
    before = replica.solo.state.nodes_conf_text()
    effects = replica.orders(order, data)
    assert replica.solo.of(Refuse, effects)
    assert replica.solo.state.nodes_conf_text() == before


def test_users_cannot_send_orders_by_accident() -> None:
    primary = Primary()
    for module_id in c.OWN_MODULE_IDS:
        with pytest.raises(StateError, match="clusterbus nodes use among themselves"):
            primary.solo.state.send_module(None, module_id, 1, b"", primary.solo.now_ms)


# ---------------------------------------------------------------- before it goes


class Offset(DataPlane):
    def replication_offset(self) -> int:
        return 50


def test_a_primary_asks_the_replica_with_the_most_data_p29() -> None:
    primary = Primary()
    solo = primary.solo
    best = make_replica(solo, "d", MYSELF_ID, offset=90)
    make_replica(solo, "e", MYSELF_ID, offset=99, flags=c.FLAG_NOFAILOVER)
    assert solo.state.hand_over(10_000, solo.now_ms)
    effects = solo.poll()
    assert orders_in(effects) == [(ShardOrder.TAKE_OVER, b"")]
    (sent,) = [effect for effect in effects if isinstance(effect, Broadcast)]
    assert sent.links == (best.dialled,)


def test_there_is_nothing_to_hand_over_without_slots_or_replicas_p29() -> None:
    solo = Solo()
    assert not solo.state.hand_over(10_000, solo.now_ms)
    solo.state.add_slots(SLOTS, solo.now_ms)
    assert not solo.state.hand_over(10_000, solo.now_ms)


def test_the_replica_that_is_asked_begins_a_failover_p29() -> None:
    replica = Replica()
    replica.solo.state._core.data_plane = Offset()
    replica.orders(ShardOrder.TAKE_OVER, b"")
    assert len(replica.solo.sent(replica.primary.dialled, c.MFSTART)) == 1


def test_an_empty_replica_does_not_take_over_p29_p2() -> None:
    replica = Replica(cluster_replica_no_failover="if-empty")
    replica.orders(ShardOrder.TAKE_OVER, b"")
    assert not replica.solo.sent(replica.primary.dialled, c.MFSTART)
    assert replica.solo.state.myself.is_replica


def test_the_wait_ends_when_the_replica_has_taken_over_p29() -> None:
    primary = Primary()
    solo = primary.solo
    assert solo.state.hand_over(10_000, solo.now_ms)
    sends(solo, primary.replica, c.MFSTART)
    lives(solo, [primary.other, primary.replica], 1_000)
    assert not solo.events(HandoverEnded)
    promoted(solo, primary.replica, 500, SLOTS)
    assert solo.state.myself.is_replica
    solo.effects = lives(solo, [primary.other, primary.replica], 100)
    assert solo.events(HandoverEnded) == [HandoverEnded(True)]


@pytest.mark.parametrize(("answers", "limit_ms"), [(False, c.HANDOVER_ANSWER_MS), (True, 4_000)])
def test_the_wait_ends_when_the_replica_does_not_begin_or_not_finish_p29(answers: bool, limit_ms: int) -> None:
    primary = Primary()
    solo = primary.solo
    assert solo.state.hand_over(4_000, solo.now_ms)
    if answers:
        sends(solo, primary.replica, c.MFSTART)
    begun_ms = solo.now_ms
    while not solo.events(HandoverEnded):
        lives(solo, [primary.other, primary.replica], 100)
        assert solo.now_ms - begun_ms <= limit_ms + 200
    assert solo.now_ms - begun_ms > limit_ms
    assert solo.events(HandoverEnded) == [HandoverEnded(False)]


def test_a_primary_that_stays_after_all_writes_again_p29() -> None:
    primary = Primary()
    solo = primary.solo
    assert solo.state.hand_over(4_000, solo.now_ms)
    sends(solo, primary.replica, c.MFSTART)
    solo.state.keep_slots(solo.now_ms)
    solo.poll()
    assert solo.events(WritesResumed)
    solo.effects = lives(solo, [primary.other, primary.replica], 6_000)
    assert not solo.events(HandoverEnded)


@pytest.mark.parametrize("word", ["if-empty", "no"])
def test_a_primary_that_asks_again_and_again_fills_no_log_p29(word: str) -> None:
    replica = Replica(cluster_replica_no_failover=word)
    first = replica.orders(ShardOrder.TAKE_OVER, b"")
    assert bool(replica.solo.of(Refuse, first)) == (word == "if-empty")
    again = replica.orders(ShardOrder.TAKE_OVER, b"")
    assert not replica.solo.of(Log, again)
    assert not replica.solo.sent(replica.primary.dialled, c.MFSTART)
