"""Which shard a node is of: a replica of its primary's (P18), and never two primaries in one (P21)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Log, Save
from clusterbus.wire import Extension

from tests.cluster.solo import ABILITIES, MYSELF_ID, SHARD, Puppet, Solo, entry, node_id


def gossiped(solo: Solo, letter: str = "b") -> Puppet:
    """A node that we know by gossip alone, so that its shard is not known. It has just dialled us."""
    teller = solo.puppet("a", slots=[9])
    puppet = Puppet(node_id(letter), "10.0.1.9", 7009, 0, 0, config_epoch=500, slots=frozenset({1}))
    solo.gossips(teller, entry(puppet))
    puppet.inbound = solo.accept(puppet.ip)
    return puppet


@pytest.mark.parametrize("migration", [True, False])
def test_p21_a_primary_of_our_shard_is_known_as_such_before_its_claims_count(migration: bool) -> None:
    """The first packet of a primary that was elected while we were away. Upstream we would now be two in one shard."""
    solo = Solo(cluster_allow_replica_migration=migration)
    solo.state.add_slots([1], solo.now_ms)
    newer = gossiped(solo)
    solo.says(newer, extensions=[Extension.shard_id_of(solo.state.myself.shard_id)])
    assert solo.state.myself.replicaof is solo.node(newer)
    assert solo.node(newer).slot_bits == 1 << 1
    assert not [log.text for log in solo.of(Log) if "empty primary" in log.text], "not even for a moment"


@pytest.mark.parametrize("told", [True, False], ids=["with-its-claims", "later"])
def test_p21_a_replica_of_the_older_primary_follows_too(told: bool) -> None:
    """Its primary may be dead, and could never show it the way."""
    solo = Solo(cluster_allow_replica_migration=False)
    older = solo.puppet("d", slots=[1], config_epoch=5)
    solo.state.replicate(older.node_id, solo.now_ms)
    newer = gossiped(solo)
    shard = [Extension.shard_id_of(solo.state.myself.shard_id)]
    solo.says(newer, extensions=shard if told else [])
    if not told:
        assert solo.state.myself.replicaof is solo.node(older)
        solo.says(newer, extensions=shard)
    assert solo.state.myself.replicaof is solo.node(newer)


def test_p21_a_primary_whose_shard_comes_to_light_after_its_claims_is_followed_then() -> None:
    solo = Solo(cluster_allow_replica_migration=False)
    solo.state.add_slots([1], solo.now_ms)
    newer = gossiped(solo)
    solo.says(newer, extensions=[])
    assert solo.state.myself.is_primary, "it may be of another shard"
    assert not solo.state.myself.slot_bits
    solo.says(newer, extensions=[Extension.shard_id_of(solo.state.myself.shard_id)])
    assert solo.state.myself.replicaof is solo.node(newer)


def test_p21_so_is_one_that_an_update_told_us_about() -> None:
    solo = Solo(cluster_allow_replica_migration=False)
    solo.state.add_slots([1], solo.now_ms)
    newer = gossiped(solo)
    teller = Puppet(node_id("a"), "10.0.1.1", 7001, 0, 0)
    link = solo.node(teller).inbound_link
    assert link is not None
    teller.inbound = link.link_id
    solo.updates(teller, newer.node_id, 500, [1])
    assert solo.state.myself.is_primary
    solo.says(newer, extensions=[Extension.shard_id_of(solo.state.myself.shard_id)])
    assert solo.state.myself.replicaof is solo.node(newer)


def test_p21_of_two_primaries_that_are_in_one_shard_already_the_older_gives_way_within_a_second() -> None:
    solo = Solo()
    newer = solo.puppet("a", slots=[1], config_epoch=500)
    other = solo.puppet("b", slots=[2], config_epoch=600)
    shard = [Extension.shard_id_of(solo.state.myself.shard_id)]
    solo.state.add_slots([5], solo.now_ms)
    for puppet in (newer, other):
        solo.says(puppet, extensions=shard)
        solo.says(puppet, c.PONG, extensions=shard)
    solo.ticks(1_000)
    assert solo.state.myself.is_primary, "with slots it stays, for nobody else would serve them"
    solo.state.del_slots([5], solo.now_ms)
    solo.ticks(1_000)
    assert solo.state.myself.replicaof is solo.node(other)


@pytest.mark.parametrize("why", ["another shard", "an older epoch", "no shard told", "it is failing"])
def test_p21_no_primary_gives_way_without_need(why: str) -> None:
    solo = Solo()
    epoch = 0 if why == "an older epoch" else 500
    other = solo.puppet("a", slots=[1], config_epoch=epoch)
    teller = solo.puppet("b", slots=[2], config_epoch=epoch)
    if why == "it is failing":
        solo.fails(teller, other.node_id)
    if why == "no shard told":
        solo.node(other).sends_shard_id = False
        solo.node(other).shard_id = solo.state.myself.shard_id
    elif why != "another shard":
        solo.says(other, extensions=[Extension.shard_id_of(solo.state.myself.shard_id)])
    solo.ticks(1_000)
    assert solo.state.myself.is_primary


def test_p21_a_replica_of_a_primary_with_slots_stays() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1], config_epoch=5)
    solo.state.replicate(primary.node_id, solo.now_ms)
    other = solo.puppet("b", slots=[2], config_epoch=500)
    solo.says(other, extensions=[Extension.shard_id_of(solo.state.myself.shard_id)])
    solo.ticks(1_000)
    assert solo.state.myself.replicaof is solo.node(primary)


def test_p18_a_replica_that_says_another_shard_than_its_primarys_is_refused_once() -> None:
    solo = Solo()
    primary, replica = solo.puppet("a", slots=[1]), solo.puppet("b")
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA | ABILITIES
    for _ in range(3):
        solo.says(replica, extensions=[Extension.shard_id_of(SHARD)])
        assert solo.node(replica).shard_id == solo.node(primary).shard_id == primary.node_id[::-1]
    assert solo.counter("refused_shard_id") == 1
    solo.says(replica, extensions=[Extension.shard_id_of(MYSELF_ID)])
    assert solo.counter("refused_shard_id") == 2


def test_p18_while_the_shard_of_the_primary_is_not_known_nobody_is_refused_and_all_follow_it_later() -> None:
    solo = Solo()
    replica, primary = solo.puppet("b"), gossiped(solo, "c")
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA | ABILITIES
    solo.says(replica, extensions=[Extension.shard_id_of(SHARD)])
    solo.state.replicate(primary.node_id, solo.now_ms)
    solo.poll()
    assert solo.counter("refused_shard_id") == 0
    solo.says(primary, extensions=[Extension.shard_id_of(SHARD)])
    assert {solo.node(one).shard_id for one in (replica, primary, MYSELF_ID)} == {SHARD}
    assert [save.durable for save in solo.saves()] == [True]


def test_p18_a_primary_that_died_before_it_told_its_shard_tells_it_its_successor() -> None:
    """Found on a busy machine: the old primary came back, lost its slots to one of another shard, and stayed empty."""
    solo = Solo(cluster_replica_no_failover=False)
    old = gossiped(solo)
    solo.says(old, extensions=[])
    solo.state.replicate(old.node_id, solo.now_ms)
    made_up = solo.state.myself.shard_id
    solo.state.failover(solo.now_ms, takeover=True)
    assert solo.state.myself.slot_bits == 1 << 1
    assert solo.state.myself.shard_id == made_up
    solo.poll()
    solo.says(old, extensions=[Extension.shard_id_of(SHARD)])
    assert solo.node(old).shard_id == SHARD
    assert solo.state.myself.shard_id == SHARD
    assert [save for save in solo.of(Save) if save.durable]
    solo.says(old, extensions=[Extension.shard_id_of("1" * 40)])
    assert solo.state.myself.shard_id == SHARD, "what it says later is its own affair"
