"""Our own role: REPLICATE, following the taker of our last slot, following our primary's primary (S4, S5, S6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Save, Send
from clusterbus.cluster.events import RoleChanged
from clusterbus.cluster.model.slots import bits_of
from clusterbus.cluster.operator.persist import parse
from clusterbus.errors import StateError
from clusterbus.wire import Extension

from tests.cluster.shards import make_replica, promoted, replicate, shard_of
from tests.cluster.solo import MYSELF_ID, Solo

# ---------------------------------------------------------------- REPLICATE


def test_s5_a_replica_announces_slots_and_epoch_of_its_primary() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1, 2]), solo.puppet("c", slots=[3])
    solo.state.replicate(primary.node_id, solo.now_ms)
    effects = solo.poll()
    assert solo.events(RoleChanged) == [RoleChanged(MYSELF_ID, "replica", primary.node_id)]
    (pong,) = solo.sent(other.dialled, c.PONG)
    announcement = next(effect for effect in effects if isinstance(effect, Send))
    assert effects.index(Save(durable=True)) < effects.index(announcement), "on disk before it is announced"
    header = pong.header
    assert header is not None
    assert header.replicaof == primary.node_id
    assert header.config_epoch == primary.config_epoch
    assert int.from_bytes(header.myslots, "little") == bits_of([1, 2])
    assert header.flags & c.FLAG_REPLICA
    assert not header.flags & c.FLAG_PRIMARY
    assert solo.state.myself.shard_id == shard_of(primary)
    assert list(solo.node(primary).replicas) == [MYSELF_ID]


def test_s5_s10_a_replica_is_still_one_after_a_restart() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1, 2])
    replicate(solo, primary)
    record = next(record for record in parse(solo.state.nodes_conf_text()).nodes if record.node_id == MYSELF_ID)
    assert record.primary_id == primary.node_id
    assert record.flags & c.FLAG_REPLICA
    assert not record.flags & c.FLAG_PRIMARY
    assert not record.slots
    assert record.config_epoch == primary.config_epoch


def unknown(solo: Solo) -> str:
    return "f" * 40


def itself(solo: Solo) -> str:
    return MYSELF_ID


def a_replica(solo: Solo) -> str:
    return make_replica(solo, "b", solo.puppet("a", slots=[1]).node_id).node_id


def while_it_owns_slots(solo: Solo) -> str:
    solo.state.add_slots([9], solo.now_ms)
    return solo.puppet("a", slots=[1]).node_id


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (unknown, "Unknown node ffff"),
        (itself, "Can't replicate myself"),
        (a_replica, "I can only replicate a master, not a replica."),
        (while_it_owns_slots, "To set a master the node must be empty and without assigned slots."),
    ],
)
def test_s6_replicate_is_refused(target: Callable[[Solo], str], text: str) -> None:
    solo = Solo()
    primary_id = target(solo)
    with pytest.raises(StateError, match=text):
        solo.state.replicate(primary_id, solo.now_ms)
    assert solo.state.myself.is_primary


def test_s6_replicate_again_changes_nothing() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1])
    replicate(solo, primary)
    version = solo.state.version
    solo.state.replicate(primary.node_id, solo.now_ms)
    assert not solo.poll()
    assert solo.state.version == version


def test_s6_a_replica_may_go_to_another_primary() -> None:
    solo = Solo()
    first, second = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    replicate(solo, first)
    replicate(solo, second)
    assert solo.state.myself.replicaof is solo.node(second)
    assert not solo.node(first).replicas
    assert solo.state.myself.shard_id == shard_of(second)


def test_s4_slot_moves_end_when_we_leave_the_shard() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    solo.state.import_slot(2, other.node_id, solo.now_ms)
    replicate(solo, primary)
    assert solo.state.importing_from(2) is None
    solo.state._core.slots.migrating[2] = solo.node(other)
    replicate(solo, other)
    assert solo.state.migrating_to(2) is None


# ---------------------------------------------------------------- the last slot


def test_s5_a_primary_whose_replica_took_its_slots_becomes_its_replica() -> None:
    solo = Solo(cluster_allow_replica_migration=False)
    solo.state.add_slots([1, 2], solo.now_ms)
    taker = make_replica(solo, "b", MYSELF_ID)
    promoted(solo, taker, 500, [1, 2])
    myself = solo.state.myself
    assert myself.replicaof is solo.node(taker)
    assert not myself.is_primary
    assert not myself.slot_bits
    assert Save(durable=True) in solo.saves()


@pytest.mark.parametrize("migrates", [True, False])
def test_s4_a_primary_that_lost_its_last_slot_to_another_shard_follows_if_allowed(migrates: bool) -> None:
    solo = Solo(cluster_allow_replica_migration=migrates)
    solo.state.add_slots([1], solo.now_ms)
    taker = solo.puppet("c", slots=[1, 7], config_epoch=500)
    assert solo.state.myself.is_primary is not migrates
    assert (solo.state.myself.replicaof is solo.node(taker)) is migrates
    assert not solo.state.myself.slot_bits


def test_s4_a_primary_with_a_slot_left_stays_one() -> None:
    solo = Solo()
    solo.state.add_slots([1, 2], solo.now_ms)
    solo.puppet("c", slots=[1], config_epoch=500)
    assert solo.state.myself.is_primary


def test_s4_a_primary_that_never_had_slots_follows_no_node() -> None:
    solo = Solo()
    solo.puppet("c", slots=[1], config_epoch=500)
    assert solo.state.myself.is_primary


def test_s4_own_slots_are_not_lost_to_an_equal_or_lower_epoch() -> None:
    solo = Solo()
    solo.state.add_slots([1], solo.now_ms)
    solo.state.myself.config_epoch = 600
    solo.puppet("c", slots=[1], config_epoch=600)
    solo.puppet("1", slots=[1], config_epoch=599)
    assert solo.state.myself.slot_bits == bits_of([1])
    assert solo.state.myself.is_primary


def test_s5_an_update_about_the_taker_counts_like_its_own_heartbeat() -> None:
    solo = Solo()
    solo.state.add_slots([1], solo.now_ms)
    taker, teller = make_replica(solo, "b", MYSELF_ID), solo.puppet("c", slots=[9])
    solo.updates(teller, taker.node_id, 500, [1])
    assert solo.state.myself.replicaof is solo.node(taker)


def test_s5_a_replica_follows_the_sibling_that_took_its_primarys_slots() -> None:
    solo = Solo(cluster_allow_replica_migration=False)
    primary = solo.puppet("a", slots=[1, 2])
    replicate(solo, primary)
    sibling = make_replica(solo, "b", primary.node_id)
    promoted(solo, sibling, 500, [1, 2])
    assert solo.state.myself.replicaof is solo.node(sibling)
    assert solo.events(RoleChanged)[-1] == RoleChanged(MYSELF_ID, "replica", sibling.node_id)


def test_s4_a_replica_stays_while_its_primary_has_a_slot_left() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1, 2])
    replicate(solo, primary)
    solo.puppet("c", slots=[1], config_epoch=500)
    assert solo.state.myself.replicaof is solo.node(primary)


@pytest.mark.parametrize(("epoch", "follows"), [(500, True), (97, False)])
def test_s4_in_a_shard_without_slots_we_follow_the_newer_primary(epoch: int, follows: bool) -> None:
    solo = Solo()
    primary = solo.puppet("a", config_epoch=97)
    replicate(solo, primary)
    sibling = make_replica(solo, "b", primary.node_id)
    promoted(solo, sibling, epoch, [])
    assert (solo.state.myself.replicaof is solo.node(sibling)) is follows


def test_s4_we_follow_no_newer_primary_of_another_shard_or_with_slots_that_were_not_ours() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", config_epoch=97), solo.puppet("c", slots=[2])
    replicate(solo, primary)
    stranger, sibling = make_replica(solo, "e", other.node_id), make_replica(solo, "b", primary.node_id)
    promoted(solo, stranger, 500, [])
    assert solo.state.myself.replicaof is solo.node(primary)
    promoted(solo, sibling, 501, [9])
    assert solo.state.myself.replicaof is solo.node(primary), "it took none of ours"


def test_s6_a_promoted_replica_should_get_a_replica() -> None:
    solo = Solo()
    sibling = make_replica(solo, "b", solo.puppet("a", slots=[1]).node_id)
    promoted(solo, sibling, 500, [])
    assert solo.node(sibling).flags & c.FLAG_MIGRATE_TO


# ---------------------------------------------------------------- a replica of a replica


def test_s4_a_replica_whose_primary_became_a_replica_follows_that_ones_primary() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    replicate(solo, primary)
    primary.replicaof, primary.flags = other.node_id, c.FLAG_REPLICA
    solo.says(primary, extensions=[Extension.shard_id_of(shard_of(other))])
    assert solo.state.myself.replicaof is solo.node(other)
    assert solo.state.myself.shard_id == shard_of(other)


def test_s4_our_primary_cannot_make_us_our_own_replica() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1])
    replicate(solo, primary)
    primary.replicaof, primary.flags = MYSELF_ID, c.FLAG_REPLICA
    solo.says(primary)
    assert solo.state.myself.replicaof is not solo.state.myself
    assert solo.is_alive()


def test_s4_no_message_of_another_node_makes_us_a_primary() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    replicate(solo, primary)
    solo.updates(other, MYSELF_ID, 500, [1])
    assert solo.state.myself.is_replica
    assert solo.counter("refused_update_subject") == 1
