"""Our vote in the elections of other nodes: for which one, once an epoch, on disk before it is sent (S5, H47)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Save, Send
from clusterbus.cluster.operator.persist import parse
from clusterbus.wire import Update

from tests.cluster.shards import asks_for_vote, make_replica, wire_slots
from tests.cluster.solo import Puppet, Solo

TIMEOUT_MS = 2_000


class Shards:
    """We own slot 1. "a" owns 100 to 102 and is FAIL, and "b" replicates it. "d" owns 200."""

    def __init__(self, *, votes: bool = True, fails: bool = True) -> None:
        self.solo = Solo()
        if votes:
            self.solo.state.add_slots([1], self.solo.now_ms)
        self.failed = self.solo.puppet("a", slots=[100, 101, 102])
        self.other = self.solo.puppet("d", slots=[200])
        self.replica = make_replica(self.solo, "b", self.failed.node_id)
        if fails:
            self.solo.fails(self.other, self.failed.node_id)

    def asks(self, replica: Puppet | None = None, **changes: object) -> bool:
        """Whether the replica gets our vote."""
        replica = replica or self.replica
        asks_for_vote(self.solo, replica, **changes)
        return bool(self.solo.sent(replica.dialled, c.AUTH_ACK))


def test_s5_a_replica_of_a_failed_primary_gets_our_vote() -> None:
    shards = Shards()
    assert shards.asks()
    (vote,) = shards.solo.sent(shards.replica.dialled, c.AUTH_ACK)
    assert vote.header is not None
    assert vote.header.current_epoch == shards.solo.state.current_epoch


def test_s5_h47_the_vote_is_on_disk_before_it_is_sent() -> None:
    shards = Shards()
    shards.asks()
    effects = shards.solo.effects
    order = [effect for effect in effects if _is_vote(effect) or isinstance(effect, Save)]
    assert isinstance(order[0], Save)
    assert order[0].durable
    assert _is_vote(order[1])
    assert parse(shards.solo.state.nodes_conf_text()).last_vote_epoch == shards.solo.state.current_epoch


def _is_vote(effect: Effect) -> bool:
    return isinstance(effect, Send) and effect.message.type == c.AUTH_ACK


def old_epoch(shards: Shards) -> bool:
    return shards.asks(current_epoch=shards.solo.state.current_epoch - 1)


def of_a_primary(shards: Shards) -> bool:
    return shards.asks(shards.other)


def of_a_replica_of_an_unknown_primary(shards: Shards) -> bool:
    orphan = shards.solo.puppet("e")
    orphan.replicaof, orphan.flags = "f" * 40, c.FLAG_REPLICA
    shards.solo.says(orphan)
    return shards.asks(orphan)


def with_a_slot_of_a_greater_epoch(shards: Shards) -> bool:
    return shards.asks(myslots=wire_slots([100, 200]), config_epoch=shards.other.config_epoch - 1)


def under_an_old_config_epoch(shards: Shards) -> bool:
    return shards.asks(config_epoch=shards.failed.config_epoch - 1)


def twice_in_an_epoch(shards: Shards) -> bool:
    assert shards.asks()
    shards.solo.now_ms += 10 * TIMEOUT_MS
    return shards.asks(current_epoch=shards.solo.state.current_epoch)


def for_another_in_the_same_epoch(shards: Shards) -> bool:
    assert shards.asks()
    rival = make_replica(shards.solo, "e", shards.failed.node_id)
    shards.solo.now_ms += 10 * TIMEOUT_MS
    return shards.asks(rival, current_epoch=shards.solo.state.current_epoch)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (old_epoch, "the epoch is behind"),
        (of_a_primary, "it is a primary"),
        (of_a_replica_of_an_unknown_primary, "its primary is not known"),
        (with_a_slot_of_a_greater_epoch, "a slot's epoch"),
        (under_an_old_config_epoch, "a slot's epoch"),
        (twice_in_an_epoch, "already voted for epoch"),
        (for_another_in_the_same_epoch, "already voted for epoch"),
    ],
)
def test_s5_no_vote_and_the_log_says_why(ask: Callable[[Shards], bool], why: str) -> None:
    shards = Shards()
    assert not ask(shards)
    assert shards.solo.counter("refused_vote_request") == 1
    assert not shards.solo.saves(), "nothing was promised"
    assert [text for text in shards.solo.warnings() if text.startswith("Failover auth denied") and why in text]


def test_s5_p11_another_epoch_frees_our_vote_about_the_same_primary_at_once() -> None:
    shards = Shards()
    assert shards.asks()
    assert not shards.asks(current_epoch=shards.solo.state.current_epoch), "one in an epoch"
    assert shards.asks()


def test_s5_votes_about_two_primaries_need_an_epoch_each() -> None:
    shards = Shards()
    solo = shards.solo
    second = make_replica(solo, "e", shards.other.node_id)
    witness = solo.puppet("f", slots=[250])
    solo.fails(witness, shards.other.node_id)
    assert shards.asks()
    assert not shards.asks(second, current_epoch=solo.state.current_epoch)
    assert shards.asks(second)


@pytest.mark.parametrize(("mflags", "granted"), [(0, False), (c.MFLAG_FORCE_ACK, True)])
def test_s6_force_ack_asks_about_a_primary_that_is_well(mflags: int, granted: bool) -> None:
    shards = Shards(fails=False)
    assert shards.asks(mflags=mflags) is granted


def test_s6_we_vote_for_our_own_replica_when_an_operator_asked() -> None:
    shards = Shards()
    ours = make_replica(shards.solo, "e", shards.solo.state.myself.node_id)
    assert shards.asks(ours, mflags=c.MFLAG_FORCE_ACK)


def test_s5_a_node_without_slots_has_no_vote() -> None:
    assert not Shards(votes=False).asks()


def test_s5_a_replica_has_no_vote() -> None:
    shards = Shards(votes=False)
    shards.solo.state.replicate(shards.other.node_id, shards.solo.now_ms)
    shards.solo.poll()
    assert not shards.asks()


def test_s5_an_unclaimed_slot_is_no_obstacle() -> None:
    shards = Shards()
    assert shards.asks(myslots=wire_slots([100, 299]))


def test_s5_a_slot_its_owner_stopped_claiming_is_no_obstacle() -> None:
    shards = Shards()
    assert not shards.asks(myslots=wire_slots([100, 200]), config_epoch=1)
    shards.other.slots = frozenset()
    shards.solo.says(shards.other)
    assert shards.asks(myslots=wire_slots([200]), config_epoch=1)


def test_s4_s5_a_claim_that_is_out_of_date_is_answered_by_update() -> None:
    shards = Shards()
    assert not under_an_old_config_epoch(shards)
    (update,) = shards.solo.sent(shards.replica.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert (update.node_id, update.config_epoch) == (shards.failed.node_id, shards.failed.config_epoch)


def test_s5_without_our_own_link_the_vote_goes_back_on_the_link_of_the_request() -> None:
    shards = Shards()
    shards.solo.state.handle_link_closed(shards.replica.dialled, "eof", shards.solo.now_ms)
    asks_for_vote(shards.solo, shards.replica)
    assert shards.solo.sent(shards.replica.inbound, c.AUTH_ACK)
