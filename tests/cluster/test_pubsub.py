"""PUBLISH, PUBLISHSHARD and MODULE between nodes: their receivers, their form, and the events they become (S7)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Dial
from clusterbus.cluster.events import Message, ModuleReceived
from clusterbus.cluster.pubsub import PAYLOAD_LEN_MAX_BYTES
from clusterbus.errors import StateError
from clusterbus.wire import MAX_PACKET_LEN_BYTES, Extension, ModuleMessage, Publish, encode

from tests.cluster.harness import Network, joined
from tests.cluster.solo import MYSELF_ID, Puppet, Solo, node_id

NO_LIGHT = c.FLAG_PRIMARY | c.FLAG_EXTENSIONS


def prove(solo: Solo, *puppets: Puppet) -> None:
    """The puppets answer PINGs with extensions until the state sends light messages on their links."""
    for _ in range(50):
        solo.tick()
        for puppet in puppets:
            if solo.node(puppet).ping_sent_ms:
                solo.says(puppet, c.PONG)
        if all(takes_light(solo, puppet) for puppet in puppets):
            return
    raise AssertionError("not every link was pinged")


def takes_light(solo: Solo, puppet: Puppet) -> bool:
    link = solo.node(puppet).link
    return link is not None and link.takes_light


def is_light(solo: Solo) -> bool:
    """Whether a message that is published now is light for the only peer."""
    publish(solo, b"c", b"m")
    (sent,) = solo.broadcasts()
    assert isinstance(sent.message, Publish)
    return sent.message.header is None


def with_one_of_each_kind() -> tuple[Solo, Puppet, Puppet, Puppet]:
    """A state with two peers that take light headers and one that does not."""
    solo = Solo()
    light, light_too, full = solo.puppet("a"), solo.puppet("b"), solo.puppet("d")
    prove(solo, light, light_too, full)
    solo.says(full, flags=NO_LIGHT)
    return solo, light, light_too, full


def publish(solo: Solo, channel: bytes, message: bytes, *, sharded: bool = False) -> int:
    reached = solo.state.publish(channel, message, solo.now_ms, sharded=sharded)
    solo.poll()
    return reached


def test_a_message_is_light_where_the_peer_announced_it_and_full_elsewhere_s7_r11() -> None:
    solo, light, light_too, full = with_one_of_each_kind()
    assert publish(solo, b"news", b"hello") == 3
    first, second = solo.broadcasts()
    assert first == Broadcast((light.dialled, light_too.dialled), Publish(None, b"news", b"hello"))
    assert second.links == (full.dialled,)
    assert isinstance(second.message, Publish)
    assert second.message.header is not None
    assert second.message.header.sender == MYSELF_ID
    assert solo.counter("messages_publish_sent") == 3
    assert solo.counter("light_publish_sent") == 2


def test_a_link_that_goes_or_comes_between_two_messages_counts_s7() -> None:
    solo = Solo()
    first, second = solo.puppet("a"), solo.puppet("b")
    assert publish(solo, b"news", b"1") == 2
    solo.state.handle_link_closed(first.dialled, "eof", solo.now_ms)
    assert publish(solo, b"news", b"2") == 1
    solo.poll()
    link = second.dialled + 1_000
    node = solo.node(first)
    node.dialing = (node.ip, node.cport)
    solo.state.handle_link_opened(first.node_id, link, "10.0.0.1", solo.now_ms)
    assert publish(solo, b"news", b"3") == 2


def test_a_peer_that_no_longer_announces_it_gets_the_full_form_s7() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    prove(solo, puppet)
    assert is_light(solo)
    solo.says(puppet, flags=NO_LIGHT)
    assert not is_light(solo)


def test_a_link_is_light_only_once_its_peer_has_shown_that_it_knows_it_h17_s7() -> None:
    """A peer sends extensions only to nodes that it knows. So a PONG with extensions shows that it knows whose link it
    is.
    """
    solo = Solo()
    puppet = solo.puppet("a")
    assert not is_light(solo)
    while not solo.node(puppet).ping_sent_ms:
        solo.tick()
    solo.says(puppet, c.PONG, extensions=[])
    assert not is_light(solo)
    while not solo.node(puppet).ping_sent_ms:
        solo.tick()
    solo.says(puppet, c.PONG)
    assert is_light(solo)


def test_the_answer_to_a_meet_proves_nothing_h17_s7() -> None:
    """The peer may answer it with extensions while it still holds us as a node in handshake."""
    solo = Solo()
    solo.state.meet("10.0.1.7", 7007, None, solo.now_ms)
    solo.tick()
    link = solo.open(solo.only(Dial))
    puppet = Puppet(node_id("a"), "10.0.1.7", 7007, link, 0)
    solo.says(puppet, c.PONG)
    assert not is_light(solo)
    puppet.inbound = solo.accept(puppet.ip)
    solo.says(puppet)
    solo.says(puppet, c.PONG)
    assert not is_light(solo)
    prove(solo, puppet)
    assert is_light(solo)


def test_a_new_link_starts_with_full_headers_h17_s7() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    prove(solo, puppet)
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    solo.tick(1000)
    puppet.dialled = solo.open(solo.only(Dial))
    assert not is_light(solo)
    solo.tick()
    solo.says(puppet, c.PONG)
    assert is_light(solo)


@pytest.mark.parametrize("extensions", [None, []])
def test_a_quiet_pong_proves_as_much_as_one_applied_in_full_h17_s7_r33(extensions: list[Extension] | None) -> None:
    """It has the same extensions as the packet that was applied last."""
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, extensions=extensions)
    while not solo.node(puppet).ping_sent_ms:
        solo.tick()
    solo.state.handle_quiet(0, 1, [(puppet.dialled, solo.now_ms)], solo.now_ms)
    assert takes_light(solo, puppet) == (extensions is None)


@pytest.mark.parametrize(
    ("ability", "publish_is_light", "module_is_light"),
    [(c.FLAG_LIGHT_PUBLISH, True, False), (c.FLAG_LIGHT_MODULE, False, True)],
)
def test_the_two_abilities_are_independent_s7(ability: int, publish_is_light: bool, module_is_light: bool) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    prove(solo, puppet)
    solo.says(puppet, flags=NO_LIGHT | ability)
    publish(solo, b"c", b"m")
    assert (solo.broadcasts()[0].message.header is None) == publish_is_light
    solo.state.send_module(None, 1, 2, b"data", solo.now_ms)
    solo.poll()
    assert (solo.broadcasts()[0].message.header is None) == module_is_light


def test_nodes_without_a_link_and_in_handshake_are_left_out_s7() -> None:
    solo = Solo()
    gone, here = solo.puppet("a"), solo.puppet("b")
    solo.state.handle_link_closed(gone.dialled, "eof", solo.now_ms)
    solo.state.meet("10.0.7.7", 7077, None, solo.now_ms)
    solo.tick()
    solo.open(next(dial for dial in solo.of(Dial) if dial.ip == "10.0.7.7"))
    assert publish(solo, b"c", b"m") == 1
    assert solo.broadcasts()[0].links == (here.dialled,)


def test_without_connected_nodes_nothing_is_sent() -> None:
    solo = Solo()
    assert publish(solo, b"c", b"m") == 0
    assert solo.broadcasts() == []
    assert solo.counter("messages_publish_sent") == 0


def test_a_sharded_message_goes_from_a_primary_to_its_replicas_alone_s7() -> None:
    solo = Solo()
    replica, stranger = solo.puppet("a"), solo.puppet("b", slots=[1])
    prove(solo, replica, stranger)
    solo.says(replica, replicaof=MYSELF_ID, flags=c.FLAG_REPLICA | c.FLAG_LIGHT_PUBLISH)
    assert publish(solo, b"c", b"m", sharded=True) == 1
    (sent,) = solo.broadcasts()
    assert sent == Broadcast((replica.dialled,), Publish(None, b"c", b"m", sharded=True))
    assert stranger.dialled not in sent.links
    assert solo.counter("messages_publishshard_sent") == 1
    assert solo.counter("light_publishshard_sent") == 1
    assert solo.counter("messages_publish_sent") == 0


def test_a_sharded_message_goes_from_a_replica_to_its_primary_and_the_other_replicas_s7() -> None:
    solo = Solo()
    primary, sister, stranger = solo.puppet("a", slots=[0]), solo.puppet("b"), solo.puppet("d")
    solo.says(sister, replicaof=primary.node_id, flags=c.FLAG_REPLICA | c.FLAG_LIGHT_PUBLISH)
    solo.state.myself.follow(solo.node(primary))
    solo.state.myself.flags = (solo.state.myself.flags & ~c.FLAG_PRIMARY) | c.FLAG_REPLICA
    assert publish(solo, b"c", b"m", sharded=True) == 2
    links = {link for sent in solo.broadcasts() for link in sent.links}
    assert links == {primary.dialled, sister.dialled}
    assert stranger.dialled not in links


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("is_light", [False, True])
def test_a_received_message_becomes_an_event_with_its_sender_s7(is_light: bool, sharded: bool) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    header = None if is_light else solo.header(puppet, mflags=0)
    solo.receive(puppet.inbound, Publish(header, b"news", b"\x00x", sharded))
    assert solo.events(Message) == [Message(puppet.node_id, b"news", b"\x00x", sharded)]
    name = "publishshard" if sharded else "publish"
    assert solo.counter(f"messages_{name}_received") == 1
    assert solo.counter(f"light_{name}_received") == is_light


@pytest.mark.parametrize("is_light", [False, True])
def test_a_received_module_message_becomes_an_event_with_its_sender_s7(is_light: bool) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    header = None if is_light else solo.header(puppet, mflags=0)
    solo.receive(puppet.inbound, ModuleMessage(header, 2**64 - 1, 255, b"data"))
    assert solo.events(ModuleReceived) == [ModuleReceived(puppet.node_id, 2**64 - 1, 255, b"data")]
    assert solo.counter("messages_module_received") == 1
    assert solo.counter("light_module_received") == is_light


def test_messages_of_strangers_are_no_events_s7_h17() -> None:
    solo = Solo()
    link = solo.accept()
    stranger = Puppet(node_id("9"), "10.9.9.9", 7999, 0, link)
    for message in (
        Publish(solo.header(stranger), b"c", b"m"),
        ModuleMessage(solo.header(stranger), 1, 1, b"m"),
        Publish(None, b"c", b"m"),
    ):
        solo.receive(link, message)
        assert not solo.events(Message)
        assert not solo.events(ModuleReceived)
    assert link in solo.closed()


def test_a_module_message_goes_to_one_node_or_to_all_s7() -> None:
    solo, light, light_too, full = with_one_of_each_kind()
    sent_before, light_before = solo.counter("messages_module_sent"), solo.counter("light_module_sent")
    assert solo.state.send_module(full.node_id, 7, 3, b"to one", solo.now_ms) == 1
    solo.poll()
    (sent,) = solo.broadcasts()
    assert sent.links == (full.dialled,)
    assert isinstance(sent.message, ModuleMessage)
    assert (sent.message.module_id, sent.message.module_type, sent.message.data) == (7, 3, b"to one")
    assert sent.message.header is not None
    assert solo.state.send_module(None, 7, 3, b"to all", solo.now_ms) == 3
    solo.poll()
    assert [sent.links for sent in solo.broadcasts()] == [(light.dialled, light_too.dialled), (full.dialled,)]
    assert solo.counter("messages_module_sent") == sent_before + 4
    assert solo.counter("light_module_sent") == light_before + 2


def test_a_module_message_to_an_unknown_or_unconnected_node_is_refused() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    for target in (node_id("9"), MYSELF_ID):
        with pytest.raises(StateError, match="Unknown node"):
            solo.state.send_module(target, 1, 1, b"", solo.now_ms)
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    with pytest.raises(StateError, match="not connected"):
        solo.state.send_module(puppet.node_id, 1, 1, b"", solo.now_ms)


@pytest.mark.parametrize(("module_id", "module_type"), [(-1, 0), (2**64, 0), (0, -1), (0, 256)])
def test_numbers_no_module_message_can_carry_are_refused(module_id: int, module_type: int) -> None:
    solo = Solo()
    solo.puppet("a")
    with pytest.raises(StateError, match="number"):
        solo.state.send_module(None, module_id, module_type, b"", solo.now_ms)


def test_a_message_that_fits_no_packet_is_refused_and_one_that_just_fits_is_not() -> None:
    solo, *_ = with_one_of_each_kind()
    just = bytes(PAYLOAD_LEN_MAX_BYTES - 1)
    with pytest.raises(StateError, match="over"):
        publish(solo, b"cc", just)
    with pytest.raises(StateError, match="over"):
        solo.state.send_module(None, 1, 1, just + b"cc", solo.now_ms)
    assert publish(solo, b"c", just) == 3
    assert all(len(encode(sent.message)) <= MAX_PACKET_LEN_BYTES for sent in solo.broadcasts())
    assert solo.state.send_module(None, 1, 1, just, solo.now_ms) == 3
    solo.poll()
    assert all(len(encode(sent.message)) <= MAX_PACKET_LEN_BYTES for sent in solo.broadcasts())


def test_a_light_packet_is_never_first_on_a_link_h17_s7() -> None:
    """Links are cut again and again while all members publish all the time."""
    network, members = joined(3, 3, owners=3)
    one, other, third = members
    for _ in range(20):
        network.close_links(one, other)
        for _ in range(30):
            for member in members:
                network.publish(member, b"c", b"m")
            network.run(100)
    assert one.state.counters["light_publish_sent"] > 100
    assert third.state.counters["light_publish_received"] > 100
    for member in members:
        assert not any(name.startswith("refused_light_first") for name in member.state.counters)


@pytest.mark.parametrize("seed", range(8))
def test_publishing_while_a_cluster_forms_costs_no_link_h17_s7(seed: int) -> None:
    """A node that we know from gossip is dialled before it knows us, so light packets must wait."""
    network = Network(seed, 6)
    members = network.members
    for other in members[1:]:
        network.meet(members[0], other)
    for _ in range(100):
        for member in members:
            network.publish(member, b"c", b"m")
        network.run(50)
    for member in members:
        assert member.state.counters["refused_light_first"] == 0
        assert member.state.counters["light_publish_sent"] > 100


def test_every_member_gets_the_messages_of_every_other_s7() -> None:
    network, members = joined(size=4, owners=2)
    for member in members:
        network.publish(member, b"from", member.id.encode())
    network.run(100)
    for member in members:
        heard = [event for event in member.events if isinstance(event, Message)]
        assert {event.node_id for event in heard} == {other.id for other in members if other is not member}
        assert all(event.message == event.node_id.encode() for event in heard)


def test_messages_of_one_sender_stay_in_order_s7() -> None:
    network, members = joined(size=2)
    for number in range(50):
        network.publish(members[0], b"c", b"%d" % number)
    network.run(100)
    heard = [int(event.message) for event in members[1].events if isinstance(event, Message)]
    assert len(heard) == 50
    assert all(before < after for before, after in pairwise(heard))
