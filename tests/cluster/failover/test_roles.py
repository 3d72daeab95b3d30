"""Roles, slots and config epochs of other nodes, from their headers and from UPDATE (S4, H26, H27, H28)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Save, Send
from clusterbus.cluster.events import EpochChanged, RoleChanged, SlotsChanged
from clusterbus.cluster.model.node import Node, Succession
from clusterbus.cluster.model.slots import bits_of
from clusterbus.wire import Extension, Update, encode, parse

from tests.cluster.solo import ABILITIES, MYSELF_ID, Puppet, Solo


def owned(solo: Solo, puppet: Puppet) -> set[int]:
    bits = solo.node(puppet).slot_bits
    return {slot for slot in range(c.SLOTS) if bits >> slot & 1}


# ---------------------------------------------------------------- slots


def test_s4_a_primary_gets_the_free_slots_it_claims() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    puppet.slots = frozenset({0, 1, 2, 16383})
    solo.says(puppet)
    assert owned(solo, puppet) == puppet.slots
    assert solo.events(SlotsChanged) == [SlotsChanged(puppet.node_id, ((0, 2), (16383, 16383)), ())]
    assert Save(durable=True) in solo.saves()
    solo.says(puppet)
    assert not solo.events(SlotsChanged)
    assert not solo.saves()


def test_s4_a_slot_that_its_owner_no_longer_claims_goes_to_a_claimer_of_any_epoch() -> None:
    """Found by simulation: an owner that gave a slot away and then raised its epoch kept the slot for ever on other
    nodes.
    """
    solo = Solo()
    owner = solo.puppet("a", slots=[1, 2], config_epoch=9)
    owner.slots = frozenset({1})
    solo.says(owner)
    taker = solo.puppet("b", config_epoch=3)
    taker.slots = frozenset({2})
    solo.says(taker)
    assert owned(solo, owner) == {1}
    assert owned(solo, taker) == {2}
    assert not solo.sent(taker.dialled, c.UPDATE)


@pytest.mark.parametrize(
    ("claimer_epoch", "moves", "gets_update"), [(10, True, False), (5, False, False), (4, False, True)]
)
def test_s4_a_contested_slot_goes_to_the_greater_config_epoch(
    claimer_epoch: int, moves: bool, gets_update: bool
) -> None:
    solo = Solo()
    owner = solo.puppet("a", slots=[1, 2], config_epoch=5)
    claimer = solo.puppet("b", slots=[2, 3], config_epoch=claimer_epoch)
    solo.says(claimer)
    assert bool(solo.sent(claimer.dialled, c.UPDATE)) is gets_update
    assert owned(solo, owner) == ({1} if moves else {1, 2})
    assert owned(solo, claimer) == ({2, 3} if moves else {3})
    assert solo.state.assigned_slots == bits_of([1, 2, 3])


def test_s4_we_lose_slots_by_the_same_rule_and_stay_a_primary_while_some_are_left() -> None:
    solo = Solo()
    solo.state.add_slots([1, 2], solo.now_ms)
    claimer = solo.puppet("b", slots=[1], config_epoch=7)
    assert solo.state.myself.slot_bits == bits_of([2])
    assert owned(solo, claimer) == {1}
    assert solo.state.myself.is_primary


def test_s4_a_stale_claimer_gets_an_update_on_our_link_to_it() -> None:
    solo = Solo()
    owner = solo.puppet("a", slots=[1, 2], config_epoch=9)
    stale = solo.puppet("b", config_epoch=3)
    stale.slots = frozenset({2, 5})
    solo.says(stale)
    (update,) = solo.sent(stale.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert (update.node_id, update.config_epoch) == (owner.node_id, 9)
    assert int.from_bytes(update.slots, "little") == bits_of([1, 2])
    assert owned(solo, stale) == {5}
    solo.state.handle_link_closed(stale.dialled, "eof", solo.now_ms)
    solo.says(stale)
    assert not [send for send in solo.of(Send) if send.message.type == c.UPDATE]


def test_s4_a_stale_claim_that_is_repeated_gets_an_update_each_time() -> None:
    solo = Solo()
    solo.state.add_slots([100], solo.now_ms)
    owner = solo.puppet("a", slots=[1, 2], config_epoch=9)
    stale = solo.puppet("b", config_epoch=3)
    stale.slots = frozenset({2})
    for _ in range(3):
        solo.says(stale)
        (update,) = solo.sent(stale.dialled, c.UPDATE)
        assert isinstance(update, Update)
        assert int.from_bytes(update.slots, "little") == bits_of([1, 2])
    owner.slots = frozenset({1, 2, 7})
    solo.says(owner)
    solo.says(stale)
    (update,) = solo.sent(stale.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert int.from_bytes(update.slots, "little") == bits_of([1, 2, 7])


def test_s4_a_claim_that_was_in_vain_is_looked_at_again_when_anything_has_changed() -> None:
    solo = Solo()
    solo.state.add_slots([100], solo.now_ms)
    owner = solo.puppet("a", slots=[1, 2], config_epoch=9)
    stale = solo.puppet("b", config_epoch=3)
    stale.slots = frozenset({2})
    solo.says(stale)
    solo.says(stale)
    assert owned(solo, owner) == {1, 2}
    owner.slots = frozenset({1})
    solo.says(owner)
    solo.says(stale)
    assert (owned(solo, owner), owned(solo, stale)) == ({1}, {2})
    stale.slots, stale.config_epoch = frozenset({1, 2}), 3
    solo.says(stale)
    assert owned(solo, stale) == {2}
    stale.config_epoch = 10
    solo.says(stale)
    assert owned(solo, stale) == {1, 2}


def test_s4_a_valid_claim_gets_no_update() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[1])
    puppet.slots = frozenset({1, 2})
    solo.says(puppet)
    assert not solo.sent(puppet.dialled, c.UPDATE)


def test_s4_slots_that_an_owner_no_longer_claims_stay_its_own_but_are_in_no_update() -> None:
    solo = Solo()
    owner = solo.puppet("a", slots=[1, 2], config_epoch=9)
    owner.slots = frozenset({1})
    solo.says(owner)
    assert owned(solo, owner) == {1, 2}
    stale = solo.puppet("b", config_epoch=3)
    stale.slots = frozenset({1})
    solo.says(stale)
    (update,) = solo.sent(stale.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert int.from_bytes(update.slots, "little") == bits_of([1])
    owner.slots = frozenset({1, 2})
    solo.says(owner)
    solo.says(stale)
    (update,) = solo.sent(stale.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert int.from_bytes(update.slots, "little") == bits_of([1, 2])


def test_s4_update_moves_slots_and_epoch_of_the_node_it_is_about() -> None:
    solo = Solo()
    teller, about = solo.puppet("a", slots=[1], config_epoch=4), solo.puppet("b", config_epoch=5)
    solo.updates(teller, about.node_id, 8, [1, 2])
    assert owned(solo, about) == {1, 2}
    assert solo.node(about).config_epoch == 8
    assert solo.events(EpochChanged) == [EpochChanged(about.node_id, 8)]
    solo.updates(teller, about.node_id, 8, [3])
    assert owned(solo, about) == {1, 2}


def test_s4_update_about_a_replica_makes_it_a_primary() -> None:
    solo = Solo()
    primary, replica = solo.puppet("a", slots=[1], config_epoch=4), solo.puppet("b")
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA
    solo.says(replica)
    solo.updates(primary, replica.node_id, 200, [1])
    assert solo.node(replica).is_primary
    assert not solo.node(primary).replicas
    assert owned(solo, replica) == {1}


# ---------------------------------------------------------------- roles


def test_s4_a_replica_is_learnt_with_its_primary_and_shard() -> None:
    solo = Solo()
    primary, replica = solo.puppet("a", slots=[1], config_epoch=4), solo.puppet("b")
    replica.replicaof, replica.flags, replica.config_epoch = primary.node_id, c.FLAG_REPLICA, 4
    replica.slots = primary.slots
    solo.says(replica, extensions=[])
    node = solo.node(replica)
    assert node.is_replica
    assert not node.is_primary
    assert node.replicaof is solo.node(primary)
    assert list(solo.node(primary).replicas) == [replica.node_id]
    assert solo.events(RoleChanged) == [RoleChanged(replica.node_id, "replica", primary.node_id)]
    assert owned(solo, replica) == set(), "a replica's header shows its primary's slots"
    assert node.config_epoch != 4 or ord("b") == 4


def test_s4_a_replica_of_a_node_not_known_yet_is_still_a_replica() -> None:
    solo = Solo()
    replica = solo.puppet("b")
    replica.replicaof, replica.flags = "f" * 40, c.FLAG_REPLICA
    solo.says(replica)
    assert solo.node(replica).is_replica
    assert solo.node(replica).replicaof is None


def test_s4_a_node_cannot_be_its_own_primary() -> None:
    solo = Solo()
    replica = solo.puppet("b")
    replica.replicaof, replica.flags = replica.node_id, c.FLAG_REPLICA
    solo.says(replica)
    assert solo.node(replica).replicaof is None
    assert solo.state.nodes_text()


def test_s4_a_promoted_replica_takes_its_primarys_slots() -> None:
    solo = Solo()
    old, new = solo.puppet("a", slots=[1, 2], config_epoch=4), solo.puppet("b", config_epoch=0)
    new.replicaof, new.flags = old.node_id, c.FLAG_REPLICA
    solo.says(new)
    new.replicaof, new.flags, new.config_epoch, new.slots = None, c.FLAG_PRIMARY, 11, old.slots
    solo.says(new)
    assert solo.node(new).is_primary
    assert owned(solo, new) == {1, 2}
    assert owned(solo, old) == set()
    assert solo.node(new).config_epoch == 11
    old.replicaof, old.flags, old.config_epoch = new.node_id, c.FLAG_REPLICA, 11
    solo.says(old)
    assert solo.node(old).is_replica
    assert solo.node(old).replicaof is solo.node(new)


def test_s4_a_failover_is_learnt_from_the_old_primary_too() -> None:
    """The header of the old primary arrives first. It names a new primary of the same shard, and is believed."""
    solo = Solo()
    old, new = solo.puppet("a", slots=[1], config_epoch=4), solo.puppet("b", config_epoch=0)
    new.replicaof, new.flags = old.node_id, c.FLAG_REPLICA
    solo.says(new, extensions=[])
    assert solo.node(new).shard_id == solo.node(old).shard_id
    old.replicaof, old.flags, old.config_epoch = new.node_id, c.FLAG_REPLICA, 12
    solo.says(old)
    assert solo.node(new).is_primary
    assert solo.node(new).config_epoch == 12
    assert solo.node(old).replicaof is solo.node(new)


def test_s4_a_primary_that_joins_another_shard_as_replica_leaves_its_slots() -> None:
    solo = Solo()
    leaver, primary = solo.puppet("a", slots=[1]), solo.puppet("b", slots=[2])
    leaver.replicaof, leaver.flags = primary.node_id, c.FLAG_REPLICA
    solo.says(leaver)
    assert owned(solo, leaver) == set()
    assert solo.state.owner_of(1) is None


def test_s4_replicas_of_a_forgotten_primary_have_no_primary() -> None:
    solo = Solo()
    primary, replica = solo.puppet("a", slots=[1]), solo.puppet("b")
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA
    solo.says(replica)
    solo.state.forget(primary.node_id, solo.now_ms)
    assert solo.node(replica).replicaof is None
    assert solo.state.node_line(solo.node(replica)).split()[3] == "-"
    assert solo.state.assigned_slots == 0


def test_s4_the_primary_of_a_replica_may_be_us() -> None:
    solo = Solo()
    replica = solo.puppet("b")
    replica.replicaof, replica.flags = MYSELF_ID, c.FLAG_REPLICA
    solo.says(replica, extensions=[])
    assert list(solo.state.myself.replicas) == [replica.node_id]
    assert solo.node(replica).shard_id == solo.state.myself.shard_id


# ---------------------------------------------------------------- epochs


def test_s4_the_current_epoch_is_the_greatest_seen() -> None:
    solo = Solo()
    puppet = solo.puppet("a", config_epoch=3)
    for announced, expected in ((10, 10), (7, 10), (11, 11)):
        solo.says(puppet, current_epoch=announced)
        assert solo.state.current_epoch == expected


def test_s4_a_config_epoch_of_a_primary_is_taken_when_it_is_newer() -> None:
    solo = Solo()
    puppet = solo.puppet("a", config_epoch=3)
    for announced, expected in ((5, 5), (4, 5)):
        solo.says(puppet, config_epoch=announced)
        assert solo.node(puppet).config_epoch == expected


@pytest.mark.parametrize(("letter", "bumps"), [("a", True), ("1", False)])
def test_h27_of_two_primaries_with_one_config_epoch_the_smaller_id_takes_a_new_one_once(
    letter: str, bumps: bool
) -> None:
    """Our id is 555...: smaller than aaa..., greater than 111..."""
    solo = Solo()
    puppet = solo.puppet(letter, config_epoch=6)
    solo.state.myself.config_epoch = 6
    effects = solo.says(puppet, current_epoch=9)
    assert solo.state.myself.config_epoch == (10 if bumps else 6)
    assert solo.state.current_epoch == (10 if bumps else 9)
    assert (Save(durable=True) in effects) is bumps
    solo.says(puppet, current_epoch=9)
    assert solo.state.myself.config_epoch == (10 if bumps else 6)


def test_h27_the_new_epoch_is_on_disk_before_it_is_announced() -> None:
    solo = Solo()
    puppet = solo.puppet("a", config_epoch=6)
    solo.state.myself.config_epoch = 6
    packet = parse(encode(solo.heartbeat(puppet)))[0]
    for _ in range(2):
        solo.state.handle_packet(puppet.inbound, packet, solo.now_ms)
    told: list[str | int] = []
    for effect in solo.poll():
        if isinstance(effect, Save):
            told.append("saved")
        elif isinstance(effect, Send) and effect.message.type == c.PONG:
            assert effect.message.header is not None
            told.append(effect.message.header.config_epoch)
    assert told == ["saved", 7, 7, 7], "two answers, and the announcement to all"


def test_h27_replicas_do_not_collide() -> None:
    solo = Solo()
    primary, replica = solo.puppet("1", config_epoch=2), solo.puppet("a", config_epoch=0)
    replica.replicaof, replica.flags, replica.config_epoch = primary.node_id, c.FLAG_REPLICA, 0
    solo.state.myself.config_epoch = 50
    solo.says(replica)
    solo.node(replica).config_epoch = 50
    solo.says(replica)
    assert solo.state.myself.config_epoch == 50


def test_h28_the_last_epoch_is_never_passed() -> None:
    solo = Solo(cluster_epoch_jump_max=0)
    puppet = solo.puppet("a", config_epoch=6)
    solo.state.myself.config_epoch = 6
    solo.says(puppet, current_epoch=c.EPOCH_MAX)
    assert solo.state.current_epoch == c.EPOCH_MAX
    assert solo.state.myself.config_epoch == 6
    assert solo.counter("refused_epoch_exhausted") == 1
    assert not solo.state.bump_epoch(solo.now_ms)
    assert solo.is_alive()


def told(solo: Solo, puppet: Puppet) -> list[Any]:
    """The headers of the PONGs on the link that we dialled."""
    return [message.header for message in solo.sent(puppet.dialled, c.PONG)]


def test_p15_everybody_is_told_at_once_of_an_epoch_that_settles_a_collision() -> None:
    solo = Solo()
    puppet, other = solo.puppet("a", config_epoch=6), solo.puppet("b")
    solo.state.myself.config_epoch = 6
    solo.says(puppet, current_epoch=300)
    assert [header.config_epoch for header in told(solo, other)] == [301]
    assert solo.effects.index(Save(durable=True)) < solo.effects.index(solo.of(Send)[0])


def test_p15_everybody_is_told_at_once_of_bumpepoch() -> None:
    solo = Solo()
    other = solo.puppet("b")
    assert solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    assert [header.config_epoch for header in told(solo, other)] == [solo.state.myself.config_epoch]
    assert not solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    assert not told(solo, other), "no news"


def test_p15_everybody_is_told_at_once_of_our_demotion() -> None:
    solo = Solo()
    solo.state.add_slots([1], solo.now_ms)
    other, taker = solo.puppet("b"), solo.puppet("a")
    taker.slots, taker.config_epoch = frozenset({1}), 500
    solo.says(taker)
    assert [header.replicaof for header in told(solo, other)] == [taker.node_id]


class Rivals:
    """We own slots 1 and 2 and follow nobody; puppet `letter` is of our shard, a third node looks on."""

    def __init__(self, letter: str) -> None:
        self.solo = Solo()
        self.solo.state.add_slots([1, 2], self.solo.now_ms)
        self.rival, self.witness = self.solo.puppet(letter, config_epoch=0), self.solo.puppet("b", config_epoch=3)
        self.shard = [Extension.shard_id_of(self.solo.state.myself.shard_id)]

    @property
    def myself(self) -> Node:
        return self.solo.state.myself

    def is_replica(self) -> None:
        self.rival.replicaof, self.rival.flags = MYSELF_ID, c.FLAG_REPLICA | ABILITIES
        self.solo.says(self.rival, extensions=self.shard)

    def claims(self, *slots: int, config_epoch: int) -> list[Effect]:
        self.rival.replicaof, self.rival.flags = None, c.FLAG_PRIMARY | ABILITIES
        self.rival.slots, self.rival.config_epoch = frozenset(slots), config_epoch
        return self.solo.says(self.rival, extensions=self.shard, current_epoch=max(600, config_epoch))


@pytest.mark.parametrize("elected", [True, False])
def test_p16_who_was_elected_in_an_epoch_leaves_no_slots_to_an_old_claim_of_the_same_epoch(elected: bool) -> None:
    rivals = Rivals("1")
    rivals.is_replica()
    core = rivals.solo.state._core
    core.set_config_epoch(core.myself, 600)
    core.elected_epoch = 600 if elected else 0
    rivals.claims(1, 2, config_epoch=600)
    assert rivals.myself.is_primary is elected


@pytest.mark.parametrize("letter", ["a", "1"])
def test_p16_our_replica_was_elected_in_the_epoch_that_we_took_without_votes_and_we_follow_it(letter: str) -> None:
    """Our id is 555...: whether it is the smaller or the greater one decides nothing. The witness must learn that we
    have given up our slots before it hears that we are a replica: it has no other reason to give them to the rival.
    """
    rivals = Rivals(letter)
    solo = rivals.solo
    rivals.is_replica()
    solo.state._core.current_epoch = 599
    assert solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    assert rivals.myself.config_epoch == 600
    rivals.claims(1, 2, config_epoch=600)
    assert rivals.myself.replicaof is solo.node(rivals.rival)
    assert owned(solo, rivals.rival) == {1, 2}
    assert solo.state.current_epoch == 600, "no epoch was taken"
    first, second = told(solo, rivals.witness)
    assert (first.replicaof, first.config_epoch, int.from_bytes(first.myslots, "little")) == (None, 600, 0)
    assert (second.replicaof, second.config_epoch) == (rivals.rival.node_id, 600)
    assert not [update for update in solo.of(Send) if update.message.type == c.UPDATE]


def test_p16_of_other_primaries_of_our_shard_the_smaller_id_still_takes_a_new_epoch() -> None:
    rivals = Rivals("a")
    rivals.solo.state._core.set_config_epoch(rivals.myself, 600)
    rivals.claims(1, 2, config_epoch=600)
    assert rivals.myself.is_primary
    assert rivals.myself.config_epoch == 601


@pytest.mark.parametrize("letter", ["a", "1"])
def test_p16_the_primary_whose_place_we_took_has_our_epoch_and_we_go_past_the_next(letter: str) -> None:
    """It may be a server that takes the next epoch now, because its id is the smaller one."""
    rivals = Rivals(letter)
    solo = rivals.solo
    solo.state.flush_slots(solo.now_ms)
    rivals.claims(1, 2, config_epoch=590)
    solo.state.replicate(rivals.rival.node_id, solo.now_ms)
    solo.state.failover(solo.now_ms, takeover=True)
    solo.poll()
    epoch = rivals.myself.config_epoch
    assert rivals.myself.slot_bits == bits_of([1, 2])
    rivals.claims(1, 2, config_epoch=epoch)
    assert rivals.myself.config_epoch == epoch + 2
    assert [header.config_epoch for header in told(solo, rivals.witness)] == [epoch + 2]
    rivals.claims(1, 2, config_epoch=epoch + 1)
    assert rivals.myself.slot_bits == bits_of([1, 2])
    assert rivals.myself.is_primary


def succession_of(node: Node) -> Succession:
    return node.succession


def test_p16_who_follows_the_other_one_again_forgets_that_it_took_its_place() -> None:
    rivals = Rivals("1")
    rivals.is_replica()
    rivals.claims(1, 2, config_epoch=600)
    node = rivals.solo.node(rivals.rival)
    assert rivals.myself.replicaof is node
    assert succession_of(node) is Succession.NONE
    rivals.solo.state.failover(rivals.solo.now_ms, takeover=True)
    rivals.solo.poll()
    assert succession_of(node) is Succession.PREDECESSOR
    rivals.is_replica()
    assert succession_of(node) is Succession.PREDECESSOR, "its header is older than our epoch, and changes nothing"
    rivals.rival.config_epoch = rivals.myself.config_epoch
    rivals.is_replica()
    assert succession_of(node) is Succession.NONE


@pytest.mark.parametrize("allowed", [True, False])
def test_s4_with_its_last_slot_gone_elsewhere_a_node_follows_the_newer_primary_of_its_shard(allowed: bool) -> None:
    """Found by simulation: it was away while its shard changed its primary and then gave one slot to another shard."""
    rivals = Rivals("a")
    rivals.solo.config.update(cluster_allow_replica_migration=allowed)
    rivals.claims(1, config_epoch=600)
    assert rivals.myself.is_primary, "slot 2 is left"
    rivals.witness.slots, rivals.witness.config_epoch = frozenset({2}), 601
    rivals.solo.says(rivals.witness)
    assert rivals.myself.replicaof is rivals.solo.node(rivals.rival)


# ---------------------------------------------------------------- late packets


@pytest.mark.parametrize(("current_epoch", "believed"), [(499, False), (500, True)])
def test_s4_a_heartbeat_that_a_primary_sent_before_its_election_is_stale(current_epoch: int, believed: bool) -> None:
    """Since its election, its current epoch is at least that of the election."""
    solo = Solo()
    old, new = solo.puppet("a", slots=[1]), solo.puppet("b", config_epoch=500)
    new.replicaof, new.flags = old.node_id, c.FLAG_REPLICA
    solo.says(new, current_epoch=current_epoch)
    assert solo.node(new).is_replica is believed
    assert solo.counter("refused_stale_role") == (not believed)


class SwappedShard:
    """ "a" and "b" are of one shard. "b" won the election of epoch 500, and "a" is its replica now."""

    def __init__(self) -> None:
        self.solo = Solo()
        self.old, self.new = self.solo.puppet("a", slots=[1], config_epoch=7), self.solo.puppet("b", config_epoch=0)
        self.shard = [Extension.shard_id_of(self.solo.node(self.old).shard_id)]
        self.follows(self.new, self.old, 7)
        self.leads(self.new, 500)
        self.follows(self.old, self.new, 500)
        assert self.solo.node(self.old).replicaof is self.solo.node(self.new)

    def follows(self, replica: Puppet, primary: Puppet, config_epoch: int, **changes: Any) -> list[Effect]:
        fields: dict[str, Any] = {"replicaof": primary.node_id, "flags": c.FLAG_REPLICA, "config_epoch": config_epoch}
        fields |= changes
        return self.solo.says(replica, extensions=self.shard, **fields)

    def leads(self, primary: Puppet, config_epoch: int) -> None:
        primary.slots, primary.config_epoch = frozenset({1}), config_epoch
        self.solo.says(primary, extensions=self.shard)


@pytest.mark.parametrize(("config_epoch", "believed"), [(7, False), (499, False), (500, True)])
def test_p10_within_a_shard_a_replicas_header_with_an_older_config_epoch_is_stale(
    config_epoch: int, believed: bool
) -> None:
    """Sent when "b" was asking for votes, so that its current epoch was that of its election already."""
    shard = SwappedShard()
    solo = shard.solo
    shard.follows(shard.new, shard.old, config_epoch, current_epoch=500)
    assert solo.node(shard.new).is_replica is believed
    assert solo.counter("refused_stale_role") == (not believed)
    assert owned(solo, shard.new) == {1} or believed


def test_p10_so_is_one_with_a_config_epoch_below_that_of_the_primary_it_names_and_an_update_mends_it() -> None:
    """ "a" leads again, under 600, and "b" follows it under an older epoch: an old packet, or "b" missed the news."""
    shard = SwappedShard()
    solo = shard.solo
    shard.leads(shard.old, 600)
    assert owned(solo, shard.old) == {1}
    shard.follows(shard.new, shard.old, 599, current_epoch=600)
    assert solo.node(shard.new).is_primary
    (update,) = solo.sent(shard.new.dialled, c.UPDATE)
    assert isinstance(update, Update)
    assert (update.node_id, update.config_epoch) == (shard.old.node_id, 600)
    shard.follows(shard.new, shard.old, 600, current_epoch=600)
    assert solo.node(shard.new).replicaof is solo.node(shard.old)


def test_p10_into_another_shard_a_primary_may_go_under_any_epoch() -> None:
    shard = SwappedShard()
    other = shard.solo.puppet("c", slots=[2], config_epoch=3)
    shard.follows(shard.new, other, 3, current_epoch=500)
    assert shard.solo.node(shard.new).replicaof is shard.solo.node(other)


def test_s4_p18_a_promoted_replica_is_of_our_shard_even_if_it_never_announced_that() -> None:
    solo = Solo(cluster_allow_replica_migration=False)
    solo.state.add_slots([1], solo.now_ms)
    replica = solo.puppet("b", config_epoch=0)
    replica.replicaof, replica.flags = MYSELF_ID, c.FLAG_REPLICA
    solo.says(replica)
    assert solo.node(replica).shard_id == solo.state.myself.shard_id, "whatever its last heartbeat announced"
    replica.replicaof, replica.flags, replica.config_epoch, replica.slots = None, c.FLAG_PRIMARY, 500, frozenset({1})
    solo.says(replica)
    assert solo.state.myself.replicaof is solo.node(replica)


def test_s4_a_replica_of_a_replica_corrects_itself_at_the_next_tick() -> None:
    solo = Solo()
    primary, other = solo.puppet("a", slots=[1]), solo.puppet("c", slots=[2])
    primary.replicaof, primary.flags = other.node_id, c.FLAG_REPLICA
    solo.state.replicate(primary.node_id, solo.now_ms)
    solo.says(primary)
    solo.state.myself.follow(solo.node(primary))
    solo.tick()
    assert solo.state.myself.replicaof is solo.node(other)
