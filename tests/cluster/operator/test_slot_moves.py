"""Slots that move: SETSLOT, how moves end, how nodes.conf and CLUSTER NODES show them; and RESET (S4, S11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Log, Save, Send
from clusterbus.cluster.events import NodeLeft, RoleChanged, SlotsChanged
from clusterbus.cluster.model.slots import bits_of
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.wire import Extension

from tests.cluster.solo import MYSELF_ID, Puppet, Solo, node_id

Order = Callable[[Solo], object]


class Keys(DataPlane):
    """A data plane with some keys in some slots."""

    def __init__(self, *slots: int) -> None:
        self.slots = list(slots)

    def count_keys_in_slot(self, slot: int) -> int:
        return self.slots.count(slot)

    def count_keys(self) -> int:
        return len(self.slots)


def solo_with(*own: int, **directives: Any) -> Solo:
    solo = Solo(**directives)
    solo.state.add_slots(own, solo.now_ms)
    solo.poll()
    return solo


def keep(solo: Solo, *slots: int) -> None:
    """Puts keys of these slots into this node's data plane."""
    solo.state._core.data_plane = Keys(*slots)


def shard_of(puppet: Puppet) -> Extension:
    return Extension.shard_id_of(puppet.node_id[::-1])


def make_replica(solo: Solo, letter: str, of: Puppet) -> Puppet:
    replica = solo.puppet(letter)
    replica.flags = c.FLAG_REPLICA | c.FLAG_EXTENSIONS
    replica.replicaof = of.node_id
    solo.says(replica, extensions=[shard_of(of)])
    assert solo.node(replica).is_replica
    return replica


REFUSED: list[tuple[Order, str]] = [
    (lambda solo: solo.state.migrate_slot(9, node_id("a"), 0), "I'm not the owner of hash slot 9"),
    (lambda solo: solo.state.migrate_slot(3, node_id("a"), 0), "I'm not the owner of hash slot 3"),
    (lambda solo: solo.state.migrate_slot(7, "zz", 0), "I don't know about node zz"),
    (lambda solo: solo.state.migrate_slot(7, node_id("b"), 0), "Target node is not a master"),
    (lambda solo: solo.state.migrate_slot(16384, node_id("a"), 0), "Invalid or out of range slot"),
    (lambda solo: solo.state.import_slot(7, node_id("a"), 0), "I'm already the owner of hash slot 7"),
    (lambda solo: solo.state.import_slot(3, "zz", 0), "I don't know about node zz"),
    (lambda solo: solo.state.import_slot(3, node_id("b"), 0), "Target node is not a master"),
    (lambda solo: solo.state.settle_slot(-1, 0), "Invalid or out of range slot"),
    (lambda solo: solo.state.assign_slot(7, "zz", 0), "Unknown node zz"),
    (lambda solo: solo.state.assign_slot(7, node_id("b"), 0), "Target node is not a master"),
    (
        lambda solo: solo.state.assign_slot(7, node_id("a"), 0),
        "Can't assign hashslot 7 to a different node while I still hold keys for this hash slot.",
    ),
    (lambda solo: solo.state.flush_slots(0), "DB must be empty to perform CLUSTER FLUSHSLOTS."),
    (lambda solo: solo.state.reset(0), "CLUSTER RESET can't be called with master nodes containing keys"),
]


@pytest.mark.parametrize(("order", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_s11_mistakes_get_valkeys_texts_and_change_nothing(order: Order, text: str) -> None:
    solo = solo_with(7, 8)
    make_replica(solo, "b", of=solo.puppet("a", slots=[3]))
    keep(solo, 7)
    before = solo.state.nodes_conf_text()
    with pytest.raises(StateError) as caught:
        order(solo)
    assert str(caught.value) == text
    assert solo.state.nodes_conf_text() == before


def test_s11_a_replica_refuses_setslot() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[3])
    solo.state.replicate(primary.node_id, solo.now_ms)
    orders: tuple[Callable[[], object], ...] = (
        lambda: solo.state.migrate_slot(3, primary.node_id, solo.now_ms),
        lambda: solo.state.import_slot(3, primary.node_id, solo.now_ms),
        lambda: solo.state.settle_slot(3, solo.now_ms),
        lambda: solo.state.assign_slot(3, primary.node_id, solo.now_ms),
    )
    for order in orders:
        with pytest.raises(StateError, match=r"Please use SETSLOT only with masters\."):
            order()


def test_s4_moves_are_shown_in_our_own_line_by_ascending_slot_and_end_with_stable() -> None:
    solo = solo_with(7, 90)
    a, b = solo.puppet("a", slots=[3]), solo.puppet("b", slots=[80])
    for slot in (90, 7):
        solo.state.migrate_slot(slot, a.node_id, solo.now_ms)
    solo.state.import_slot(80, b.node_id, solo.now_ms)
    assert solo.of(Save, solo.poll()) == [Save(durable=False)]
    moves = f" 7 90 [7->-{a.node_id}] [80-<-{b.node_id}] [90->-{a.node_id}]"
    lines = solo.state.nodes_text().splitlines()
    assert lines[0].endswith("connected" + moves)
    assert not any("[" in line for line in lines[1:])
    assert moves in solo.state.nodes_conf_text()
    for slot in (7, 80, 90):
        solo.state.settle_slot(slot, solo.now_ms)
    assert "[" not in solo.state.nodes_text() + solo.state.nodes_conf_text()


def test_s10_moves_survive_a_restart_also_to_a_node_without_a_line() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3])
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    text = solo.state.nodes_conf_text().replace(f"[3-<-{a.node_id}]", f"[3-<-{node_id('f')}]")
    again = ClusterState(
        config=solo.config,
        random=Random(1),
        now_ms=solo.now_ms,
        read_age_ms=lambda _link: None,
        saved=persist.parse(text),
    )
    migrating, importing = again.migrating_to(7), again.importing_from(3)
    assert migrating is again.find(a.node_id)
    assert importing is not None
    assert importing.node_id == node_id("f")
    assert f"[3-<-{node_id('f')}] [7->-{a.node_id}]" in again.nodes_conf_text()


def test_s4_the_importing_node_that_takes_a_slot_takes_a_new_epoch_and_announces_it() -> None:
    solo = solo_with(7)
    a, b = solo.puppet("a", slots=[3], config_epoch=30), solo.puppet("b", slots=[4], config_epoch=31)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    solo.state.assign_slot(3, MYSELF_ID, solo.now_ms)
    effects = solo.poll()
    assert solo.state.myself.slot_bits == bits_of([3, 7])
    assert (solo.state.myself.config_epoch, solo.state.current_epoch) == (32, 32)
    assert solo.state.importing_from(3) is None
    assert solo.sent(a.dialled, c.PONG)
    assert solo.sent(b.dialled, c.PONG)
    first_sent = next(index for index, effect in enumerate(effects) if isinstance(effect, Send))
    assert Save(durable=True) in effects[:first_sent], "on disk before it is announced"


def test_s4_a_slot_taken_without_an_import_keeps_the_epoch() -> None:
    solo = solo_with(7)
    solo.puppet("a", slots=[3], config_epoch=30)
    solo.state.assign_slot(3, MYSELF_ID, solo.now_ms)
    assert solo.state.myself.config_epoch == 0
    assert solo.state.owner_of(3) is solo.state.myself


def test_s4_a_migration_stays_open_while_keys_are_left() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3])
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    keep(solo, 7)
    solo.state.assign_slot(7, MYSELF_ID, solo.now_ms)
    assert solo.state.migrating_to(7) is solo.node(a)
    keep(solo)
    solo.state.assign_slot(7, MYSELF_ID, solo.now_ms)
    assert solo.state.migrating_to(7) is None


def test_s10_slots_that_we_take_are_synced_together_by_the_next_tick_and_those_that_we_give_are_not() -> None:
    """Valkey syncs neither; to sync each of a thousand would make a reshard wait for the disk a thousand times."""
    solo = solo_with(7, 8)
    a = solo.puppet("a", slots=[3, 4])
    for slot in (3, 4):
        solo.state.assign_slot(slot, MYSELF_ID, solo.now_ms)
        solo.poll()
        assert solo.saves() == [Save(durable=False)]
    solo.tick()
    assert solo.saves() == [Save(durable=True)]
    solo.state.assign_slot(7, a.node_id, solo.now_ms)
    solo.poll()
    assert solo.saves() == [Save(durable=False)]
    solo.tick()
    assert solo.saves() == []


def test_s10_a_durable_save_of_any_rule_is_the_sync_that_a_taken_slot_waits_for() -> None:
    solo = solo_with(7)
    solo.puppet("a", slots=[3], config_epoch=30)
    solo.state.assign_slot(3, MYSELF_ID, solo.now_ms)
    solo.poll()
    solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    assert solo.saves() == [Save(durable=True)]
    solo.tick()
    assert solo.saves() == []


def test_s4_an_import_under_a_new_epoch_is_one_durable_save_and_under_ours_none() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3, 4], config_epoch=30)
    for slot, durable in ((3, True), (4, False)):
        solo.state.import_slot(slot, a.node_id, solo.now_ms)
        solo.poll()
        solo.state.assign_slot(slot, MYSELF_ID, solo.now_ms)
        solo.poll()
        assert solo.saves() == [Save(durable=durable)]


def test_p5_an_import_is_given_up_alone_saved_and_told() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3, 4])
    for slot in (3, 4):
        solo.state.import_slot(slot, a.node_id, solo.now_ms)
    solo.poll()
    solo.state.give_up_import(3, solo.now_ms)
    solo.poll()
    assert solo.saves() == [Save(durable=False)]
    assert any("Slot 3 has keys" in log.text for log in solo.of(Log))
    assert solo.state.importing_from(3) is None
    assert solo.state.importing_from(4) is solo.node(a)
    assert solo.state.owner_of(3) is solo.node(a)
    solo.state.give_up_import(7, solo.now_ms)
    assert solo.poll() == []


def test_s4_an_order_that_changes_nothing_costs_no_save() -> None:
    """`redis-cli --cluster fix` orders anew what is open already, and tells nodes what a heartbeat has told them."""
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3])
    orders: tuple[Callable[[], object], ...] = (
        lambda: solo.state.import_slot(3, a.node_id, solo.now_ms),
        lambda: solo.state.migrate_slot(7, a.node_id, solo.now_ms),
        lambda: solo.state.assign_slot(3, a.node_id, solo.now_ms),
        lambda: solo.state.settle_slot(9, solo.now_ms),
    )
    for order in orders[:2]:
        order()
    solo.poll()
    assert solo.saves() == [Save(durable=False)]
    for order in orders:
        order()
        solo.poll()
        assert solo.saves() == []
    assert solo.state.importing_from(3) is solo.node(a)


def test_s4_giving_a_slot_away_ends_its_migration() -> None:
    solo = solo_with(7, 8)
    a = solo.puppet("a", slots=[3])
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.state.assign_slot(7, a.node_id, solo.now_ms)
    solo.poll()
    assert solo.state.owner_of(7) is solo.node(a)
    assert solo.state.migrating_to(7) is None
    assert SlotsChanged(MYSELF_ID, (), ((7, 7),)) in solo.events(SlotsChanged)


@pytest.mark.parametrize("allowed", [True, False])
def test_s6_a_primary_without_slots_follows_the_taker_of_its_last_one_if_it_may(allowed: bool) -> None:
    solo = solo_with(7, cluster_allow_replica_migration=allowed)
    a = solo.puppet("a", slots=[3])
    solo.state.assign_slot(7, a.node_id, solo.now_ms)
    solo.poll()
    assert solo.state.myself.is_replica == allowed
    assert solo.events(RoleChanged) == ([RoleChanged(MYSELF_ID, "replica", a.node_id)] if allowed else [])


def claim(solo: Solo, puppet: Puppet, slots: Sequence[int], config_epoch: int, shard: Puppet | None = None) -> None:
    puppet.slots, puppet.config_epoch = frozenset(slots), config_epoch
    solo.says(puppet, extensions=[shard_of(shard or puppet)])


def test_s4_a_migration_ends_when_another_shard_claims_the_slot() -> None:
    solo = solo_with(7, 8)
    a = solo.puppet("a", slots=[3])
    for slot in (7, 8):
        solo.state.migrate_slot(slot, a.node_id, solo.now_ms)
    claim(solo, a, [3, 7], 200)
    assert solo.state.migrating_to(7) is None
    assert solo.state.migrating_to(8) is solo.node(a)


def test_s4_an_import_ends_when_a_third_shard_claims_the_slot() -> None:
    solo = solo_with(7)
    a, b = solo.puppet("a", slots=[3]), solo.puppet("b", slots=[4])
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    claim(solo, b, [3, 4], 200)
    assert solo.state.importing_from(3) is None
    assert solo.state.owner_of(3) is solo.node(b)


def test_s4_moves_follow_a_failover_at_their_other_end() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3])
    heir = make_replica(solo, "b", of=a)
    assert solo.node(heir).shard_id == solo.node(a).shard_id
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    heir.flags, heir.replicaof = c.FLAG_PRIMARY | c.FLAG_EXTENSIONS, None
    claim(solo, heir, [3], 200, shard=a)
    assert solo.state.migrating_to(7) is solo.node(heir)
    assert solo.state.importing_from(3) is solo.node(heir)


def test_s4_a_slot_that_the_heir_claims_in_vain_does_not_migrate_to_it() -> None:
    """It holds the slot its own, so nobody knows yet whether it would import it."""
    solo = solo_with(7, 8)
    a = solo.puppet("a", slots=[3])
    heir = make_replica(solo, "b", of=a)
    for slot in (7, 8):
        solo.state.migrate_slot(slot, a.node_id, solo.now_ms)
    solo.state._core.set_config_epoch(solo.state.myself, 300)
    heir.flags, heir.replicaof = c.FLAG_PRIMARY | c.FLAG_EXTENSIONS, None
    claim(solo, heir, [3, 7], 200, shard=a)
    assert solo.state.owner_of(7) is solo.state.myself
    assert solo.state.migrating_to(7) is solo.node(a)
    assert solo.state.migrating_to(8) is solo.node(heir)


@pytest.mark.parametrize("heir_leads_already", [False, True])
def test_p19_slots_and_moves_of_a_deposed_primary_are_its_successors_at_once(heir_leads_already: bool) -> None:
    """The old primary's header comes before the first of its successor that claims the slots."""
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3, 4, 5], config_epoch=30)
    heir = make_replica(solo, "b", of=a)
    a.slots = frozenset({3, 4})
    solo.says(a)
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    if heir_leads_already:
        heir.flags, heir.replicaof = c.FLAG_PRIMARY | c.FLAG_EXTENSIONS, None
        claim(solo, heir, [], 200, shard=a)
    a.flags, a.replicaof, a.config_epoch = c.FLAG_REPLICA | c.FLAG_EXTENSIONS, heir.node_id, 200
    solo.says(a)
    new = solo.node(heir)
    assert new.is_primary
    assert new.config_epoch == 200
    assert new.slot_bits == bits_of([3, 4, 5])
    assert solo.node(a).slot_bits == 0
    assert solo.state._core.slots.not_claimed == bits_of([5]), "nor does the successor claim what the old one left"
    assert solo.state.migrating_to(7) is new
    assert solo.state.importing_from(3) is new
    assert Save(durable=True) in solo.saves()
    assert SlotsChanged(heir.node_id, ((3, 5),), ()) in solo.events(SlotsChanged)


def test_p19_what_a_stale_header_says_moves_nothing() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3], config_epoch=300)
    heir = make_replica(solo, "b", of=a)
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.says(a, flags=c.FLAG_REPLICA, replicaof=heir.node_id, config_epoch=299)
    assert solo.node(a).slot_bits == bits_of([3])
    assert solo.state.migrating_to(7) is solo.node(a)


def test_p25_a_slot_moves_neither_to_nor_from_oneself() -> None:
    solo = solo_with(7)
    for order, slot in ((solo.state.migrate_slot, 7), (solo.state.import_slot, 3)):
        with pytest.raises(StateError, match="Target node is myself"):
            order(slot, MYSELF_ID, solo.now_ms)
    assert solo.state.migrating_to(7) is None
    assert solo.state.importing_from(3) is None
    assert not solo.poll()


def test_s4_an_imported_slot_that_its_source_gives_up_is_ours_with_a_new_epoch() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3, 4], config_epoch=30)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    claim(solo, a, [4], 30)
    assert solo.state.owner_of(3) is solo.state.myself
    assert solo.state.importing_from(3) is None
    assert solo.state.myself.config_epoch == 31


@pytest.mark.parametrize("ours_is_greatest", [False, True])
def test_p15_everybody_is_told_at_once_that_an_import_was_taken_over(ours_is_greatest: bool) -> None:
    solo = solo_with(7)
    a, other = solo.puppet("a", slots=[3, 4], config_epoch=30), solo.puppet("b", config_epoch=20)
    if ours_is_greatest:
        assert solo.state.bump_epoch(solo.now_ms)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    solo.poll()
    claim(solo, a, [4], 30)
    (pong,) = solo.sent(other.dialled, c.PONG)
    assert pong.header is not None
    assert int.from_bytes(pong.header.myslots, "little") == bits_of([3, 7])


def test_s4_added_slots_are_no_longer_imported_and_forgotten_nodes_take_no_part() -> None:
    solo = solo_with(7)
    a = solo.puppet("a", slots=[3])
    solo.state.import_slot(50, a.node_id, solo.now_ms)
    solo.state.import_slot(51, a.node_id, solo.now_ms)
    solo.state.migrate_slot(7, a.node_id, solo.now_ms)
    solo.state.add_slots([50], solo.now_ms)
    assert solo.state.importing_from(50) is None
    solo.state.forget(a.node_id, solo.now_ms)
    assert solo.state.importing_from(51) is None
    assert solo.state.migrating_to(7) is None


@pytest.mark.parametrize("hard", [False, True])
def test_s11_p20_reset_leaves_a_lone_primary_in_a_shard_of_its_own_and_hard_a_new_one(hard: bool) -> None:
    solo = solo_with(7)
    a, b = solo.puppet("a", slots=[3]), solo.puppet("b")
    solo.state.forget(b.node_id, solo.now_ms)
    solo.state.import_slot(3, a.node_id, solo.now_ms)
    solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    epoch, shard = solo.state.current_epoch, solo.state.myself.shard_id
    solo.state.reset(solo.now_ms, hard=hard)
    solo.poll()
    myself = solo.state.myself
    assert list(solo.state.nodes) == [myself]
    assert solo.state.assigned_slots == 0
    assert solo.state.importing_from(3) is None
    assert solo.events(NodeLeft) == [NodeLeft(a.node_id, "reset")]
    assert a.dialled in solo.closed()
    assert Save(durable=True) in solo.saves()
    assert myself.shard_id != shard
    if hard:
        assert myself.node_id != MYSELF_ID
        assert solo.state.find(myself.node_id) is myself
        assert solo.state.find(MYSELF_ID) is None
        assert (myself.config_epoch, solo.state.current_epoch) == (0, 0)
    else:
        assert myself.node_id == MYSELF_ID
        assert (myself.config_epoch, solo.state.current_epoch) == (epoch, epoch)
    assert not solo.state._core.forgotten.has(b.node_id, solo.now_ms), "who was forgotten may come back"
    assert solo.is_alive()


def test_s11_p20_reset_makes_a_replica_a_primary_in_a_shard_of_its_own() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[3])
    solo.state.replicate(primary.node_id, solo.now_ms)
    solo.poll()
    keep(solo, 3)  # a replica may have keys
    solo.state.reset(solo.now_ms)
    solo.poll()
    assert solo.state.myself.is_primary
    assert solo.state.myself.replicaof is None
    assert solo.state.myself.shard_id != primary.node_id[::-1]
    assert solo.events(RoleChanged) == [RoleChanged(MYSELF_ID, "primary", None)]
