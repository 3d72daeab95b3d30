"""CLUSTER FAILOVER, FORCE and TAKEOVER, on the replica and on the primary (S6)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Log, Notify, Send
from clusterbus.cluster.events import ElectionLost, WritesPaused, WritesResumed
from clusterbus.cluster.model.slots import bits_of
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError

from tests.cluster.shards import lives, make_replica, promoted, replicate, requests, sends
from tests.cluster.solo import KindOfEvent, Puppet, Solo

SLOTS = [100, 101]
TIMEOUT_MS = 5_000


class Shard:
    """We replicate "a", which owns SLOTS and is well. "c" and "d" own one slot each."""

    def __init__(self, **directives: Any) -> None:
        self.solo = Solo(**directives)
        self.primary = self.solo.puppet("a", slots=SLOTS)
        self.voters = [self.solo.puppet(letter, slots=[200 + number]) for number, letter in enumerate("cd")]
        replicate(self.solo, self.primary)
        self.live(200)

    def live(self, duration_ms: int) -> list[Effect]:
        return lives(self.solo, [self.primary, *self.voters], duration_ms)

    def order(self, *, force: bool = False, takeover: bool = False) -> list[Effect]:
        self.solo.state.failover(self.solo.now_ms, force=force, takeover=takeover)
        return self.solo.poll()

    def pauses(self, offset: int = 0) -> list[Effect]:
        """The primary announces that it has paused writes, at an offset."""
        mflags = c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED
        return self.solo.says(self.primary, mflags=mflags, offset=offset)


class Replication(DataPlane):
    """A data plane with an offset."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def replication_offset(self) -> int | None:
        return self.offset


# ---------------------------------------------------------------- the order


def test_s6_a_primary_refuses() -> None:
    solo = Solo()
    with pytest.raises(StateError, match="You should send CLUSTER FAILOVER to a replica"):
        solo.state.failover(solo.now_ms)


def test_s6_a_replica_without_a_known_primary_refuses() -> None:
    shard = Shard()
    shard.solo.state.myself.follow(None)
    with pytest.raises(StateError, match="I'm a replica but my master is unknown to me"):
        shard.solo.state.failover(shard.solo.now_ms, takeover=True)


@pytest.mark.parametrize("how", ["failed", "no link"])
def test_s6_with_its_primary_down_a_replica_needs_force(how: str) -> None:
    shard = Shard()
    if how == "failed":
        shard.solo.fails(shard.voters[0], shard.primary.node_id)
    else:
        shard.solo.state.handle_link_closed(shard.primary.dialled, "eof", shard.solo.now_ms)
    with pytest.raises(StateError, match="Master is down or failed, please use CLUSTER FAILOVER FORCE"):
        shard.order()
    shard.order(force=True)


# ---------------------------------------------------------------- the replica's side


def test_s6_mfstart_then_the_offset_of_the_primary_then_a_vote_request_with_force_ack() -> None:
    shard = Shard()
    shard.order()
    assert len(shard.solo.sent(shard.primary.dialled, c.MFSTART)) == 1
    assert not requests(shard.live(500)), "the primary has not paused yet"
    (request,) = requests(shard.pauses())
    assert request.message.header is not None
    assert request.message.header.mflags & c.MFLAG_FORCE_ACK
    for voter in shard.voters:
        sends(shard.solo, voter, c.AUTH_ACK)
    assert shard.solo.state.myself.is_primary
    assert shard.solo.state.myself.slot_bits == bits_of(SLOTS)


def test_s6_with_a_data_plane_the_replica_waits_until_it_has_all() -> None:
    shard = Shard()
    plane = shard.solo.state._core.data_plane = Replication(90)
    shard.order()
    assert not requests(shard.pauses(offset=100))
    assert not requests(shard.live(500))
    plane.offset = 100
    assert len(requests(shard.live(100))) == 1


def test_s6_the_first_offset_of_the_paused_primary_counts() -> None:
    shard = Shard()
    shard.solo.state._core.data_plane = Replication(100)
    shard.order()
    shard.pauses(offset=120)
    assert not requests(shard.pauses(offset=100))


def test_s6_a_pause_counts_only_from_our_primary_and_only_after_mfstart() -> None:
    shard = Shard()
    assert not requests(shard.pauses())
    shard.order()
    assert not requests(shard.solo.says(shard.voters[0], mflags=c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED))
    assert requests(shard.pauses())


@pytest.mark.parametrize(("timeout_ms", "waits_ms"), [(5_000, 5_000), (1_000, 1_000)])
def test_s6_a_manual_failover_that_takes_too_long_is_given_up(timeout_ms: int, waits_ms: int) -> None:
    shard = Shard(cluster_manual_failover_timeout=timeout_ms)
    shard.order()
    shard.live(waits_ms)
    assert shard.solo.state._core.manual.end_ms is not None
    shard.live(100)
    assert not requests(shard.pauses())


def test_s6_an_election_by_hand_is_lost_when_its_time_is_over() -> None:
    shard = Shard(cluster_manual_failover_timeout=1_000)
    shard.order(force=True)
    assert [event.reason for event in _events(shard.live(1_200), ElectionLost)] == ["no longer needed"]
    for voter in shard.voters:
        sends(shard.solo, voter, c.AUTH_ACK)
    assert shard.solo.state.myself.is_replica


def test_s6_force_leaves_out_the_primary() -> None:
    shard = Shard()
    effects = shard.order(force=True)
    assert len(requests(effects)) == 1
    assert not shard.solo.sent(shard.primary.dialled, c.MFSTART)


def test_s6_force_does_not_wait_for_the_retry_of_an_election_that_has_expired() -> None:
    shard = Shard()
    shard.solo.fails(shard.voters[0], shard.primary.node_id)
    lives(shard.solo, shard.voters, 4_800)
    epoch = shard.solo.state.current_epoch
    assert shard.solo.state._core.election.is_over
    assert len(requests(shard.order(force=True))) == 1
    assert shard.solo.state.current_epoch == epoch + 1


def test_s6_an_operator_overrules_data_age_and_no_failover() -> None:
    shard = Shard(cluster_replica_no_failover=True, cluster_replica_validity_factor=1)
    shard.solo.state._core.data_plane = Replication(100)
    shard.solo.now_ms += 10**9
    assert requests(shard.order(force=True))


def test_s6_takeover_takes_a_new_epoch_without_votes() -> None:
    shard = Shard()
    epoch = shard.solo.state.current_epoch
    effects = shard.order(takeover=True)
    myself = shard.solo.state.myself
    assert not requests(effects)
    assert myself.is_primary
    assert (myself.config_epoch, shard.solo.state.current_epoch) == (epoch + 1, epoch + 1)
    assert myself.slot_bits == bits_of(SLOTS)
    pongs = [effect for effect in effects if isinstance(effect, Send) and effect.message.type == c.PONG]
    assert len(pongs) == 3


# ---------------------------------------------------------------- the primary's side


class Primary:
    """We own a slot, and "b" replicates us. "c" is another primary."""

    def __init__(self, **directives: Any) -> None:
        self.solo = Solo(**directives)
        self.solo.state.add_slots(SLOTS, self.solo.now_ms)
        self.other = self.solo.puppet("c", slots=[200])
        self.replica = make_replica(self.solo, "b", self.solo.state.myself.node_id)

    def start(self, puppet: Puppet | None = None) -> list[Effect]:
        return sends(self.solo, puppet or self.replica, c.MFSTART)


def test_s6_on_mfstart_of_its_replica_a_primary_pauses_writes_and_sends_its_offset() -> None:
    primary = Primary()
    solo = primary.solo
    solo.state._core.data_plane = Replication(77)
    effects = primary.start()
    assert _events(effects, WritesPaused) == [WritesPaused(solo.now_ms + 2 * TIMEOUT_MS)]
    (ping,) = solo.sent(primary.replica.dialled, c.PING)
    assert ping.header is not None
    assert ping.header.mflags & c.MFLAG_PAUSED
    assert ping.header.offset == 77
    solo.tick()
    assert len(solo.sent(primary.replica.dialled, c.PING)) == 1, "at every tick"
    assert not solo.sent(primary.other.dialled, c.PING)


def test_s6_every_header_announces_the_pause_while_it_lasts_r33() -> None:
    primary = Primary()
    before = primary.solo.state.version
    primary.start()
    assert primary.solo.state.version > before, "what workers encode is out of date"
    primary.solo.says(primary.other)
    (pong,) = primary.solo.sent(primary.other.inbound, c.PONG)
    assert pong.header is not None
    assert pong.header.mflags & c.MFLAG_PAUSED


def test_s6_a_node_that_does_not_replicate_us_cannot_pause_us() -> None:
    primary = Primary()
    assert not _events(primary.start(primary.other), WritesPaused)
    assert primary.solo.counter("refused_mfstart") == 1


def test_s6_a_replica_is_not_paused() -> None:
    primary = Primary()
    primary.solo.state.del_slots(SLOTS, primary.solo.now_ms)
    replicate(primary.solo, primary.other)
    assert not _events(primary.start(), WritesPaused)


def test_s6_writes_go_on_when_the_time_is_over() -> None:
    primary = Primary()
    primary.start()
    others = [primary.other, primary.replica]
    assert not _events(lives(primary.solo, others, TIMEOUT_MS), WritesResumed)
    effects = lives(primary.solo, others, 100)
    assert _events(effects, WritesResumed) == [WritesResumed()]
    assert not primary.solo.state._core.manual.pauses_writes


def test_s6_writes_go_on_and_the_primary_follows_when_its_replica_has_won() -> None:
    primary = Primary()
    effects = primary.start()
    epoch = primary.solo.state.current_epoch + 1
    promoted(primary.solo, primary.replica, epoch, SLOTS)
    effects = primary.solo.effects
    assert _events(effects, WritesResumed) == [WritesResumed()]
    assert primary.solo.state.myself.replicaof is primary.solo.node(primary.replica)


def test_s6_writes_go_on_when_the_replica_is_gone() -> None:
    primary = Primary()
    primary.start()
    primary.solo.state.forget(primary.replica.node_id, primary.solo.now_ms)
    assert _events(primary.solo.tick(), WritesResumed) == [WritesResumed()]


def test_s6_a_second_mfstart_begins_the_pause_anew() -> None:
    primary = Primary()
    primary.start()
    lives(primary.solo, [primary.other, primary.replica], TIMEOUT_MS - 500)
    effects = primary.start()
    assert _events(effects, WritesPaused) == [WritesPaused(primary.solo.now_ms + 2 * TIMEOUT_MS)]
    assert not _events(lives(primary.solo, [primary.other, primary.replica], TIMEOUT_MS - 500), WritesResumed)


def test_s3_s6_a_replica_pinged_at_every_tick_is_still_found_silent() -> None:
    primary = Primary(cluster_manual_failover_timeout=60_000)
    primary.start()
    lives(primary.solo, [primary.other], 5_000)
    assert primary.solo.node(primary.replica).is_pfail


def _events(effects: list[Effect], kind: type[KindOfEvent]) -> list[KindOfEvent]:
    return [effect.event for effect in effects if isinstance(effect, Notify) and isinstance(effect.event, kind)]


@pytest.mark.parametrize("how", ["force", "default"])
def test_p12_a_manual_failover_ends_the_open_election_and_begins_its_own_at_once(how: str) -> None:
    shard = Shard()
    shard.solo.fails(shard.voters[0], shard.primary.node_id)
    while not requests(lives(shard.solo, shard.voters, 100)):
        pass
    epoch = shard.solo.state.current_epoch
    if how == "default":
        shard.solo.state._core.set_failure_flags(shard.solo.node(shard.primary), 0)
        shard.order()
        effects = shard.pauses()
    else:
        effects = shard.order(force=True)
    assert [event.epoch for event in _events(effects, ElectionLost)] == [epoch]
    assert [log.text for log in shard.solo.of(Log, effects) if "Resetting the election" in log.text]
    (request,) = requests(effects)
    assert request.message.header is not None
    assert request.message.header.mflags & c.MFLAG_FORCE_ACK
    assert request.message.header.current_epoch == epoch + 1
    for voter in shard.voters:
        sends(shard.solo, voter, c.AUTH_ACK)
    assert shard.solo.state.myself.is_primary
