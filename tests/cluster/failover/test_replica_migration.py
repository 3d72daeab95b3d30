"""Replicas that move to primaries without a replica (S6)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect
from clusterbus.cluster.model.node import Node

from tests.cluster.shards import lives, make_replica, replicate
from tests.cluster.solo import Puppet, Solo


class Cluster:
    """We and "9" replicate "a"; "c" has the replica "b", which is about to fail."""

    def __init__(self, *, sibling: str = "9", **directives: Any) -> None:
        self.solo = Solo(cluster_require_full_coverage=False, **directives)
        self.primary = self.solo.puppet("a", slots=[1, 2])
        self.other = self.solo.puppet("c", slots=[100])
        self.lonely = self.solo.puppet("f", slots=[250])
        replicate(self.solo, self.primary)
        self.sibling = make_replica(self.solo, sibling, self.primary.node_id)
        self.doomed = make_replica(self.solo, "b", self.other.node_id)
        self.living: list[Puppet] = [self.primary, self.other, self.lonely, self.sibling]
        lives(self.solo, [*self.living, self.doomed], 3_000)
        assert self.solo.state.is_ok

    @property
    def my_primary(self) -> Node | None:
        return self.solo.state.myself.replicaof

    def orphan(self) -> None:
        self.solo.fails(self.primary, self.doomed.node_id)

    def live(self, duration_ms: int) -> list[Effect]:
        return lives(self.solo, self.living, duration_ms)


def test_s6_a_replica_to_spare_moves_to_an_orphaned_primary_after_a_while() -> None:
    cluster = Cluster()
    cluster.orphan()
    cluster.live(c.MIGRATION_DELAY_MS)
    assert cluster.my_primary is cluster.solo.node(cluster.primary)
    cluster.live(2_000)
    assert cluster.my_primary is cluster.solo.node(cluster.other)
    assert cluster.solo.state.myself.shard_id == cluster.solo.node(cluster.other).shard_id


@pytest.mark.parametrize(
    "directives",
    [{"cluster_allow_replica_migration": False}, {"cluster_migration_barrier": 2}],
    ids=["forbidden", "barrier"],
)
def test_s6_a_directive_forbids_replica_migration(directives: dict[str, Any]) -> None:
    cluster = Cluster(**directives)
    cluster.orphan()
    cluster.live(10_000)
    assert cluster.my_primary is cluster.solo.node(cluster.primary)


def test_s6_the_candidate_with_the_smallest_id_moves() -> None:
    cluster = Cluster(sibling="1")
    cluster.orphan()
    cluster.live(10_000)
    assert cluster.my_primary is cluster.solo.node(cluster.primary)


def test_s6_a_failed_replica_is_not_a_candidate() -> None:
    cluster = Cluster(sibling="1")
    cluster.living.append(make_replica(cluster.solo, "8", cluster.primary.node_id))
    cluster.living.remove(cluster.sibling)
    cluster.solo.fails(cluster.primary, cluster.sibling.node_id)
    cluster.orphan()
    cluster.live(8_000)
    assert cluster.my_primary is cluster.solo.node(cluster.other)


def test_s6_no_replica_moves_while_the_state_is_fail() -> None:
    cluster = Cluster()
    cluster.orphan()
    cluster.solo.config.update(cluster_require_full_coverage=True)
    cluster.solo.state._core.want_state_update()
    cluster.live(10_000)
    assert not cluster.solo.state.is_ok
    assert cluster.my_primary is cluster.solo.node(cluster.primary)


def test_s6_a_primary_whose_replica_came_back_is_no_orphan() -> None:
    cluster = Cluster(cluster_node_timeout=60_000)
    cluster.orphan()
    cluster.live(4_000)
    lives(cluster.solo, [*cluster.living, cluster.doomed], 1_000)
    assert not cluster.solo.node(cluster.doomed).flags & c.FAILING
    cluster.orphan()
    cluster.live(4_000)
    assert cluster.my_primary is cluster.solo.node(cluster.primary), "the time counts from the second loss"
    cluster.live(3_000)
    assert cluster.my_primary is cluster.solo.node(cluster.other)


@pytest.mark.parametrize("slots", [True, False])
def test_s6_only_primaries_with_slots_get_replicas(slots: bool) -> None:
    """A primary that gets its first slot, where others have replicas, gets a replica. One without slots does not."""
    cluster = Cluster()
    new = cluster.solo.puppet("e", slots=[200] if slots else [])
    cluster.solo.node(new).flags |= c.FLAG_MIGRATE_TO
    lives(cluster.solo, [*cluster.living, new, cluster.doomed], 10_000)
    assert cluster.my_primary is cluster.solo.node(new if slots else cluster.primary)


def test_s6_a_primary_that_never_had_replicas_gets_none() -> None:
    cluster = Cluster()
    assert not cluster.solo.node(cluster.lonely).flags & c.FLAG_MIGRATE_TO
    lives(cluster.solo, [*cluster.living, cluster.doomed], 10_000)
    assert cluster.my_primary is cluster.solo.node(cluster.primary)


def test_s6_where_others_have_replicas_a_primary_should_get_one_with_its_first_slot() -> None:
    cluster = Cluster()
    new = cluster.solo.puppet("e", slots=[200])
    assert cluster.solo.node(new).flags & c.FLAG_MIGRATE_TO


@pytest.mark.parametrize("barrier", [0, 1])
def test_s6_the_only_replica_of_a_primary_stays(barrier: int) -> None:
    cluster = Cluster(cluster_migration_barrier=barrier)
    cluster.solo.state.forget(cluster.sibling.node_id, cluster.solo.now_ms)
    cluster.living.remove(cluster.sibling)
    cluster.orphan()
    cluster.live(10_000)
    assert cluster.my_primary is cluster.solo.node(cluster.primary)


def test_p8_a_replica_that_is_only_suspected_counts_as_working() -> None:
    cluster = Cluster()
    solo = cluster.solo
    cluster.live(10_000)
    assert solo.node(cluster.doomed).is_pfail
    assert cluster.my_primary is solo.node(cluster.primary)
    cluster.orphan()
    cluster.live(c.MIGRATION_DELAY_MS + 2_000)
    assert cluster.my_primary is solo.node(cluster.other)
