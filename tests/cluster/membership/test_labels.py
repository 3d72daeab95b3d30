"""The label of a cluster: nodes of another one are not let in, and what they say is refused."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Refuse
from clusterbus.cluster.events import HandshakeFailed, Message, PeerRefused
from clusterbus.cluster.heartbeats.extensions import padded
from clusterbus.wire import Extension, HeaderOnly, Heartbeat, Publish

from tests.cluster.solo import Puppet, Solo, entry, node_id


def labelled(label: str) -> list[Extension]:
    return [Extension(c.EXTENSION_CLUSTER_LABEL, padded(label))]


def label_in(message: Any) -> str | None:
    """The label in a heartbeat that was sent."""
    assert isinstance(message, Heartbeat)
    for extension in message.extensions:
        if extension.type == c.EXTENSION_CLUSTER_LABEL:
            return extension.data.rstrip(b"\0").decode()
    return None


def outsider(solo: Solo, letter: str = "a", label: str = "green", **fields: Any) -> Puppet:
    """A node that was let in before it told its label."""
    puppet = solo.puppet(letter, **fields)
    solo.says(puppet, extensions=labelled(label))
    return puppet


# ---------------------------------------------------------------- who is told


def test_without_a_label_nothing_is_told() -> None:
    solo = Solo()
    solo.state.meet("10.0.3.3", 7003, None, solo.now_ms)
    link = solo.open(solo.only(Dial, solo.tick()))
    assert label_in(solo.sent(link, c.MEET)[0]) is None


def test_meet_the_first_ping_of_a_link_and_answers_to_a_label_tell_ours_and_no_other_heartbeat_does() -> None:
    solo = Solo(cluster_label="blue")
    solo.state.meet("10.0.3.3", 7003, None, solo.now_ms)
    link = solo.open(solo.only(Dial, solo.tick()))
    assert label_in(solo.sent(link, c.MEET)[0]) == "blue"
    puppet = solo.puppet("a")
    solo.says(puppet)
    assert label_in(solo.sent(puppet.inbound, c.PONG)[0]) is None
    solo.says(puppet, extensions=labelled("blue"))
    assert label_in(solo.sent(puppet.inbound, c.PONG)[0]) == "blue"
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dials = [dial for dial in solo.of(Dial, solo.ticks(1_000)) if dial.node_id == puppet.node_id]
    link = solo.open(dials[0])
    assert label_in(solo.sent(link, c.PING)[0]) == "blue"


def test_a_label_that_is_set_later_is_told_to_all_and_judges_all() -> None:
    solo = Solo()
    puppet, other = outsider(solo, "a", "green"), solo.puppet("b")
    assert not solo.node(puppet).is_outsider
    solo.config.set("cluster-label", "blue")
    solo.state.handle_config_changed(solo.now_ms)
    solo.poll()
    assert [label_in(solo.sent(one.dialled, c.PING)[0]) for one in (puppet, other)] == ["blue", "blue"]
    assert solo.node(puppet).is_outsider
    assert not solo.node(other).is_outsider
    solo.config.set("cluster-label", "green")
    solo.state.handle_config_changed(solo.now_ms)
    assert not solo.node(puppet).is_outsider


# ---------------------------------------------------------------- handshakes


@pytest.mark.parametrize(("theirs", "is_met"), [("blue", True), ("", True), (None, True), ("green", False)])
def test_a_meet_of_another_cluster_begins_nothing(theirs: str | None, is_met: bool) -> None:
    solo = Solo(cluster_label="blue")
    link = solo.accept()
    stranger = Puppet(node_id("a"), "10.9.9.9", 7999, 0, link)
    extensions = [] if theirs is None else labelled(theirs)
    solo.says(stranger, c.MEET, extensions=extensions, gossip=[entry(node_id("d"))])
    answer = solo.sent(link, c.PONG)[0]
    assert label_in(answer) == (None if theirs is None else "blue"), "it learns why"
    assert [node.in_handshake for node in solo.state.nodes].count(True) == is_met
    assert solo.knows(node_id("d")) == is_met, "its gossip counts as little"
    assert solo.counter("refused_label") == (not is_met)
    if not is_met:
        event = solo.only(Refuse).event
        assert isinstance(event, PeerRefused)
        assert (event.node_id, event.reason) == (stranger.node_id, "label")


def test_our_handshake_with_another_cluster_fails_and_says_why() -> None:
    solo = Solo(cluster_label="blue")
    solo.state.meet("10.0.3.3", 7003, None, solo.now_ms)
    link = solo.open(solo.only(Dial, solo.tick()))
    other = Puppet(node_id("a"), "10.0.3.3", 7003, link, 0)
    solo.says(other, c.PONG, extensions=labelled("green"), gossip=[entry(node_id("d"))])
    (failed,) = solo.events(HandshakeFailed)
    assert "'green'" in failed.reason
    assert not solo.knows(other)
    assert not solo.knows(node_id("d"))


# ---------------------------------------------------------------- members of another cluster


def test_nothing_that_an_outsider_says_counts() -> None:
    solo = Solo(cluster_label="blue")
    mine, puppet = solo.puppet("b", slots=[1]), outsider(solo)
    puppet.slots, puppet.config_epoch = frozenset(range(100)), 1_000
    before = solo.state.current_epoch
    for kind in (c.PING, c.PONG):
        solo.says(puppet, kind, current_epoch=2_000, gossip=[entry(node_id("d"))])
    solo.updates(puppet, mine.node_id, 3_000, [7])
    solo.fails(puppet, mine.node_id)
    solo.receive(puppet.inbound, HeaderOnly(c.AUTH_REQUEST, solo.header(puppet, mflags=0, current_epoch=2_000)))
    solo.receive(puppet.inbound, Publish(solo.header(puppet, mflags=0), b"c", b"m", False))
    assert not solo.events(Message)
    solo.receive(puppet.inbound, Publish(None, b"c", b"m", False))
    assert not solo.events(Message)
    assert solo.state.current_epoch == before
    assert solo.state.assigned_slots == 1 << 1
    assert not solo.node(mine).is_failed
    assert not solo.knows(node_id("d"))
    assert solo.counter("refused_label") == 8


def test_a_server_in_the_middle_that_passes_no_label_on_gives_an_outsider_no_slots() -> None:
    """It is a member of both clusters for all it knows, names the outsider in its gossip, and believes its claims."""
    solo = Solo(cluster_label="blue")
    middle, mine = solo.puppet("b"), solo.puppet("d", slots=[7, 8])
    theirs = node_id("a")
    solo.gossips(middle, entry(theirs, ip="10.0.4.4", port=7004))
    assert solo.knows(theirs), "for what it knows it is a node as any other"
    solo.updates(middle, theirs, 1_000, [7])
    assert solo.state.owner_of(7) is solo.node(mine), "who has not shown its label yet gets nothing"
    assert solo.counter("refused_update_subject") == 1
    dial = next(dial for dial in solo.of(Dial, solo.ticks(500)) if dial.node_id == theirs)
    link = solo.open(dial)
    assert label_in(solo.sent(link, c.PING)[0]) == "blue"
    other = Puppet(theirs, "10.0.4.4", 7004, link, 0, config_epoch=1_000, slots=frozenset([7]))
    solo.says(other, c.PONG, extensions=labelled("green"))
    assert solo.node(theirs).is_outsider
    solo.updates(middle, theirs, 1_001, [7, 8])
    assert [solo.state.owner_of(slot) for slot in (7, 8)] == [solo.node(mine)] * 2
    assert solo.state.current_epoch < 1_000
    assert solo.counter("refused_label") == 2
    assert [line for line in solo.warnings() if theirs in line and "of another cluster" in line]


@pytest.mark.parametrize("ours", ["", "blue"])
def test_the_word_of_others_about_a_new_node_counts_once_it_has_been_heard(ours: str) -> None:
    """Without a label of ours it counts at once. Servers of another kind have no label, and fit."""
    solo = Solo(cluster_label=ours)
    puppet, theirs = solo.puppet("b"), node_id("a")
    solo.gossips(puppet, entry(theirs, ip="10.0.4.4", port=7004))
    solo.updates(puppet, theirs, 20, [7])
    owner = solo.state.owner_of(7)
    assert (owner.node_id if owner else None) == (None if ours else theirs)
    link = solo.open(next(dial for dial in solo.of(Dial, solo.ticks(500)) if dial.node_id == theirs))
    solo.says(Puppet(theirs, "10.0.4.4", 7004, link, 0), c.PONG)
    solo.updates(puppet, theirs, 21, [7])
    assert solo.state.owner_of(7) is solo.node(theirs)


def test_an_outsider_is_answered_and_is_alive_and_nobody_is_told_of_it() -> None:
    solo = Solo(cluster_label="blue")
    mine, puppet = solo.puppet("b"), outsider(solo)
    solo.now_ms += 700
    solo.says(puppet)
    assert solo.sent(puppet.inbound, c.PONG)
    assert solo.node(puppet).data_received_ms == solo.now_ms
    for _ in range(20):
        solo.says(mine)
        answer = solo.sent(mine.inbound, c.PONG)[0]
        assert isinstance(answer, Heartbeat)
        assert puppet.node_id not in [about.node_id for about in answer.gossip]


def test_who_takes_our_label_is_no_outsider_any_more() -> None:
    solo = Solo(cluster_label="blue")
    puppet = outsider(solo)
    assert solo.node(puppet).is_outsider
    puppet.slots = frozenset([5])
    solo.says(puppet, extensions=labelled("blue"))
    assert not solo.node(puppet).is_outsider
    assert solo.state.owner_of(5) is solo.node(puppet)


@pytest.mark.parametrize("data", [b"\xff" * 8, b"a b\0\0\0\0\0", b"x" * 64 + b"y" + b"\0" * 7, b"12345678"])
def test_a_label_that_makes_no_sense_is_none(data: bytes) -> None:
    solo = Solo(cluster_label="blue")
    puppet = solo.puppet("a")
    solo.says(puppet, extensions=[Extension(c.EXTENSION_CLUSTER_LABEL, data)])
    assert solo.node(puppet).label == ""
    assert solo.is_alive()
