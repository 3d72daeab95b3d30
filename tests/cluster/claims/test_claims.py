"""Votes, promises and gifts of one member, whose peers are puppets that write what they like."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import letters
from clusterbus.cluster.claims.letters import REASONS, Denial, Kind, Letter
from clusterbus.cluster.effects import Broadcast, Effect, Save
from clusterbus.cluster.events import SlotOrderEnded, SlotsTaken
from clusterbus.cluster.model.node import Kin
from clusterbus.cluster.operator import persist
from clusterbus.errors import StateError
from clusterbus.wire import ModuleMessage

from tests.cluster.shards import make_replica, replicate
from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry

SLOT = 7
BIT = 1 << SLOT
NODE_TIMEOUT_MS = 2_000


class World:
    """We and two puppets of our kind, "a" and "b"; none has slots. `answers` are the letters of the last input."""

    def __init__(self, solo: Solo | None = None, names: str = "ab") -> None:
        self.solo = solo or Solo()
        self.state = self.solo.state
        self.a, self.b = (self.solo.puppet(name) for name in names)
        self.epoch = self.state.current_epoch + 1

    def writes(self, puppet: Puppet, kind: Kind, **fields: Any) -> list[Letter]:
        """A puppet sends a letter; what we send because of it."""
        return self.raw(puppet, kind, letters.encode(Letter(kind, fields.pop("has_data", False), **fields)))

    def raw(self, puppet: Puppet, kind: int, data: bytes) -> list[Letter]:
        header = self.solo.header(puppet, mflags=0)
        message = ModuleMessage(header, c.SLOT_CLAIMS_MODULE_ID, kind, data)
        return written(self.solo.receive(puppet.inbound, message))

    def asks(self, puppet: Puppet, epoch: int | None = None, **fields: Any) -> Letter:
        answers = self.writes(puppet, Kind.ASK, **{"epoch": epoch or self.epoch, "count": 3, "slots": BIT} | fields)
        (answer,) = (letter for letter in answers if letter.kind is not Kind.HELLO)
        return answer

    def denies(self, puppet: Puppet, epoch: int | None = None, **fields: Any) -> str:
        answer = self.asks(puppet, epoch, **fields)
        assert answer.kind is Kind.DENY
        return REASONS[Denial(answer.count)]

    def takes(self, bits: int = BIT, timeout_ms: int = 5_000, **options: Any) -> list[Letter]:
        self.state.take_slots(bits, timeout_ms, self.solo.now_ms, **options)
        return written(self.solo.poll())

    def owns(self, puppet: Puppet, *slots: int) -> None:
        puppet.slots = frozenset(slots)
        self.solo.says(puppet)

    def fail(self, puppet: Puppet, *well: Puppet) -> None:
        """We hold a puppet PFAIL; the others are well."""
        others = [other for other in (self.a, self.b, *well) if other is not puppet]
        while not self.solo.node(puppet).flags & c.FAILING:
            self.solo.tick()
            for other in others:
                self.solo.says(other, c.PONG)
                self.solo.says(other)


def written(effects: list[Effect]) -> list[Letter]:
    messages = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [
        letters.decode(message.module_type, bytes(message.data))
        for message in messages
        if isinstance(message, ModuleMessage) and message.module_id == c.SLOT_CLAIMS_MODULE_ID
    ]


# ---------------------------------------------------------------- letters


@pytest.mark.parametrize("kind", Kind)
def test_a_letter_is_read_as_it_was_written(kind: Kind) -> None:
    has_slots = kind in (Kind.ASK, Kind.RENEW, Kind.RENEWED, Kind.GIVE)
    letter = Letter(
        kind,
        True,
        1,
        2,
        3,
        4,
        BIT if has_slots else 0,
        1 << 16_383 if kind is Kind.ASK else 0,
        "why" * (kind is Kind.GAVE),
    )
    assert letters.decode(kind, letters.encode(letter)) == letter


def test_the_reason_in_a_letter_is_shown_as_plain_ascii_h12() -> None:
    """It is logged, and read by people: what a peer puts there must not look like anything else."""
    data = letters.encode(Letter(Kind.GAVE, True)) + b"no\n\x1b[2J\xff\x7f."
    assert letters.decode(Kind.GAVE, data).text == "no??[2J??."


@pytest.mark.parametrize("kind", [*Kind, 9, 255])
@pytest.mark.parametrize("data", [b"", b"\1" * 28, b"\1" * 5_000, b"\xff" * 29, b"\xff" * (29 + 2_048)])
def test_letters_that_make_no_sense_are_refused_and_change_nothing(kind: int, data: bytes) -> None:
    world = World()
    before = world.state.nodes_conf_text()
    world.raw(world.a, kind, data)
    assert world.solo.is_alive()
    if kind > max(Kind) or len(data) in (0, 28, 5_000):
        assert world.solo.counter("refused_letter") == 1
    if kind not in (Kind.ASK, Kind.DENY):  # whose epochs are those of a peer, and followed as a header's are
        assert world.state.nodes_conf_text() == before


def test_programs_cannot_send_under_the_id_of_letters() -> None:
    world = World()
    with pytest.raises(StateError, match="clusterbus nodes use among themselves"):
        world.state.send_module(None, c.SLOT_CLAIMS_MODULE_ID, 0, b"", world.solo.now_ms)


# ---------------------------------------------------------------- votes


def test_a_vote_is_on_disk_before_it_is_sent_and_is_the_only_one_in_its_epoch() -> None:
    world = World()
    assert world.asks(world.a).kind is Kind.VOTE
    kinds = [type(effect) for effect in world.solo.effects if isinstance(effect, Save | Broadcast)]
    assert kinds == [Save, Broadcast]
    assert f"lastVoteEpoch {world.epoch}" in world.state.nodes_conf_text()
    assert world.denies(world.b) == "has voted for another node in that epoch"
    assert world.denies(world.a) == "has voted for another node in that epoch"
    assert world.denies(world.b, world.epoch - 1) == "knows a later epoch"
    assert world.asks(world.b, world.epoch + 1).kind is Kind.VOTE


def test_no_vote_against_an_owner_that_is_alive_unless_it_is_meant() -> None:
    world = World()
    world.owns(world.b, SLOT)
    assert world.denies(world.a, 200, other_epoch=150) == "holds the owner for alive"
    assert world.denies(world.a, 200, living=BIT) == "knows a newer owner"
    assert world.asks(world.a, 200, other_epoch=150, living=BIT).kind is Kind.VOTE
    world.fail(world.b)
    assert world.asks(world.a, 201, other_epoch=150).kind is Kind.VOTE


def test_no_vote_for_who_knows_fewer_members() -> None:
    world = World()
    assert world.denies(world.a, count=2) == "knows more members"


def test_a_member_that_has_restarted_votes_for_nobody_for_a_node_timeout() -> None:
    world = World()
    saved = persist.parse(world.state.nodes_conf_text())
    solo = Solo(saved=saved)
    solo._ports = count(7_101)
    again = World(solo, "cd")
    assert again.denies(again.a, count=9) == "has restarted within the node timeout"
    again.solo.now_ms += NODE_TIMEOUT_MS
    assert again.asks(again.a, again.state.current_epoch + 1, count=9).kind is Kind.VOTE


# ---------------------------------------------------------------- promises


def test_a_slot_is_promised_to_one_node_until_the_promise_is_over_or_given_back() -> None:
    world = World()
    renew: dict[str, Any] = {"number": 1, "epoch": 300, "count": 60_000}
    (first,) = world.writes(world.a, Kind.RENEW, slots=BIT, **renew)
    assert (first.kind, first.slots, first.count) == (Kind.RENEWED, BIT, NODE_TIMEOUT_MS)
    (second,) = world.writes(world.b, Kind.RENEW, slots=BIT | 2, **renew)
    assert second.slots == 2
    assert world.denies(world.b, 301) == "has promised the slots to their holder until its lease is over"
    world.writes(world.a, Kind.RENEW, slots=0, **renew)  # given back
    assert world.writes(world.b, Kind.RENEW, slots=BIT, **renew)[0].slots == BIT
    world.solo.now_ms += NODE_TIMEOUT_MS - 1
    assert world.writes(world.a, Kind.RENEW, slots=BIT, **renew)[0].slots == 0
    world.solo.now_ms += 1
    assert world.writes(world.a, Kind.RENEW, slots=BIT, **renew)[0].slots == BIT


def test_an_owner_with_an_older_epoch_gets_no_promise() -> None:
    world = World()
    world.owns(world.b, SLOT)
    assert world.writes(world.a, Kind.RENEW, number=1, epoch=1, count=60_000, slots=BIT)[0].slots == 0


def test_a_holder_does_not_count_on_promises_that_it_has_not_asked_for() -> None:
    world = World()
    asked = world.takes()
    epoch = asked[0].epoch
    world.writes(world.a, Kind.VOTE, epoch=epoch + 1)
    world.writes(world.a, Kind.RENEWED, number=99, count=60_000, slots=BIT)
    assert world.state.owner_of(SLOT) is None
    renewals = world.writes(world.a, Kind.VOTE, epoch=epoch)
    assert world.state.owner_of(SLOT) is world.state.myself
    assert world.solo.events(SlotsTaken) == [SlotsTaken(epoch, ((SLOT, SLOT),))]
    assert not world.state.held_slots(BIT, world.solo.now_ms)
    number = next(letter.number for letter in renewals if letter.kind is Kind.RENEW)
    world.writes(world.a, Kind.RENEWED, number=number + 50, count=60_000, slots=BIT)
    assert not world.state.held_slots(BIT, world.solo.now_ms)
    world.writes(world.a, Kind.RENEWED, number=number, count=60_000, slots=BIT)
    assert world.state.held_slots(BIT, world.solo.now_ms)
    assert world.solo.events(SlotOrderEnded)[0].reason == ""
    assert world.state.held_slots(BIT, world.solo.now_ms + NODE_TIMEOUT_MS * 7 // 8 - 1)
    assert not world.state.held_slots(BIT, world.solo.now_ms + NODE_TIMEOUT_MS * 7 // 8)


# ---------------------------------------------------------------- do no harm


def test_slots_of_an_owner_that_may_have_keys_are_not_taken_from_it() -> None:
    world = World()
    world.owns(world.b, SLOT)
    (hello,) = world.takes()
    assert hello.kind is Kind.HELLO
    world.writes(world.b, Kind.HERE, has_data=True)
    (ended,) = world.solo.events(SlotOrderEnded)
    assert "has keys, which would be lost (force=True)" in ended.reason
    with pytest.raises(StateError, match="has keys: they would be lost"):
        world.takes()
    assert [letter.kind for letter in world.takes(force=True)] == [Kind.ASK, Kind.ASK]


def test_slots_of_an_owner_without_keys_are_asked_for() -> None:
    world = World()
    world.owns(world.b, SLOT)
    world.takes()
    asked = world.writes(world.b, Kind.HERE)
    assert {(letter.kind, letter.living) for letter in asked} == {(Kind.ASK, BIT)}


def test_a_failing_owner_that_nobody_can_ask_and_one_with_a_replica_keep_their_slots() -> None:
    world = World()
    world.owns(world.b, SLOT)
    replica = make_replica(world.solo, "c", world.b.node_id, offset=1)
    world.fail(world.b, replica)
    with pytest.raises(StateError, match="may have keys"):
        world.takes()
    world.solo.node(world.b).has_data = False
    with pytest.raises(StateError, match=f"its replica {'c' * 40} is to be elected"):
        world.takes()


def test_a_replica_takes_no_slots_and_a_taker_that_lost_its_last_one_becomes_none() -> None:
    world = World()
    world.owns(world.a, 3)
    replicate(world.solo, world.a)
    with pytest.raises(StateError, match="is a replica"):
        world.takes()


# ---------------------------------------------------------------- gifts


def test_a_gift_is_taken_by_votes_and_answered() -> None:
    world = World()
    world.owns(world.b, SLOT)
    asked = world.writes(world.b, Kind.GIVE, number=5, count=60_000, slots=BIT)
    assert {letter.kind for letter in asked} == {Kind.ASK}
    renewals = world.writes(world.b, Kind.VOTE, epoch=asked[0].epoch)
    number = next(letter.number for letter in renewals if letter.kind is Kind.RENEW)
    (gave,) = world.writes(world.b, Kind.RENEWED, number=number, count=60_000, slots=BIT)
    assert (gave.kind, gave.number, gave.text) == (Kind.GAVE, 5, "")
    assert not world.solo.events(SlotOrderEnded)


def test_a_gift_of_what_the_giver_does_not_own_is_refused_and_so_is_a_second_one() -> None:
    world = World()
    world.owns(world.b, SLOT)
    (gave,) = world.writes(world.a, Kind.GIVE, number=5, count=60_000, slots=BIT)
    assert (gave.kind, gave.number) == (Kind.GAVE, 5)
    assert "slot 7 is not of the node that gives it" in gave.text
    world.writes(world.b, Kind.GIVE, number=6, count=60_000, slots=BIT)
    (gave,) = world.writes(world.b, Kind.GIVE, number=7, count=60_000, slots=BIT)
    assert "an earlier order of the same node is under way" in gave.text
    assert world.solo.counter("refused_slot_gift") == 2


def test_a_giver_waits_for_the_claim_and_believes_no_third_node() -> None:
    world = World()
    world.state.add_slots([SLOT], world.solo.now_ms)
    number = world.state.move_slots(BIT, world.b.node_id, 5_000, world.solo.now_ms)
    world.solo.poll()
    world.writes(world.a, Kind.GAVE, number=number, text="no")
    world.writes(world.b, Kind.GAVE, number=number)  # it says so, and claims nothing
    assert not world.solo.events(SlotOrderEnded)
    world.b.config_epoch = 400
    world.owns(world.b, SLOT)
    world.solo.tick()
    assert world.solo.events(SlotOrderEnded) == [SlotOrderEnded(number, "", is_late=False)]


def test_a_heir_that_refuses_says_why_to_the_program() -> None:
    world = World()
    world.state.add_slots([SLOT], world.solo.now_ms)
    number = world.state.move_slots(BIT, world.b.node_id, 5_000, world.solo.now_ms)
    world.solo.poll()
    world.writes(world.b, Kind.GAVE, number=number, text="I am\x1b busy")
    (ended,) = world.solo.events(SlotOrderEnded)
    assert ended.reason == f"node {world.b.node_id} refused: I am? busy"


# ---------------------------------------------------------------- who counts


def test_a_node_that_answers_pings_and_no_letters_does_not_count() -> None:
    world = World()
    world.takes()
    world.writes(world.a, Kind.HERE)
    assert world.solo.node(world.a).kin is Kin.OURS
    for _ in range(2 * NODE_TIMEOUT_MS // 100):
        world.solo.tick()
        for puppet in (world.a, world.b):
            world.solo.says(puppet, c.PONG)
            world.solo.gossips(puppet, entry(MYSELF_ID))
    assert world.solo.node(world.b).kin is Kin.OTHER
    assert world.asks(world.a, world.state.current_epoch + 1, count=2).kind is Kind.VOTE


def test_orders_that_wait_are_limited() -> None:
    world = World()
    for _ in range(c.CLAIMS_WAITING_MAX):
        world.takes()
    with pytest.raises(StateError, match="64 orders to take slots are waiting"):
        world.takes()
    world.state.reset(world.solo.now_ms)
    world.solo.poll()
    assert {event.reason for event in world.solo.events(SlotOrderEnded)} == {"reset"}


def test_a_refused_order_leaves_everything_as_it_was() -> None:
    world = World()
    before = world.state.nodes_conf_text()
    with pytest.raises(StateError, match="reaches 3 of 3 members, and 4 must agree"):
        world.takes(votes_min=4)
    assert world.state.nodes_conf_text() == before
    assert (world.state._core.claims.votes_min, world.state.keeps_leases) == (1, False)


def test_where_servers_of_another_kind_own_slots_most_of_the_owners_must_be_within_reach() -> None:
    world = World()
    world.owns(world.a, 3)
    world.owns(world.b, 4)
    for puppet in (world.a, world.b):
        world.solo.node(puppet).kin = Kin.OTHER
    world.takes()  # we alone are the members that vote
    assert world.state.held_slots(BIT, world.solo.now_ms) == BIT
    world.solo.tick_until(lambda: all(world.solo.node(puppet).flags & c.FAILING for puppet in (world.a, world.b)))
    assert world.state.owner_of(SLOT) is world.state.myself
    assert not world.state.held_slots(BIT, world.solo.now_ms)
    with pytest.raises(StateError, match="does not reach most of the primaries that own slots"):
        world.takes(1 << 9)
