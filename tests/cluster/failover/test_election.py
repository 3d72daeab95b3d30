"""Our own election: when it begins, how votes are counted, what follows from winning and losing (S5)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Dial, Effect, Refuse, Save, Send
from clusterbus.cluster.events import ElectionLost, ElectionStarted, ElectionWon, Event, RoleChanged, SlotsChanged
from clusterbus.cluster.model.slots import bits_of
from clusterbus.cluster.operator.persist import parse
from clusterbus.data_plane import DataPlane
from clusterbus.wire import Extension, Unknown

from tests.cluster.shards import lives, make_replica, promoted, replicate, requests, sends
from tests.cluster.solo import MYSELF_ID, Puppet, Solo

TIMEOUT_MS = 2_000
BASE_MS = TIMEOUT_MS // 30
SLOTS = [100, 101, 102]
AUTH_NACK = 11
"""The type of the message by which the newest servers say that a candidate does not get their vote."""


class Shard:
    """We replicate "a", which owns SLOTS. "c", "d" and "e" own one slot each: four voters, and the quorum is three."""

    def __init__(self, **directives: Any) -> None:
        self.solo = Solo(**directives)
        self.primary = self.solo.puppet("a", slots=SLOTS)
        self.voters = [self.solo.puppet(letter, slots=[200 + number]) for number, letter in enumerate("cde")]
        replicate(self.solo, self.primary)
        lives(self.solo, [self.primary, *self.voters], 200)

    def add_sibling(self) -> Puppet:
        """Another replica of our primary. As it does not hold the primary FAIL, we do not begin at once (P13)."""
        return make_replica(self.solo, "9", self.primary.node_id)

    def fail(self) -> list[Effect]:
        return self.solo.fails(self.voters[0], self.primary.node_id)

    def live(self, duration_ms: int) -> list[Effect]:
        return lives(self.solo, self.voters, duration_ms)

    def until_asked(self, limit_ms: int = 10_000) -> int:
        """The primary fails. Returns how long after that we request votes."""
        self.fail()
        begun_ms = self.solo.now_ms
        while not requests(self.live(100)):
            assert self.solo.now_ms - begun_ms < limit_ms
        return self.solo.now_ms - begun_ms

    def vote(self, *voters: Puppet, **changes: object) -> list[Effect]:
        effects = []
        for voter in voters:
            effects += sends(self.solo, voter, c.AUTH_ACK, **changes)
        self.solo.effects = effects
        return effects

    @property
    def is_primary(self) -> bool:
        return self.solo.state.myself.is_primary


def events_of(effects: list[Effect], kind: type[Event]) -> list[Event]:
    return [effect.event for effect in effects if hasattr(effect, "event") and isinstance(effect.event, kind)]


# ---------------------------------------------------------------- when it begins


def test_s5_the_request_goes_to_all_nodes_in_a_new_epoch_with_the_primarys_slots() -> None:
    shard = Shard()
    sibling = shard.add_sibling()
    epoch = shard.solo.state.current_epoch
    shard.fail()
    effects = shard.live(400)
    (request,) = requests(effects)
    header = request.message.header
    assert header is not None
    assert sorted(request.links) == sorted(puppet.dialled for puppet in [shard.primary, *shard.voters, sibling])
    assert (header.current_epoch, header.config_epoch) == (epoch + 1, shard.primary.config_epoch)
    assert int.from_bytes(header.myslots, "little") == bits_of(SLOTS)
    assert header.replicaof == shard.primary.node_id
    assert not header.mflags & c.MFLAG_FORCE_ACK
    assert events_of(effects, ElectionStarted) == [ElectionStarted(MYSELF_ID, epoch + 1)]
    before = effects[: effects.index(request)]
    assert Save(durable=True) in before[-3:], "the epoch is on disk before anybody hears of it"


@pytest.mark.parametrize(("node_timeout_ms", "base_ms"), [(2_000, 66), (600, 20), (15_000, 500), (60_000, 500)])
def test_s5_the_delay_is_a_part_of_the_node_timeout_plus_a_random_part(node_timeout_ms: int, base_ms: int) -> None:
    delays = set()
    for seed in range(10):
        solo = Solo(seed=seed, cluster_node_timeout=node_timeout_ms)
        primary, voter = solo.puppet("a", slots=SLOTS), solo.puppet("c", slots=[200])
        replicate(solo, primary)
        make_replica(solo, "9", primary.node_id)
        solo.fails(voter, primary.node_id)
        solo.tick()
        start_ms = solo.state._core.election.start_ms
        assert start_ms is not None
        delays.add(start_ms - solo.now_ms)
    assert all(base_ms <= delay_ms < 2 * base_ms for delay_ms in delays)
    assert len(delays) > 1


@pytest.mark.parametrize(
    ("letter", "offset", "flags", "rank"),
    [
        ("9", 7, 0, 1),  # a greater offset
        ("1", 1, 0, 1),  # the same offset, and a smaller id than our 555...
        ("9", 1, 0, 0),
        ("1", 7, c.FLAG_NOFAILOVER, 0),  # it never stands for election
    ],
)
def test_s5_replicas_with_more_data_go_first(letter: str, offset: int, flags: int, rank: int) -> None:
    shard = Shard(cluster_node_timeout=15_000)
    make_replica(shard.solo, letter, shard.primary.node_id, flags=flags, offset=offset)
    shard.fail()
    shard.solo.tick()
    election = shard.solo.state._core.election
    assert election.rank == rank
    assert election.start_ms is not None
    delay_ms = election.start_ms - shard.solo.now_ms
    assert 500 + 1_000 * rank <= delay_ms < 1_000 + 1_000 * rank


def test_s5_a_better_offset_that_is_announced_later_delays_the_election() -> None:
    shard = Shard(cluster_node_timeout=15_000)
    sibling = make_replica(shard.solo, "9", shard.primary.node_id)
    shard.fail()
    shard.solo.tick()
    planned_ms = shard.solo.state._core.election.start_ms
    assert planned_ms is not None
    sibling.replicaof = shard.primary.node_id
    shard.solo.says(sibling, offset=9)
    shard.solo.tick()
    assert shard.solo.state._core.election.start_ms == planned_ms + 1_000


def test_s5_siblings_get_our_offset_when_an_election_is_planned() -> None:
    shard = Shard()
    sibling = make_replica(shard.solo, "9", shard.primary.node_id)
    shard.fail()
    shard.solo.tick()
    assert shard.solo.sent(sibling.dialled, c.PONG)
    assert not shard.solo.sent(shard.voters[0].dialled, c.PONG)


@pytest.mark.parametrize(
    ("first", "replicas", "failed_before_ms", "factor", "rank"),
    [
        (True, 1, 0, 10, 1),
        (False, 1, 0, 10, 0),
        (True, 0, 0, 10, 0),
        (True, 1, 10 * TIMEOUT_MS, 10, 1),
        (True, 1, 10 * TIMEOUT_MS + 1_000, 10, 0),
        (True, 1, 10 * TIMEOUT_MS + 1_000, 0, 1),
    ],
)
def test_s5_p14_of_shards_that_can_still_have_an_election_the_smaller_shard_id_goes_first(
    first: bool, replicas: int, failed_before_ms: int, factor: int, rank: int
) -> None:
    shard = Shard(cluster_replica_validity_factor=factor)
    solo = shard.solo
    other = shard.voters[1]
    for number in range(replicas):
        make_replica(solo, str(number), other.node_id)
    solo.node(other).shard_id = ("0" if first else "f") * 40
    solo.fails(shard.voters[0], other.node_id)
    shard.fail()
    solo.node(other).fail_time_ms = solo.now_ms - failed_before_ms
    solo.state.tick(solo.now_ms)
    assert solo.state._core.election.shard_rank == rank


def test_s5_no_election_while_the_primary_is_only_suspected() -> None:
    shard = Shard()
    shard.solo.state._core.set_failure_flags(shard.solo.node(shard.primary), c.FLAG_PFAIL)
    assert not requests(shard.live(3_000))


def test_p14_the_primary_of_a_shard_without_slots_is_replaced_too() -> None:
    solo = Solo()
    primary, voter = solo.puppet("a"), solo.puppet("c", slots=[200])
    replicate(solo, primary)
    solo.fails(voter, primary.node_id)
    (request,) = requests(lives(solo, [voter], 500))
    assert request.message.header is not None
    assert request.message.header.myslots == c.EMPTY_SLOTS
    sends(solo, voter, c.AUTH_ACK)
    assert solo.state.myself.is_primary
    assert solo.state.myself.config_epoch == solo.state.current_epoch
    assert not solo.state.myself.slot_bits


def test_p14_where_nobody_has_slots_nobody_can_be_elected() -> None:
    solo = Solo()
    primary, other = solo.puppet("a"), solo.puppet("c")
    replicate(solo, primary)
    solo.fails(other, primary.node_id)
    assert requests(lives(solo, [other], 500))
    sends(solo, other, c.AUTH_ACK)
    lives(solo, [other], 500)
    assert solo.state.myself.is_replica


def test_s5_cluster_replica_no_failover_forbids_an_election() -> None:
    shard = Shard(cluster_replica_no_failover=True)
    shard.fail()
    assert not requests(shard.live(3_000))
    assert shard.solo.state.myself.flags & c.FLAG_NOFAILOVER
    shard.solo.config.update(cluster_replica_no_failover=False)
    assert requests(shard.live(1_000)), "read at the time of use"


# ---------------------------------------------------------------- data age


@pytest.mark.parametrize(
    ("factor", "silent_ms", "asks"),
    [
        (10, 10_000 + 11 * TIMEOUT_MS, True),
        (10, 10_000 + 11 * TIMEOUT_MS + 400, False),
        (1, 10_000 + 2 * TIMEOUT_MS, True),
        (1, 10_000 + 2 * TIMEOUT_MS + 400, False),
        (0, 600_000, True),
    ],
)
def test_s5_no_election_with_data_older_than_the_validity_factor_allows(
    factor: int, silent_ms: int, asks: bool
) -> None:
    """One node timeout is not counted, because FAIL takes that long anyway."""
    shard = Shard(cluster_replica_validity_factor=factor)
    shard.fail()
    heard_ms = shard.solo.now_ms
    shard.solo.last_read_ms.clear()
    shard.solo.node(shard.primary).data_received_ms = heard_ms
    shard.solo.now_ms = heard_ms + silent_ms - 200
    shard.live(200)
    assert (shard.solo.state._core.election.start_ms is not None) is asks


class Replication(DataPlane):
    """A data plane with an age and an offset."""

    def __init__(self) -> None:
        self.age_ms: int | None = 0
        self.offset = 40

    def data_age_ms(self) -> int | None:
        return self.age_ms

    def replication_offset(self) -> int | None:
        return self.offset


def test_s5_the_data_plane_gives_age_and_offset() -> None:
    shard = Shard()
    plane = Replication()
    shard.solo.state._core.data_plane = plane
    plane.age_ms = 10**9
    shard.fail()
    assert not requests(shard.live(2_000))
    plane.age_ms = 0
    (request,) = requests(shard.live(1_000))
    assert request.message.header is not None
    assert request.message.header.offset == 40


# ---------------------------------------------------------------- votes


def test_s5_a_majority_of_all_voting_primaries_elects() -> None:
    shard = Shard()
    shard.until_asked()
    epoch = shard.solo.state.current_epoch
    shard.vote(*shard.voters[:2])
    assert not shard.is_primary, "two of four"
    effects = shard.vote(shard.voters[2])
    myself = shard.solo.state.myself
    assert myself.is_primary
    assert myself.replicaof is None
    assert myself.config_epoch == epoch
    assert myself.slot_bits == bits_of(SLOTS)
    assert shard.solo.node(shard.primary).slot_bits == 0
    assert events_of(effects, ElectionWon) == [ElectionWon(MYSELF_ID, epoch)]
    assert events_of(effects, RoleChanged) == [RoleChanged(MYSELF_ID, "primary", None)]
    assert SlotsChanged(MYSELF_ID, ((100, 102),), ()) in events_of(effects, SlotsChanged)


def test_s4_s5_a_config_epoch_that_was_raised_during_the_election_is_not_lowered_by_the_win() -> None:
    """Found by simulation: BUMPEPOCH on a replica that waits for votes."""
    shard = Shard()
    shard.until_asked()
    assert shard.solo.state.bump_epoch(shard.solo.now_ms)
    bumped = shard.solo.state.myself.config_epoch
    shard.vote(*shard.voters, current_epoch=bumped - 1)
    assert shard.is_primary
    assert shard.solo.state.myself.config_epoch == bumped


def test_s5_the_win_is_on_disk_before_pongs_announce_it() -> None:
    shard = Shard()
    shard.until_asked()
    effects = shard.vote(*shard.voters)
    pongs = [effect for effect in effects if isinstance(effect, Send) and effect.message.type == c.PONG]
    assert {pong.link for pong in pongs} >= {puppet.dialled for puppet in [shard.primary, *shard.voters]}
    assert effects.index(Save(durable=True)) < effects.index(pongs[0])
    header = pongs[0].message.header
    assert header is not None
    assert header.replicaof is None
    assert header.config_epoch == header.current_epoch == shard.solo.state.myself.config_epoch
    assert int.from_bytes(header.myslots, "little") == bits_of(SLOTS)


def test_s5_a_voter_counts_once() -> None:
    shard = Shard()
    shard.until_asked()
    shard.vote(*[shard.voters[0]] * 5)
    assert not shard.is_primary


@pytest.mark.parametrize("change", [-1, 1])
def test_s5_a_vote_counts_for_the_epoch_it_was_given_in(change: int) -> None:
    shard = Shard()
    shard.until_asked()
    epoch = shard.solo.state.current_epoch + change
    shard.vote(*shard.voters, current_epoch=epoch)
    assert not shard.is_primary
    assert shard.solo.counter("refused_vote") == 3


def test_s5_votes_of_nodes_without_slots_or_of_replicas_do_not_count() -> None:
    shard = Shard()
    empty, replica = shard.solo.puppet("f"), make_replica(shard.solo, "9", shard.voters[0].node_id)
    shard.until_asked()
    shard.vote(*shard.voters[:2], empty, replica)
    assert not shard.is_primary
    shard.vote(shard.voters[2])
    assert shard.is_primary


def test_s5_votes_without_a_request_do_nothing() -> None:
    shard = Shard()
    shard.add_sibling()
    shard.vote(*shard.voters)
    assert not shard.is_primary
    shard.fail()
    shard.solo.tick()
    shard.vote(*shard.voters)
    assert not shard.is_primary, "planned, not yet asked"


# ---------------------------------------------------------------- losing


@pytest.mark.parametrize(("node_timeout_ms", "limit_ms"), [(2_000, 4_000), (600, 2_000)])
def test_s5_an_election_without_majority_is_given_up_and_tried_again(node_timeout_ms: int, limit_ms: int) -> None:
    shard = Shard(cluster_node_timeout=node_timeout_ms, cluster_replica_validity_factor=0)
    shard.until_asked()
    epoch, asked_ms = shard.solo.state.current_epoch, shard.solo.now_ms
    shard.vote(*shard.voters[:2])
    effects = shard.live(limit_ms + 200)
    assert events_of(effects, ElectionLost) == [ElectionLost(MYSELF_ID, epoch, "no majority in time")]
    shard.vote(shard.voters[2])
    assert not shard.is_primary, "too late"
    assert not requests(shard.live(limit_ms - 600))
    while not requests(shard.live(100)):
        assert shard.solo.now_ms - asked_ms < 2 * limit_ms + 1_000
    assert shard.solo.now_ms - asked_ms >= 2 * limit_ms
    assert shard.solo.state.current_epoch == epoch + 1
    shard.vote(shard.voters[2])
    assert not shard.is_primary, "the votes of the last election are void"
    shard.vote(*shard.voters)
    assert shard.is_primary


def test_s5_the_election_ends_when_the_primary_is_well_again() -> None:
    shard = Shard()
    shard.until_asked()
    epoch = shard.solo.state.current_epoch
    shard.solo.state._core.set_failure_flags(shard.solo.node(shard.primary), 0)
    effects = shard.live(100)
    assert events_of(effects, ElectionLost) == [ElectionLost(MYSELF_ID, epoch, "no longer needed")]
    shard.vote(*shard.voters, current_epoch=epoch)
    assert not shard.is_primary
    shard.fail()
    shard.vote(*shard.voters, current_epoch=epoch)
    assert not shard.is_primary, "nor when it fails again: they were asked about another failure"


def test_s5_a_lost_election_is_not_won_when_fewer_votes_are_needed_later() -> None:
    shard = Shard()
    shard.until_asked()
    shard.vote(*shard.voters[:2])
    primary = shard.solo.node(shard.primary)
    shard.solo.state._core.set_failure_flags(primary, 0)
    shard.solo.tick()
    shard.fail()
    shard.solo.state.forget(shard.voters.pop().node_id, shard.solo.now_ms)
    shard.live(200)
    assert not shard.is_primary


def test_s5_p19_in_place_of_a_deposed_primary_its_successor_counts_before_it_shows_up() -> None:
    """Found by simulation: two primaries were known to be replicas by now, and nobody counted in their place. So one
    epoch had two winners.
    """
    shard = Shard()
    deposed = shard.voters[2]
    successor = make_replica(shard.solo, "9", deposed.node_id)
    deposed.replicaof, deposed.flags = successor.node_id, successor.flags
    deposed.config_epoch += 100
    shard.solo.says(deposed)
    assert shard.solo.state._core.slots.voting_count() == 4
    shard.until_asked()
    shard.vote(*shard.voters[:2])
    shard.live(200)
    assert not shard.is_primary, "two of four"
    shard.vote(successor)
    assert shard.is_primary


def test_s5_the_quorum_does_not_fall_after_the_request() -> None:
    shard = Shard()
    shard.until_asked()
    shard.vote(*shard.voters[:2])
    taker, loser = shard.voters[1:]
    taker.config_epoch += 100
    taker.slots |= loser.slots
    loser.slots = frozenset()
    shard.solo.says(taker)
    assert shard.solo.state._core.slots.voting_count() == 3
    shard.live(200)
    assert not shard.is_primary, "two of the four that were asked"


def test_s5_the_election_ends_when_a_sibling_has_won() -> None:
    shard = Shard()
    sibling = make_replica(shard.solo, "9", shard.primary.node_id)
    shard.until_asked()
    epoch = shard.solo.state.current_epoch
    promoted(shard.solo, sibling, epoch + 1, SLOTS)
    assert shard.solo.events(ElectionLost)
    assert shard.solo.state.myself.replicaof is shard.solo.node(sibling)
    shard.vote(*shard.voters, current_epoch=epoch)
    assert not shard.is_primary


def test_h28_there_is_no_election_after_the_last_epoch() -> None:
    shard = Shard(cluster_epoch_jump_max=0)
    shard.solo.says(shard.voters[0], current_epoch=c.EPOCH_MAX)
    shard.fail()
    assert not [effect for effect in shard.live(1_000) if isinstance(effect, Broadcast)]
    assert shard.solo.state.current_epoch == c.EPOCH_MAX
    assert shard.solo.counter("refused_epoch_exhausted")


# ---------------------------------------------------------------- giving way


@pytest.mark.parametrize(("change", "ends"), [(-1, False), (0, True), (1, True)])
@pytest.mark.parametrize("told_by", ["header", "update"])
def test_p12_a_claim_of_the_elections_epoch_or_a_later_one_ends_it_and_the_next_comes_soon(
    change: int, ends: bool, told_by: str
) -> None:
    shard = Shard()
    shard.until_asked()
    epoch = shard.solo.state.current_epoch
    claimer, teller = shard.voters[0], shard.voters[1]
    if told_by == "header":
        claimer.config_epoch = epoch + change
        shard.solo.says(claimer)
    else:
        shard.solo.updates(teller, claimer.node_id, epoch + change, claimer.slots)
        claimer.config_epoch = epoch + change
    lost = [ElectionLost(MYSELF_ID, epoch, "a later epoch was claimed")] if ends else []
    assert shard.solo.events(ElectionLost) == lost
    assert bool([text for text in shard.solo.warnings() if "Resetting the election" in text]) is ends
    assert bool(requests(shard.live(400))) is ends, "the retry time is not waited for"
    shard.vote(*shard.voters, current_epoch=epoch)
    assert shard.is_primary is not ends


def test_p12_a_claim_frees_the_next_election_also_after_one_was_lost() -> None:
    shard = Shard(cluster_replica_validity_factor=0)
    shard.until_asked()
    epoch = shard.solo.state.current_epoch
    shard.live(2 * TIMEOUT_MS + 200)
    assert not requests(shard.live(400))
    shard.voters[0].config_epoch = epoch
    shard.solo.says(shard.voters[0])
    assert not shard.solo.events(ElectionLost), "it was reported before"
    assert requests(shard.live(400))


# ---------------------------------------------------------------- without delay


class Siblings(Shard):
    """Our shard has another replica, "9", with less data than we have."""

    def __init__(self, **directives: Any) -> None:
        super().__init__(cluster_node_timeout=15_000, **directives)
        self.plane = Replication()
        self.solo.state._core.data_plane = self.plane
        self.sibling = make_replica(self.solo, "9", self.primary.node_id, offset=30)
        self.solo.tick()

    def agrees(self, *, offset: int = 30) -> list[Effect]:
        """The sibling says that it holds our primary FAIL."""
        self.sibling.flags |= c.FLAG_MY_PRIMARY_FAIL
        extensions = [Extension.shard_id_of(self.solo.node(self.primary).shard_id)]
        return self.solo.says(self.sibling, offset=offset, extensions=extensions)


def test_p13_the_best_replica_asks_at_once_when_all_siblings_hold_the_primary_fail() -> None:
    shard = Siblings()
    shard.fail()
    assert not requests(shard.solo.tick()), "its offset may be an old one"
    shard.agrees()
    (request,) = requests(shard.solo.tick())
    assert request.message.header is not None
    assert request.message.header.mflags & c.MFLAG_FORCE_ACK, "FAIL may come after this"


def test_p13_a_lone_replica_asks_in_the_same_tick() -> None:
    shard = Shard(cluster_node_timeout=15_000)
    shard.solo.state._core.data_plane = Replication()
    shard.fail()
    assert requests(shard.solo.tick(0))


@pytest.mark.parametrize("why", ["rank", "shard rank", "offset 0"])
def test_p13_without_the_best_rank_there_is_a_delay(why: str) -> None:
    shard = Siblings()
    if why == "offset 0":
        shard.plane.offset = 0
    if why == "shard rank":
        other = shard.voters[1]
        make_replica(shard.solo, "0", other.node_id)
        shard.solo.node(other).shard_id = "0" * 40
        shard.solo.fails(shard.voters[0], other.node_id)
    shard.fail()
    shard.agrees(offset={"rank": 41, "offset 0": 0}.get(why, 30))
    assert not requests(shard.live(400))
    requested = [request.message.header for request in requests(shard.live(3_000))]
    assert [header and header.mflags & c.MFLAG_FORCE_ACK for header in requested] == [0]


@pytest.mark.parametrize("age_ms", [0, None])
def test_p13_a_failure_from_nodes_conf_may_be_over_so_nobody_is_to_vote_unseen(age_ms: int | None) -> None:
    """We were down while the primary came back, and it answers, which makes our data look young. A forced vote would
    put what we have on disk in the place of what it has.
    """
    before = Shard(cluster_node_timeout=15_000)
    before.fail()
    solo = Solo(saved=parse(before.solo.state.nodes_conf_text()), cluster_node_timeout=15_000)
    plane = solo.state._core.data_plane = Replication()
    plane.age_ms = age_ms
    dials = solo.of(Dial, solo.tick())
    assert not requests(solo.effects)
    for puppet in (before.primary, *before.voters):
        puppet.dialled = solo.open(next(dial for dial in dials if dial.node_id == puppet.node_id))
        puppet.inbound = solo.accept(puppet.ip)
        solo.says(puppet)
    assert solo.node(before.primary).is_failed
    effects = lives(solo, (before.primary, *before.voters), 5_000)
    (request,) = requests(effects)
    assert request.message.header is not None
    assert not request.message.header.mflags & c.MFLAG_FORCE_ACK


def test_p13_siblings_are_told_at_once_that_we_hold_the_primary_fail_even_if_we_never_stand() -> None:
    shard = Siblings(cluster_replica_no_failover="yes")
    shard.fail()
    (pong,) = shard.solo.sent(shard.sibling.dialled, c.PONG)
    assert pong.header is not None
    assert pong.header.flags & c.FLAG_MY_PRIMARY_FAIL
    assert pong.header.offset == 40
    assert not shard.solo.sent(shard.voters[0].dialled, c.PONG)


@pytest.mark.parametrize("how", ["the primary is well", "another primary", "promoted"])
def test_p13_the_flag_goes_when_the_primary_is_well_or_another(how: str) -> None:
    """A stale one would let a sibling skip the delay of a later election."""
    shard = Siblings()
    shard.fail()
    myself = shard.solo.state.myself
    assert myself.flags & c.FLAG_MY_PRIMARY_FAIL
    if how == "the primary is well":
        shard.solo.state._core.set_failure_flags(shard.solo.node(shard.primary), 0)
    elif how == "another primary":
        shard.solo.state.replicate(shard.voters[0].node_id, shard.solo.now_ms)
    else:
        shard.solo.state.failover(shard.solo.now_ms, takeover=True)
    assert not myself.flags & c.FLAG_MY_PRIMARY_FAIL
    shard.solo.poll()
    shard.agrees()
    node = shard.solo.node(shard.sibling)
    assert node.flags & c.FLAG_MY_PRIMARY_FAIL
    shard.sibling.flags &= ~c.FLAG_MY_PRIMARY_FAIL
    shard.solo.says(shard.sibling)
    assert not node.flags & c.FLAG_MY_PRIMARY_FAIL


def test_a_vote_that_is_refused_in_a_message_of_the_newest_servers_leaves_the_election_as_it_is_p17() -> None:
    shard = Shard()
    shard.until_asked()
    election = shard.solo.state._core.election
    epoch, voters = election.epoch, set(election.voters)
    assert election.is_open
    for voter in shard.voters:
        header = shard.solo.header(voter, mflags=0, current_epoch=epoch)
        effects = shard.solo.receive(voter.inbound, Unknown(AUTH_NACK, header, b"\x02"))
        assert not shard.solo.closed()
        assert not shard.solo.of(Refuse, effects)
    assert shard.solo.counter("refused_unknown_type") == len(shard.voters)
    assert election.is_open
    assert (election.epoch, election.voters) == (epoch, voters)
    for voter in shard.voters:
        shard.vote(voter)
    assert shard.is_primary
