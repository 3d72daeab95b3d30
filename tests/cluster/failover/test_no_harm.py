"""A node without data among nodes with data: it is never elected, never moved, and says of itself what is true (P1-P4).

Every test here leaves `cluster-replica-no-failover` at its default unless it is about the directive.
"""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Log
from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError

from tests.cluster.shards import lives, make_replica, promoted, replicate, requests
from tests.cluster.solo import Solo

SLOTS = [100, 101]
NODE_TIMEOUT_MS = 2_000
DEFAULT = "if-empty"


class Plane(DataPlane):
    """A data plane that tells an offset."""

    def __init__(self, offset: int | None) -> None:
        self.offset = offset

    def replication_offset(self) -> int | None:
        return self.offset


class Shard:
    """We replicate "a", which owns SLOTS and announces `offset`. "c" and "d" own one slot each."""

    def __init__(self, *, offset: int = 0, plane: int | None = None, **directives: Any) -> None:
        self.solo = Solo(**({"cluster_replica_no_failover": DEFAULT} | directives))
        self.solo.state._core.data_plane = Plane(plane)
        self.primary = self.solo.puppet("a", slots=SLOTS)
        self.voters = [self.solo.puppet(letter, slots=[200 + number]) for number, letter in enumerate("cd")]
        replicate(self.solo, self.primary)
        self.primary_says(offset)
        self.solo.tick()

    def primary_says(self, offset: int) -> None:
        self.solo.says(self.primary, offset=offset)

    def fail(self, wait_ms: int = 10 * NODE_TIMEOUT_MS) -> list[Effect]:
        effects = self.solo.fails(self.voters[0], self.primary.node_id)
        return effects + lives(self.solo, self.voters, wait_ms)

    @property
    def stands_back(self) -> bool:
        return bool(self.solo.state.myself.flags & c.FLAG_NOFAILOVER)


def test_the_default_of_cluster_replica_no_failover_is_if_empty_p2() -> None:
    assert Config().cluster_replica_no_failover == DEFAULT


@pytest.mark.parametrize("offset", [0, 1, 2, 10**9])
def test_a_replica_without_data_is_never_elected_whatever_the_offsets_p1(offset: int) -> None:
    shard = Shard(offset=offset)
    assert shard.stands_back
    effects = shard.fail()
    assert shard.solo.node(shard.primary).is_failed
    assert not requests(effects)
    assert any("this replica is empty" in effect.text for effect in effects if isinstance(effect, Log))
    assert shard.solo.state.repl_offset == 0


def test_it_announces_offset_0_and_the_no_failover_flag_p1() -> None:
    shard = Shard(offset=77)
    shard.solo.says(shard.primary, offset=77)
    (pong,) = shard.solo.sent(shard.primary.inbound, c.PONG)
    assert pong.header is not None
    assert pong.header.offset == 0
    assert pong.header.flags & c.FLAG_NOFAILOVER


def test_the_first_word_of_its_new_role_says_that_it_stands_back_p1() -> None:
    solo = Solo(cluster_replica_no_failover=DEFAULT)
    primary = solo.puppet("a", slots=SLOTS)
    solo.state.replicate(primary.node_id, solo.now_ms)
    solo.poll()
    (pong,) = solo.sent(primary.dialled, c.PONG)
    assert pong.header is not None
    assert pong.header.flags & c.FLAG_REPLICA
    assert pong.header.flags & c.FLAG_NOFAILOVER


@pytest.mark.parametrize("plane", [0, 5])
def test_if_empty_lets_a_replica_be_elected_from_its_first_byte_of_data_p2(plane: int) -> None:
    shard = Shard(offset=5, plane=plane)
    assert shard.stands_back == (plane == 0)
    assert bool(requests(shard.fail())) == (plane > 0)


@pytest.mark.parametrize(("offset", "elected"), [(0, True), (1, True), (2, False)])
def test_an_explicit_no_lets_an_empty_replica_be_elected_in_a_shard_of_empty_nodes_p2(
    offset: int, elected: bool
) -> None:
    shard = Shard(offset=offset, cluster_replica_no_failover="no")
    assert shard.stands_back != elected
    assert shard.solo.state.repl_offset == (1 if elected else 0)
    assert bool(requests(shard.fail())) == elected


def test_an_empty_replica_that_has_not_heard_its_primary_does_not_know_what_it_holds_p2() -> None:
    shard = Shard(cluster_replica_no_failover="no")
    shard.solo.node(shard.primary).has_told_offset = False  # as after our restart, with the primary down
    assert not requests(shard.fail())
    with pytest.raises(StateError, match="has not told its offset yet"):
        shard.solo.state.failover(shard.solo.now_ms, takeover=True)


def test_yes_forbids_it_with_data_too_p2() -> None:
    shard = Shard(offset=5, plane=5, cluster_replica_no_failover="yes")
    assert shard.stands_back
    assert not requests(shard.fail())


def test_without_data_and_slots_a_primary_announces_0_and_by_explicit_order_1_p2() -> None:
    for word, offset in ((DEFAULT, 0), ("yes", 0), ("no", 1)):
        solo = Solo(cluster_replica_no_failover=word)
        solo.tick()
        assert solo.state.repl_offset == offset


HOW: tuple[dict[str, bool], ...] = ({}, {"force": True}, {"takeover": True})


@pytest.mark.parametrize("how", HOW, ids=["plain", "force", "takeover"])
@pytest.mark.parametrize(("offset", "word"), [(0, DEFAULT), (7, DEFAULT), (7, "no"), (0, "yes")])
def test_an_order_to_take_over_is_refused_with_what_would_be_lost_p2(
    how: dict[str, bool], offset: int, word: str
) -> None:
    shard = Shard(offset=offset, cluster_replica_no_failover=word)
    before = shard.solo.state.nodes_conf_text()
    with pytest.raises(StateError, match=r"keys in the 2 slots of its primary a{40} would be lost"):
        shard.solo.state.failover(shard.solo.now_ms, **how)
    assert shard.solo.state.nodes_conf_text() == before
    assert not requests(lives(shard.solo, [shard.primary, *shard.voters], NODE_TIMEOUT_MS))


def test_an_order_is_obeyed_in_a_shard_of_empty_nodes_p2() -> None:
    shard = Shard(offset=0, cluster_replica_no_failover="no")
    shard.solo.state.failover(shard.solo.now_ms)
    shard.solo.poll()
    effects = shard.solo.says(shard.primary, mflags=c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED, offset=0)
    assert requests(effects)


def test_a_primary_that_turns_out_to_have_data_ends_the_failover_by_hand_p2() -> None:
    shard = Shard(offset=0, cluster_replica_no_failover="no")
    shard.solo.state.failover(shard.solo.now_ms)
    shard.solo.poll()
    effects = shard.solo.says(shard.primary, mflags=c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED, offset=9)
    assert not requests(effects)


# ---------------------------------------------------------------- what it says (P3)


def test_a_replica_without_data_does_not_call_itself_connected_p3() -> None:
    shard = Shard(offset=77)
    state = shard.solo.state
    assert not state.is_replicating
    (me,) = [node for group in state.shards() for node in group.nodes if node["id"] == state.myself.node_id]
    assert (me["health"], me["replication-offset"]) == ("loading", 0)
    assert all(row.replicas == () for row in state.slot_ranges())
    with_data = Shard(offset=77, plane=70)
    assert with_data.solo.state.is_replicating


def test_replicate_warns_that_nothing_is_copied_p3() -> None:
    solo = Solo(cluster_replica_no_failover=DEFAULT)
    primary = solo.puppet("a", slots=SLOTS)
    solo.state.replicate(primary.node_id, solo.now_ms)
    (warning,) = [text for text in _warnings(solo.poll()) if "keeps no copy" in text]
    assert primary.node_id in warning


# ---------------------------------------------------------------- where it stays (P4)


@pytest.mark.parametrize(("plane", "word", "follows"), [(None, DEFAULT, False), (None, "no", True), (8, DEFAULT, True)])
def test_the_loss_of_the_last_slot_makes_no_empty_node_a_replica_p4(
    plane: int | None, word: str, follows: bool
) -> None:
    solo = Solo(cluster_replica_no_failover=word)
    solo.state._core.data_plane = Plane(plane)
    solo.state.add_slots([5], solo.now_ms)
    taker = solo.puppet("a", slots=[], config_epoch=3)
    taker.slots = frozenset([5])
    solo.says(taker)
    assert solo.state.owner_of(5) is solo.node(taker)
    assert solo.state.myself.is_replica == follows


@pytest.mark.parametrize(("plane", "word", "follows"), [(None, DEFAULT, False), (None, "no", True), (8, DEFAULT, True)])
def test_nor_does_setslot_of_the_last_slot_p4(plane: int | None, word: str, follows: bool) -> None:
    solo = Solo(cluster_replica_no_failover=word)
    solo.state._core.data_plane = Plane(plane)
    solo.state.add_slots([5], solo.now_ms)
    taker = solo.puppet("a", slots=[6])
    solo.state.assign_slot(5, taker.node_id, solo.now_ms)
    assert solo.state.owner_of(5) is solo.node(taker)
    assert solo.state.myself.is_replica == follows


@pytest.mark.parametrize(("plane", "word", "moves"), [(None, DEFAULT, False), (None, "no", True), (8, DEFAULT, True)])
def test_no_empty_replica_migrates_to_an_orphaned_primary_p4(plane: int | None, word: str, moves: bool) -> None:
    solo = Solo(cluster_replica_no_failover=word)
    solo.state._core.data_plane = Plane(plane)
    rich, poor = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    voter = solo.puppet("d", slots=[0, *range(3, c.SLOTS)])
    replicate(solo, rich)
    others = [make_replica(solo, letter, rich.node_id) for letter in "ef"]
    lost = make_replica(solo, "b", poor.node_id)
    lives(solo, [rich, poor, voter, *others, lost], 3_000)
    solo.fails(voter, lost.node_id)
    lives(solo, [rich, poor, voter, *others], c.MIGRATION_DELAY_MS + 5_000)
    assert solo.state.is_ok
    assert (solo.state.myself.replicaof is solo.node(poor)) == moves


def test_within_its_own_shard_it_follows_the_new_primary_p4() -> None:
    shard = Shard(offset=50)
    heir = make_replica(shard.solo, "b", shard.primary.node_id, offset=50)
    promoted(shard.solo, heir, 500, SLOTS)
    assert shard.solo.state.myself.replicaof is shard.solo.node(heir)


@pytest.mark.parametrize(("plane", "word", "takes"), [(None, DEFAULT, False), (None, "no", True), (8, DEFAULT, True)])
def test_an_empty_node_takes_no_slot_that_its_source_gave_to_another_node_p4(
    plane: int | None, word: str, takes: bool
) -> None:
    """Its import was left open, and the source speaks before the node that has the keys now."""
    solo = Solo(cluster_replica_no_failover=word)
    solo.state._core.data_plane = Plane(plane)
    source, taker = solo.puppet("a", slots=[5, 6]), solo.puppet("b", slots=[7])
    solo.state.add_slots([1], solo.now_ms)
    solo.state.import_slot(5, source.node_id, solo.now_ms)
    source.slots = frozenset([6])
    solo.says(source)
    epoch = solo.state.myself.config_epoch
    taker.slots, taker.config_epoch = frozenset([5, 7]), taker.config_epoch + 1
    solo.says(taker)
    assert solo.state.owner_of(5) is (solo.state.myself if takes else solo.node(taker))
    assert (epoch > 0) == takes
    assert solo.state.importing_from(5) is None


def _warnings(effects: list[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Log) and effect.level == "warning"]
