"""Orders of operators, and Valkey's error texts for wrong ones (S1, S4, S9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Save
from clusterbus.cluster.events import DataDropped, RoleChanged, SlotsChanged
from clusterbus.cluster.model.slots import bits_of
from clusterbus.errors import StateError

from tests.cluster.solo import MYSELF_ID, Solo, node_id

Order = Callable[[Solo], object]

REFUSED: list[tuple[Order, str]] = [
    (lambda solo: solo.state.add_slots([7], 0), "Slot 7 is already busy"),
    (lambda solo: solo.state.add_slots([3], 0), "Slot 3 is already busy"),
    (lambda solo: solo.state.add_slots([9, 9], 0), "Slot 9 specified multiple times"),
    (lambda solo: solo.state.add_slots([16384], 0), "Invalid or out of range slot"),
    (lambda solo: solo.state.add_slots([-1], 0), "Invalid or out of range slot"),
    (lambda solo: solo.state.del_slots([9], 0), "Slot 9 is already unassigned"),
    (lambda solo: solo.state.del_slots([7, 7], 0), "Slot 7 specified multiple times"),
    (lambda solo: solo.state.forget("xx", 0), "Unknown node xx"),
    (lambda solo: solo.state.forget(MYSELF_ID, 0), "I tried hard but I can't forget myself..."),
    (lambda solo: solo.state.count_failure_reports("zz", 0), "Unknown node zz"),
    (
        lambda solo: solo.state.set_config_epoch(5, 0),
        "The user can assign a config epoch only when the node does not know any other node.",
    ),
    (lambda solo: solo.state.set_config_epoch(-5, 0), "Invalid config epoch specified: -5"),
    (lambda solo: solo.state.meet("foo", 1, None, 0), "Invalid node address specified: foo:1"),
    (lambda solo: solo.state.meet("127.0.0.1", 70000, None, 0), "Port number is out of range"),
    (lambda solo: solo.state.meet("127.0.0.1", 60000, None, 0), "Cluster bus port number is out of range"),
    (lambda solo: solo.state.meet("127.0.0.1", 7000, 0, 0), "Cluster bus port number is out of range"),
]


@pytest.mark.parametrize(("order", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_s11_mistakes_get_valkeys_texts_and_change_nothing(order: Order, text: str) -> None:
    solo = Solo()
    solo.puppet("a", slots=[3])
    solo.state.add_slots([7], solo.now_ms)
    before = solo.state.nodes_text()
    with pytest.raises(StateError) as caught:
        order(solo)
    assert str(caught.value) == text
    assert solo.state.nodes_text() == before


def test_s4_add_and_del_slots() -> None:
    solo = Solo()
    solo.state.add_slots([1, 2, 3, 10], solo.now_ms)
    solo.poll()
    assert solo.state.myself.slot_bits == bits_of([1, 2, 3, 10])
    assert solo.events(SlotsChanged) == [SlotsChanged(MYSELF_ID, ((1, 3), (10, 10)), ())]
    assert solo.saves()
    solo.state.del_slots([2], solo.now_ms)
    solo.poll()
    assert solo.events(SlotsChanged) == [SlotsChanged(MYSELF_ID, (), ((2, 2),))]
    solo.state.flush_slots(solo.now_ms)
    assert solo.state.assigned_slots == 0


def test_s4_del_slots_of_another_node_leaves_them_unassigned_here() -> None:
    solo = Solo()
    solo.puppet("a", slots=[3, 4])
    solo.state.del_slots([3], solo.now_ms)
    assert solo.state.owner_of(3) is None
    assert solo.state.owner_of(4) is solo.node(node_id("a"))


def test_s4_set_config_epoch_of_a_new_node_once() -> None:
    solo = Solo()
    solo.state.set_config_epoch(5, solo.now_ms)
    solo.poll()
    assert (solo.state.myself.config_epoch, solo.state.current_epoch) == (5, 5)
    assert solo.saves()
    with pytest.raises(StateError, match="Node config epoch is already non-zero"):
        solo.state.set_config_epoch(6, solo.now_ms)


def test_s4_bump_epoch_when_ours_is_not_the_greatest() -> None:
    solo = Solo()
    solo.puppet("a", config_epoch=30)
    assert solo.state.bump_epoch(solo.now_ms)
    assert Save(durable=True) in solo.poll()
    assert (solo.state.myself.config_epoch, solo.state.current_epoch) == (31, 31)
    assert not solo.state.bump_epoch(solo.now_ms)
    assert solo.state.myself.config_epoch == 31


@pytest.mark.parametrize(
    ("ip", "cport", "dialled"),
    [
        ("10.0.0.1", None, ("10.0.0.1", 17000)),
        ("10.0.0.1", 9000, ("10.0.0.1", 9000)),
        ("0:0:0:0:0:0:0:1", None, ("::1", 17000)),
    ],
)
def test_s1_meet_takes_an_ip_in_any_form_and_a_bus_port(ip: str, cport: int | None, dialled: tuple[str, int]) -> None:
    solo = Solo()
    solo.state.meet(ip, 7000, cport, solo.now_ms)
    dial = solo.only(Dial, solo.tick())
    assert (dial.ip, dial.cport) == dialled


def test_s9_forget_of_a_node_that_a_peer_had_us_forget_succeeds() -> None:
    solo = Solo()
    solo.puppet("a")
    solo.state.forget(node_id("a"), solo.now_ms)
    solo.state.forget(node_id("a"), solo.now_ms)
    with pytest.raises(StateError):
        solo.state.forget(node_id("a"), solo.now_ms + c.FORGET_TTL_MS + 1)


def test_p28_replicate_no_one_makes_a_replica_an_empty_primary_of_a_new_shard() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1]), solo.puppet("b")
    solo.state.replicate(primary.node_id, solo.now_ms)
    shard_id = solo.state.myself.shard_id
    solo.poll()
    solo.state.replicate_no_one(solo.now_ms)
    solo.poll()
    myself = solo.state.myself
    assert myself.is_primary
    assert myself.replicaof is None
    assert not myself.slot_bits
    assert myself.shard_id not in (shard_id, solo.node(primary).shard_id)
    assert solo.node(primary).slot_bits == 1 << 1
    assert solo.events(RoleChanged) == [RoleChanged(myself.node_id, "primary", None)]
    assert solo.events(DataDropped) == [DataDropped()]
    (told,) = solo.sent(other.dialled, c.PONG)
    assert told.header is not None
    assert told.header.replicaof is None
    assert Save(durable=True) in solo.saves()


def test_p28_replicate_no_one_changes_nothing_on_a_primary() -> None:
    solo = Solo()
    solo.state.add_slots([1], solo.now_ms)
    solo.poll()
    solo.state.replicate_no_one(solo.now_ms)
    assert not solo.poll()


@pytest.mark.parametrize("was_replica", [False, True])
def test_p28_reset_drops_the_data_of_a_replica(was_replica: bool) -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1])
    if was_replica:
        solo.state.replicate(primary.node_id, solo.now_ms)
        solo.poll()
    solo.state.reset(solo.now_ms)
    solo.poll()
    assert bool(solo.events(DataDropped)) is was_replica
