"""Leaving as the state sees it: what the leaver stops doing, what the others do, and words that make no sense."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Dial, Effect, Send
from clusterbus.cluster.events import NodeFailed, NodeJoined, NodeLeft, NodeSuspected
from clusterbus.cluster.membership.leaving import FORGET_AFTER_MS, NoForgetting, Word
from clusterbus.cluster.model.leave_state import LeaveAnswer
from clusterbus.errors import StateError
from clusterbus.wire import Extension, Heartbeat, ModuleMessage

from tests.cluster.shards import replicate
from tests.cluster.solo import Puppet, Solo, entry, node_id


def says(solo: Solo, puppet: Puppet, word: int, data: bytes = b"") -> list[Effect]:
    message = ModuleMessage(solo.header(puppet, mflags=0), c.LEAVE_MODULE_ID, word, data)
    return solo.receive(puppet.inbound, message)


def answers(effects: list[Effect], link: int) -> list[tuple[int, bytes]]:
    """(word, data) of what is answered on a link."""
    sent = [effect.message for effect in effects if isinstance(effect, Send) and effect.link == link]
    return [
        (message.module_type, bytes(message.data))
        for message in sent
        if isinstance(message, ModuleMessage) and message.module_id == c.LEAVE_MODULE_ID
    ]


def mentions(message: Heartbeat, forgotten_id: str) -> bool:
    told = [extension.forgotten_node for extension in message.extensions]
    return forgotten_id in [one[0] for one in told if one is not None]


# ---------------------------------------------------------------- the others


def test_who_asks_is_answered_and_stays_known() -> None:
    solo = Solo()
    leaver = solo.puppet("a")
    assert answers(says(solo, leaver, Word.ASK), leaver.inbound) == [(Word.READY, b"")]
    solo.ticks(1_000)
    assert solo.knows(leaver)


def test_a_leaver_is_forgotten_after_the_answer_and_kept_out() -> None:
    solo = Solo()
    leaver, other = solo.puppet("a"), solo.puppet("b")
    assert answers(says(solo, leaver, Word.LEAVE), leaver.inbound) == [(Word.DONE, b"")]
    assert not solo.closed(), "the answer is on its way"
    solo.tick(FORGET_AFTER_MS - 1)
    assert solo.knows(leaver)
    solo.tick(1)
    assert set(solo.closed()) == {leaver.dialled, leaver.inbound}
    assert solo.events(NodeLeft) == [NodeLeft(leaver.node_id, "left")]
    assert not solo.events(NodeFailed)
    assert not solo.events(NodeSuspected)
    solo.gossips(other, entry(leaver))
    solo.now_ms += 59_000
    solo.gossips(other, entry(leaver))
    assert not solo.knows(leaver)
    stranger = Puppet(leaver.node_id, leaver.ip, leaver.port, 0, solo.accept(leaver.ip))
    solo.says(stranger, c.MEET)
    assert solo.state.known_nodes_count == 2


def test_those_who_are_named_hear_of_it_at_once_and_the_leaver_never() -> None:
    solo = Solo()
    leaver, named, other = solo.puppet("a"), solo.puppet("b"), solo.puppet("d")
    for puppet in (leaver, named, other):
        solo.says(puppet)  # with the flag for extensions
    says(solo, leaver, Word.LEAVE, (named.node_id + node_id("9")).encode())
    effects = solo.tick(FORGET_AFTER_MS)
    pongs = {
        effect.link: effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Heartbeat) and effect.message.type == c.PONG
    }
    assert set(pongs) == {named.dialled}
    assert mentions(pongs[named.dialled], leaver.node_id)
    for effect in [*effects, *solo.ticks(3_000)]:
        if isinstance(effect, Send):
            assert effect.link not in (leaver.dialled, leaver.inbound)


def test_who_hears_it_first_from_a_peer_knows_why() -> None:
    solo = Solo()
    leaver, forgotten, other = solo.puppet("a"), solo.puppet("b"), solo.puppet("d")
    says(solo, leaver, Word.ASK)
    told = [Extension.forgotten_node_of(puppet.node_id, 60) for puppet in (leaver, forgotten)]
    solo.says(other, extensions=told)
    assert solo.events(NodeLeft) == [
        NodeLeft(leaver.node_id, "left"),
        NodeLeft(forgotten.node_id, "forgotten by a peer"),
    ]


def test_a_replica_does_not_forget_its_primary() -> None:
    solo = Solo()
    primary = solo.puppet("a", slots=[1])
    replicate(solo, primary)
    for word in (Word.ASK, Word.LEAVE):
        refused = (Word.REFUSED, NoForgetting.IS_REPLICA.to_bytes(1, "big"))
        assert answers(says(solo, primary, word), primary.inbound) == [refused]
    solo.ticks(1_000)
    assert solo.knows(primary)


@pytest.mark.parametrize(
    ("word", "data"),
    [(5, b""), (255, b""), (Word.LEAVE, b"x" * 39), (Word.LEAVE, b"\xff" * 40), (Word.LEAVE, b"a" * 40 * 1_025)],
)
def test_words_that_make_no_sense_are_refused(word: int, data: bytes) -> None:
    solo = Solo()
    peer = solo.puppet("a")
    effects = says(solo, peer, word, data)
    assert solo.counter("refused_leave_word") == 1
    assert answers(effects, peer.inbound) == []
    solo.ticks(1_000)
    assert solo.knows(peer)


def test_answers_to_nobodys_question_are_not_kept() -> None:
    solo = Solo()
    peer = solo.puppet("a")
    says(solo, peer, Word.DONE)
    assert solo.state.leave_answers == {}
    solo.state.begin_leave(solo.now_ms)
    says(solo, peer, Word.REFUSED, b"\x09")
    says(solo, peer, Word.DONE, b"x")
    assert solo.state.leave_answers == {}
    assert solo.counter("refused_leave_word") == 2
    says(solo, peer, Word.DONE)
    assert solo.state.leave_answers == {peer.node_id: LeaveAnswer.DONE}


def test_users_cannot_send_these_words() -> None:
    solo = Solo()
    with pytest.raises(StateError, match="among themselves"):
        solo.state.send_module(None, c.LEAVE_MODULE_ID, Word.LEAVE, b"", solo.now_ms)


# ---------------------------------------------------------------- the leaver


def test_a_leaver_makes_no_new_acquaintance_and_dials_nobody() -> None:
    solo = Solo()
    peer = solo.puppet("a")
    solo.state.begin_leave(solo.now_ms)
    for link in (peer.dialled, peer.inbound):
        solo.state.handle_link_closed(link, "eof", solo.now_ms)
    assert not solo.of(Dial, solo.ticks(5_000))
    witness = Puppet(peer.node_id, peer.ip, peer.port, 0, solo.accept(peer.ip))
    solo.gossips(witness, entry(node_id("c")))
    stranger = Puppet(node_id("d"), "10.0.7.7", 7001, 0, solo.accept("10.0.7.7"))
    solo.says(stranger, c.MEET)
    assert not solo.events(NodeJoined)
    assert solo.state.known_nodes_count == 2
    solo.state.stay(solo.now_ms)
    assert solo.of(Dial, solo.ticks(1_000))


def test_a_word_goes_only_where_there_is_a_link() -> None:
    solo = Solo()
    peer = solo.puppet("a")
    assert solo.state.say_leave(peer.node_id, Word.ASK, solo.now_ms)
    (broadcast,) = [effect for effect in solo.poll() if isinstance(effect, Broadcast)]
    assert broadcast.links == (peer.dialled,)
    assert not solo.state.say_leave(node_id("9"), Word.ASK, solo.now_ms)
    solo.state.handle_link_closed(peer.dialled, "eof", solo.now_ms)
    assert not solo.state.say_leave(peer.node_id, Word.ASK, solo.now_ms)


def test_a_reset_ends_leaving() -> None:
    solo = Solo()
    solo.puppet("a")
    before = solo.state.myself.node_id
    solo.state.begin_leave(solo.now_ms)
    solo.state.start_anew(solo.now_ms)
    assert solo.state.myself.node_id != before
    solo.state.meet("10.0.1.1", 7001, None, solo.now_ms)
    assert solo.of(Dial, solo.ticks(200))
