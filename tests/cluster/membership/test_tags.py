"""Tags: what a node's program says of it reaches every clusterbus node, whatever is lost, and nobody else."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Effect, Refuse
from clusterbus.cluster.events import ModuleReceived, NodeLeft, TagsChanged
from clusterbus.cluster.membership import tags
from clusterbus.cluster.membership.tags import TagMessage
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import StateError
from clusterbus.wire import ModuleMessage

from tests.cluster.solo import MYSELF_ID, Puppet, Solo


def data_of(version: int, *texts: str | bytes) -> bytes:
    parts = [text.encode() if isinstance(text, str) else text for text in texts]
    return version.to_bytes(8, "big") + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def message_of(solo: Solo, puppet: Puppet, kind: int, data: bytes) -> ModuleMessage:
    return ModuleMessage(solo.header(puppet, mflags=0), c.TAGS_MODULE_ID, kind, data)


def tells(solo: Solo, puppet: Puppet, version: int, *texts: str | bytes) -> list[Effect]:
    """The puppet tells its tags."""
    return solo.receive(puppet.inbound, message_of(solo, puppet, TagMessage.TELL, data_of(version, *texts)))


def has(solo: Solo, puppet: Puppet, version: int) -> list[Effect]:
    """The puppet answers that it has this version of ours."""
    return solo.receive(puppet.inbound, message_of(solo, puppet, TagMessage.HAVE, version.to_bytes(8, "big")))


def told(effects: list[Effect]) -> list[tuple[tuple[int, ...], int, bytes]]:
    """The messages about tags among these effects: links, kind, data."""
    return [
        (effect.links, effect.message.module_type, bytes(effect.message.data))
        for effect in effects
        if isinstance(effect, Broadcast)
        and isinstance(effect.message, ModuleMessage)
        and effect.message.module_id == c.TAGS_MODULE_ID
    ]


def linked(solo: Solo, puppet: Puppet) -> list[Effect]:
    """The puppet answers a PING that went out after it had dialled us: its link takes light messages."""
    effects = solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    return effects + solo.says(puppet, c.PONG)


def relinked(solo: Solo, puppet: Puppet) -> None:
    """The puppet dials us anew, as after a restart."""
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    puppet.inbound = solo.accept(puppet.ip)
    solo.says(puppet)


# ---------------------------------------------------------------- our own


def test_each_node_that_may_be_a_clusterbus_node_is_greeted_once_on_each_link() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    greeting = ((puppet.dialled,), TagMessage.TELL, data_of(0))
    assert told(linked(solo, puppet)) == [greeting]
    assert told(linked(solo, puppet)) == []
    assert not solo.node(puppet).is_clusterbus


def test_a_node_that_takes_no_light_messages_is_none_and_is_sent_nothing() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    puppet.flags &= ~c.FLAG_LIGHT_MODULE
    solo.says(puppet)
    assert told(linked(solo, puppet)) == []


def test_set_tags_go_to_clusterbus_nodes_alone_and_to_this_programs_events() -> None:
    solo = Solo()
    kin, other = solo.puppet("a"), solo.puppet("b")
    for puppet in (kin, other):
        linked(solo, puppet)
    tells(solo, kin, 0)
    has(solo, kin, 0)
    solo.state.set_tags({"role": "worker", "ä": ""}, solo.now_ms)
    data = data_of(1, "role", "worker", "ä", "")
    assert told(solo.poll()) == [((kin.dialled,), TagMessage.TELL, data)]
    assert solo.events(TagsChanged) == [TagsChanged(MYSELF_ID, {"role": "worker", "ä": ""})]
    solo.state.set_tags({"ä": "", "role": "worker"}, solo.now_ms)
    assert not solo.poll(), "they are the same"
    solo.state.set_tags({}, solo.now_ms)
    assert told(solo.poll()) == [((kin.dialled,), TagMessage.TELL, data_of(2))]


def test_one_who_turns_out_to_be_a_clusterbus_node_gets_what_it_has_missed() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    linked(solo, puppet)
    solo.state.set_tags({"x": "1"}, solo.now_ms)
    assert told(solo.poll()) == []
    effects = told(tells(solo, puppet, 0))
    assert ((puppet.dialled,), TagMessage.TELL, data_of(1, "x", "1")) in effects
    assert ((puppet.dialled,), TagMessage.HAVE, data_of(0)) in effects


def test_so_does_one_whose_answer_to_the_greeting_comes_first() -> None:
    """Found by simulation: the tags changed between the greeting and the answer to it."""
    solo = Solo()
    puppet = solo.puppet("a")
    linked(solo, puppet)
    solo.state.set_tags({"x": "1"}, solo.now_ms)
    solo.poll()
    assert told(has(solo, puppet, 0)) == [((puppet.dialled,), TagMessage.TELL, data_of(1, "x", "1"))]
    assert told(tells(solo, puppet, 0)) == [((puppet.dialled,), TagMessage.HAVE, data_of(0))]


def test_a_clusterbus_node_that_does_not_answer_is_told_again_until_it_does() -> None:
    """A message can be lost while its link stays: withheld beside a save that failed, or dropped by a full queue."""
    solo = Solo(cluster_node_timeout=60_000)
    puppet = solo.puppet("a")
    solo.now_ms += 30_100
    linked(solo, puppet)
    tells(solo, puppet, 0)
    again = ((puppet.dialled,), TagMessage.TELL, data_of(0))
    assert told(solo.ticks(tags.RETELL_MS + 1_000)) == [again]
    has(solo, puppet, 0)
    assert told(solo.ticks(5 * tags.RETELL_MS)) == []
    solo.state.set_tags({"x": "1"}, solo.now_ms)
    has(solo, puppet, 0)
    assert told(solo.ticks(tags.RETELL_MS + 1_000)) != [], "that answer was of older tags"
    has(solo, puppet, 1)
    assert told(solo.ticks(5 * tags.RETELL_MS)) == []
    assert not solo.state._core.table.untold


def test_nobody_is_owed_anything_who_is_gone() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    linked(solo, puppet)
    tells(solo, puppet, 0)
    assert solo.state._core.table.untold
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    solo.ticks(1_000)
    assert not solo.state._core.table.untold
    tells(solo, puppet, 3)
    solo.state.forget(puppet.node_id, solo.now_ms)
    assert not solo.state._core.table.untold


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"k": "v" * (tags.TAGS_LEN_MAX_BYTES - 4)}, "tags take 513 bytes, and may take 512"),
        ({"k": "ä" * 255}, "tags take 515 bytes"),
        ({"k": "v" * 100_000}, "tags take 100005 bytes"),
        ({"": "v"}, "a name in tags is empty"),
        ({"k": "\ud800"}, "tags cannot be sent as UTF-8"),
    ],
)
def test_tags_that_cannot_be_sent_are_refused_and_change_nothing(given: dict[str, str], text: str) -> None:
    solo = Solo()
    solo.state.set_tags({"a": "b"}, solo.now_ms)
    solo.poll()
    with pytest.raises(StateError, match=text):
        solo.state.set_tags(given, solo.now_ms)
    assert not solo.poll()
    assert solo.state.myself.tags == (("a", "b"),)


def test_tags_of_just_the_greatest_size_are_taken_and_told() -> None:
    solo, peer = Solo(), Solo()
    greatest = {"k": "v" * (tags.TAGS_LEN_MAX_BYTES - 5)}
    solo.state.set_tags(greatest, solo.now_ms)
    puppet = solo.puppet("a")
    ((_, _, data),) = told(linked(solo, puppet))
    told_by = peer.puppet("b")
    peer.receive(told_by.inbound, message_of(peer, told_by, TagMessage.TELL, data))
    assert peer.events(TagsChanged) == [TagsChanged(told_by.node_id, greatest)]


# ---------------------------------------------------------------- those of others


def test_tags_of_a_peer_are_kept_reported_once_and_answered() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    effects = tells(solo, puppet, 4, "a", "1", "b", "2")
    assert solo.events(TagsChanged) == [TagsChanged(puppet.node_id, {"a": "1", "b": "2"})]
    assert told(effects) == [((puppet.dialled,), TagMessage.HAVE, data_of(4))]
    assert solo.node(puppet).tags == (("a", "1"), ("b", "2"))
    assert solo.node(puppet).is_clusterbus
    assert told(tells(solo, puppet, 4, "a", "1", "b", "2")) == [((puppet.dialled,), TagMessage.HAVE, data_of(4))]
    assert not solo.events(TagsChanged)
    assert not solo.events(ModuleReceived), "no program sees the message itself"


def test_an_older_version_loses_on_the_same_link_and_a_run_that_began_anew_wins() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    tells(solo, puppet, 4, "a", "new")
    tells(solo, puppet, 3, "a", "old")
    assert solo.node(puppet).tags == (("a", "new"),)
    relinked(solo, puppet)
    assert solo.node(puppet).tags == (("a", "new"),), "until it says otherwise"
    assert not solo.node(puppet).is_clusterbus, "it may be another server by now"
    tells(solo, puppet, 0)
    assert solo.events(TagsChanged) == [TagsChanged(puppet.node_id, {})]
    assert solo.node(puppet).is_clusterbus


def test_tags_go_with_their_node() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    tells(solo, puppet, 0, "a", "1")
    solo.state.forget(puppet.node_id, solo.now_ms)
    solo.poll()
    assert solo.events(NodeLeft)
    assert not solo.knows(puppet)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (TagMessage.TELL, b""),
        (TagMessage.TELL, bytes(7)),
        (TagMessage.TELL, bytes(9)),
        (TagMessage.TELL, data_of(1, "a")),
        (TagMessage.TELL, data_of(1, "a", "1")[:-1]),
        (TagMessage.TELL, data_of(1, "a", "1", "a", "2")),
        (TagMessage.TELL, data_of(1, "b", "1", "a", "2")),
        (TagMessage.TELL, data_of(1, "", "1")),
        (TagMessage.TELL, data_of(1, b"\xff", "1")),
        (TagMessage.TELL, data_of(1, "a", "1" * (tags.TAGS_LEN_MAX_BYTES - 4))),
        (TagMessage.HAVE, bytes(7)),
        (2, data_of(1)),
        (255, data_of(1)),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_counted_and_changes_nothing(kind: int, data: bytes) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    tells(solo, puppet, 0, "a", "1")
    effects = solo.receive(puppet.inbound, message_of(solo, puppet, kind, data))
    (refused,) = solo.of(Refuse, effects)
    assert (refused.peer, refused.refusal) == (puppet.node_id, Refusal.TAGS)
    assert solo.counter("refused_tags") == 1
    assert len(effects) == 1
    assert solo.node(puppet).tags == (("a", "1"),)


def test_a_stranger_has_no_tags() -> None:
    solo = Solo()
    stranger = Puppet("c" * 40, "10.9.9.9", 7000, 0, solo.accept())
    assert not tells(solo, stranger, 0, "a", "1")
    assert solo.counter("refused_stranger") == 1
    assert not solo.knows(stranger)
