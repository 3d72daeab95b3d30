"""The sender of a packet, and what its header may change: the H rows, at the level of the state."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Log, Refuse
from clusterbus.cluster.events import AddressChanged, NodeFailed
from clusterbus.wire import Extension, Fail, HeaderOnly, ModuleMessage, Publish, Unknown, encode

from tests.cluster.solo import MYSELF_ID, SHARD, Puppet, Solo, entry, node_id

HEADER_LEN_BYTES = 2_256
GOSSIP_IP_OFFSET = 48


# ---------------------------------------------------------------- H12, H13: refused fields


@pytest.mark.parametrize("bad", ["a\nb", "a,b", "a=b", "a\x07b", "a b"])
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (c.EXTENSION_HOSTNAME, "hostname"),
        (c.EXTENSION_NODENAME, "nodename"),
        (c.EXTENSION_AVAILABILITY_ZONE, "availability_zone"),
    ],
)
def test_h12_bad_text_reaches_neither_state_nor_nodes_conf(kind: int, field: str, bad: str) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    good, evil = b"good\0\0\0\0", bad.encode() + bytes(8 - len(bad))
    shard = Extension.shard_id_of(SHARD)
    packet = encode(solo.heartbeat(puppet, extensions=[Extension(kind, good), shard]))
    solo.receive(puppet.inbound, packet)
    assert getattr(solo.node(puppet), field) == "good"
    solo.receive(puppet.inbound, packet.replace(good, evil))
    assert getattr(solo.node(puppet), field) == "good"
    assert bad not in solo.state.nodes_conf_text()
    assert solo.counter("refused_fields") == 1
    assert len(solo.warnings()) == 1
    solo.receive(puppet.inbound, packet.replace(good, evil))
    assert solo.counter("refused_fields") == 2
    assert solo.is_alive()


@pytest.mark.parametrize(
    "ip", [b"10.0.0.1\n", b"not-an-ip", b"", b"1" * 46], ids=["newline", "no-address", "none", "no-nul"]
)
def test_h13_a_gossip_entry_without_a_sound_ip_is_refused(ip: bytes) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    packet = bytearray(encode(solo.heartbeat(puppet, gossip=[entry(node_id("b"))])))
    at = HEADER_LEN_BYTES + GOSSIP_IP_OFFSET
    packet[at : at + 46] = ip.ljust(46, b"\0")
    solo.receive(puppet.inbound, bytes(packet))
    assert not solo.knows(node_id("b"))
    assert solo.is_alive()


def test_h12_a_bad_announced_address_changes_nothing() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    packet = bytearray(encode(solo.heartbeat(puppet)))
    packet[2168 : 2168 + 9] = b"evil\nline"
    solo.receive(puppet.inbound, bytes(packet))
    assert solo.node(puppet).ip == puppet.ip
    assert solo.counter("refused_fields") == 1


# ---------------------------------------------------------------- the sender


def test_h14_an_unknown_type_is_ignored_and_counted() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.receive(puppet.inbound, Unknown(77, solo.header(puppet, mflags=0), b"whatever"))
    assert not solo.closed()
    assert solo.counter("refused_unknown_type") == 1


def test_h17_a_light_packet_first_on_a_link_closes_it() -> None:
    solo = Solo()
    link = solo.accept()
    solo.receive(link, Publish(None, b"channel", b"message"))
    assert solo.closed() == [link]
    assert solo.counter("refused_light_first") == 1
    assert solo.is_alive()


def test_h17_a_light_packet_while_the_handshake_lasts_closes_the_link() -> None:
    solo = Solo()
    link = solo.accept()
    puppet = Puppet(node_id("a"), "10.0.1.1", 7001, 0, link)
    solo.says(puppet, c.MEET)
    solo.receive(link, Publish(None, b"channel", b"message"))
    assert link in solo.closed()


def test_light_packets_of_a_known_node_are_signs_of_life() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.now_ms += 700
    solo.receive(puppet.inbound, Publish(None, b"channel", b"message"))
    assert solo.node(puppet).data_received_ms == solo.now_ms
    assert solo.counter("messages_publish_received") == 1


@pytest.mark.parametrize("kind", [c.PING, c.PONG, c.MEET])
def test_h20_our_own_id_on_an_inbound_link_closes_it(kind: int) -> None:
    solo = Solo()
    link = solo.accept()
    solo.says(Puppet(MYSELF_ID, "10.9.9.9", 7001, link, link), kind, current_epoch=99)
    assert solo.closed() == [link]
    assert solo.counter("refused_own_id") == 1
    assert solo.state.current_epoch == 0
    assert solo.is_alive()


def test_h20_a_node_that_meets_itself_gives_the_handshake_up() -> None:
    solo = Solo()
    solo.state.meet("10.0.0.5", 6379, None, solo.now_ms)
    link = solo.open(solo.only(Dial, solo.tick()))
    solo.says(Puppet(MYSELF_ID, "10.0.0.5", 6379, link, link), c.PONG)
    assert link in solo.closed()
    assert solo.state.known_nodes_count == 1


def test_h21_a_stranger_that_claims_a_known_id_does_not_replace_a_live_link() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    impostor = Puppet(
        puppet.node_id, "10.6.6.6", 6666, 0, solo.accept("10.6.6.6"), config_epoch=500, slots=frozenset({1})
    )
    solo.says(impostor, current_epoch=500)
    assert len(solo.sent(impostor.inbound, c.PONG)) == 1
    assert solo.counter("refused_duplicate_id") == 1
    node = solo.node(puppet)
    assert node.inbound_link is not None
    assert node.inbound_link.link_id == puppet.inbound
    assert (node.ip, node.config_epoch, node.slot_bits) == (puppet.ip, puppet.config_epoch, 0)
    assert solo.state.current_epoch == puppet.config_epoch
    solo.fails(impostor, solo.puppet("b").node_id)
    assert not solo.node(node_id("b")).is_failed


def test_h21_a_new_inbound_link_takes_over_from_a_silent_one() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    old, puppet.inbound = puppet.inbound, solo.accept(puppet.ip)
    solo.now_ms += solo.config.cluster_node_timeout
    solo.says(puppet)
    assert solo.closed() == [old]
    node = solo.node(puppet)
    assert node.inbound_link is not None
    assert node.inbound_link.link_id == puppet.inbound


def test_h21_a_second_link_is_told_only_if_it_goes_on_to_claim_the_node() -> None:
    """An honest node has two links for a moment: in a handshake that finds a known node, or when its loop is late."""
    solo = Solo()
    puppet = solo.puppet("a")
    second = Puppet(puppet.node_id, puppet.ip, puppet.port, 0, solo.accept(puppet.ip))
    told = []
    for _ in range(40):
        solo.now_ms += 100
        solo.says(puppet)
        solo.says(second)
        told.append(len(solo.of(Refuse)))
    waits = solo.config.cluster_node_timeout // 100
    assert (sum(told[: waits + 1]), told[waits + 1 :]) == (0, [1] * (39 - waits))
    assert solo.counter("refused_duplicate_id") == 40


def test_h22_two_live_peers_with_one_id_are_logged_and_the_address_does_not_flap() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    twin = Puppet(puppet.node_id, "10.6.6.6", 6666, 0, solo.accept("10.6.6.6"))
    addresses = set()
    for _ in range(20):
        solo.now_ms += 100
        for one in (puppet, twin):
            solo.says(one)
            addresses.add(solo.node(puppet).ip)
    assert addresses == {puppet.ip}
    assert solo.counter("refused_duplicate_id") == 20


def test_h22_even_by_turns_the_address_moves_once_in_a_node_timeout() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    for number in range(10):
        solo.now_ms += 100
        solo.says(puppet, myip=f"10.6.6.{number % 2 + 1}")
    assert solo.node(puppet).ip == "10.6.6.1"
    assert solo.counter("refused_address_flapping") == 5


def test_h24_another_id_on_the_link_we_dialled_means_the_node_is_not_there() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    other = Puppet(node_id("b"), puppet.ip, puppet.port, puppet.dialled, 0)
    solo.says(other, c.PONG)
    assert solo.closed() == [puppet.dialled]
    node = solo.node(puppet)
    assert node.flags & c.FLAG_NOADDR
    assert (node.ip, node.port, node.cport) == ("", 0, 0)
    assert solo.events(AddressChanged) == [AddressChanged(puppet.node_id, "", 0, 0)]
    assert not solo.knows(other)
    assert not solo.of(Dial, solo.ticks(1_000)), "it has no address"
    solo.says(puppet)
    assert solo.node(puppet).ip == puppet.ip
    assert not solo.node(puppet).flags & c.FLAG_NOADDR


def test_p6_a_node_whose_address_another_one_has_is_fail_and_everybody_is_told() -> None:
    solo = Solo()
    lost, other = solo.puppet("a", slots=[5]), solo.puppet("b")
    solo.says(Puppet(node_id("c"), lost.ip, lost.port, lost.dialled, 0), c.PONG)
    assert solo.node(lost).is_failed
    assert solo.events(NodeFailed) == [NodeFailed(lost.node_id, None)]
    (broadcast,) = solo.broadcasts()
    assert isinstance(broadcast.message, Fail)
    assert (broadcast.links, broadcast.message.node_id) == ((other.dialled,), lost.node_id)
    assert solo.saves()
    solo.says(lost)  # it is well after all, and shows where
    assert not solo.node(lost).flags & c.FLAG_NOADDR
    lost.dialled = solo.open(solo.only(Dial, solo.tick()))
    solo.says(lost, c.PONG)
    assert solo.node(lost).is_failed, "its replicas have two node timeouts to take over"
    solo.now_ms += 2 * solo.config.cluster_node_timeout + 1
    solo.says(lost, c.PONG)
    assert not solo.node(lost).is_failed


def test_p6_a_node_that_is_fail_already_is_not_announced_again() -> None:
    solo = Solo()
    lost, other = solo.puppet("a", slots=[5]), solo.puppet("b", slots=[6])
    solo.fails(other, lost.node_id)
    solo.says(Puppet(node_id("c"), lost.ip, lost.port, lost.dialled, 0), c.PONG)
    assert solo.node(lost).flags & c.FLAG_NOADDR
    assert not solo.broadcasts()


def test_p6_a_stranger_cannot_make_us_announce_a_failure() -> None:
    """Its gossip names a node of the cluster at an address where another one answers."""
    solo = Solo()
    solo.puppet("b")
    stranger = Puppet(node_id("a"), "10.7.7.7", 7077, 0, solo.accept("10.7.7.7"))
    solo.says(stranger, c.MEET, gossip=[entry(node_id("d"))])
    dial = next(dial for dial in solo.of(Dial, solo.tick()) if dial.node_id == node_id("d"))
    elsewhere = Puppet(node_id("c"), dial.ip, 7200, solo.open(dial), 0)
    solo.says(elsewhere, c.PONG)
    assert not solo.broadcasts()
    assert not solo.knows(node_id("d"))


def test_h24_another_id_on_an_inbound_link_closes_it() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(Puppet(node_id("b"), puppet.ip, puppet.port, 0, puppet.inbound))
    assert solo.closed() == [puppet.inbound]
    assert solo.node(puppet).ip == puppet.ip
    assert solo.counter("refused_sender_changed") == 1


# ---------------------------------------------------------------- H26, H28: subjects and epochs


def test_h26_fail_and_update_about_us_or_an_unknown_node_are_ignored() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[1])
    solo.state.add_slots([5], solo.now_ms)
    for about in (MYSELF_ID, node_id("b")):
        solo.fails(puppet, about)
        solo.updates(puppet, about, 1_000, [5])
    assert not solo.state.myself.flags & c.FAILING
    assert solo.state.myself.slot_bits == 1 << 5
    assert solo.state.myself.config_epoch == 0
    assert not solo.knows(node_id("b"))
    assert solo.counter("refused_fail_subject") == 2
    assert solo.counter("refused_update_subject") == 2


def test_h28_a_stranger_changes_no_epoch() -> None:
    solo = Solo()
    puppet = Puppet(node_id("a"), "10.0.1.1", 7001, 0, solo.accept())
    for kind in (c.PING, c.MEET):
        solo.says(puppet, kind, current_epoch=2**63, config_epoch=2**63)
    assert solo.state.current_epoch == 0


def test_messages_of_strangers_other_than_heartbeats_are_ignored() -> None:
    solo = Solo()
    known = solo.puppet("b")
    puppet = Puppet(node_id("a"), "10.0.1.1", 7001, 0, solo.accept())
    solo.fails(puppet, known.node_id)
    solo.updates(puppet, known.node_id, 1_000, [5])
    for kind in (c.AUTH_REQUEST, c.AUTH_ACK, c.MFSTART):
        solo.receive(puppet.inbound, HeaderOnly(kind, solo.header(puppet, mflags=0)))
    assert not solo.node(known).is_failed
    assert solo.state.assigned_slots == 0
    assert solo.counter("refused_stranger") == 5


@pytest.mark.parametrize("kind", [c.AUTH_REQUEST, c.AUTH_ACK, c.MFSTART])
def test_messages_of_elections_are_counted_and_their_headers_applied(kind: int) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    effects = solo.receive(
        puppet.inbound, HeaderOnly(kind, solo.header(puppet, mflags=0, current_epoch=200, offset=77))
    )
    assert solo.state.current_epoch == 200
    assert solo.node(puppet).repl_offset == 77
    assert solo.counter(f"messages_{c.MESSAGE_NAMES[kind]}_received") == 1
    assert not [effect for effect in effects if not isinstance(effect, Log)]


def test_module_messages_are_counted() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.receive(puppet.inbound, ModuleMessage(solo.header(puppet, mflags=0), 1, 2, b"data"))
    assert solo.counter("messages_module_received") == 1


def test_abilities_are_learnt_from_headers() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    assert solo.node(puppet).flags & c.FLAG_LIGHT_PUBLISH
    solo.says(puppet, flags=c.FLAG_PRIMARY | c.FLAG_NOFAILOVER)
    assert not solo.node(puppet).flags & (c.FLAG_LIGHT_PUBLISH | c.FLAG_LIGHT_MODULE)
    assert solo.node(puppet).flags & c.FLAG_EXTENSIONS
    assert solo.node(puppet).flags & c.FLAG_NOFAILOVER
    solo.says(puppet)
    assert not solo.node(puppet).flags & c.FLAG_NOFAILOVER


@pytest.mark.parametrize("kind", [c.PING, c.PONG])
def test_s3_every_packet_of_a_node_is_a_sign_of_life(kind: int) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.now_ms += 700
    solo.says(puppet, kind)
    assert solo.node(puppet).data_received_ms == solo.now_ms


def test_h29_time_never_goes_back() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    later_ms = solo.now_ms
    solo.now_ms -= 3_600_000
    solo.says(puppet)
    assert solo.node(puppet).data_received_ms == later_ms
    solo.tick()
    assert not solo.node(puppet).flags & c.FAILING


def test_packets_of_a_link_that_is_gone_are_ignored() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    solo.poll()
    assert solo.says(puppet) == []
    assert solo.receive(424_242, solo.heartbeat(puppet)) == []


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"myip": "10.5.5.5"}, ("10.5.5.5", 7001, 0, 17001)),
        ({"port": 7100}, ("10.0.1.1", 7100, 0, 17001)),
        ({"pport": 7443}, ("10.0.1.1", 7001, 7443, 17001)),
        ({"cport": 9999}, ("10.0.1.1", 7001, 0, 9999)),
        ({"cport": 0}, ("10.0.1.1", 7001, 0, 17001)),
    ],
    ids=["ip", "port", "tls-port", "cport", "no-cport"],
)
def test_s1_a_ping_updates_the_address(changes: dict[str, Any], expected: tuple[str, int, int, int]) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, **changes)
    node = solo.node(puppet)
    assert (node.ip, node.port, node.tls_port, node.cport) == expected
    moved = expected != ("10.0.1.1", 7001, 0, 17001)
    assert (solo.closed() == [puppet.dialled]) is moved
    assert bool(solo.events(AddressChanged)) is moved
    assert bool(solo.saves()) is moved


def test_s1_a_pong_on_the_link_we_dialled_does_not_move_the_node() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, c.PONG, myip="10.5.5.5")
    assert solo.node(puppet).ip == puppet.ip


def test_s1_a_ping_on_the_link_we_dialled_does_not_move_the_node() -> None:
    """A primary sends one there to a replica that asked for a manual failover."""
    solo = Solo()
    puppet = solo.puppet("a")
    solo.receive(puppet.dialled, solo.heartbeat(puppet, c.PING, myip="10.5.5.5"))
    assert solo.node(puppet).ip == puppet.ip
    assert len(solo.sent(puppet.dialled, c.PONG)) == 1


def test_s1_our_own_address_is_learnt_from_meet_and_kept_from_ping() -> None:
    solo = Solo()
    assert solo.state.myself.ip == ""
    link = solo.accept(local_ip="10.0.0.1")
    stranger = Puppet(node_id("a"), "10.0.1.1", 7001, 0, link)
    solo.says(stranger, c.PING)
    assert solo.state.myself.ip == "10.0.0.1"
    stranger.inbound = solo.accept(local_ip="10.0.0.2")
    solo.says(stranger, c.PING)
    assert solo.state.myself.ip == "10.0.0.1"
    solo.says(stranger, c.MEET)
    assert solo.state.myself.ip == "10.0.0.2"


def test_s1_an_announced_address_is_not_overwritten() -> None:
    solo = Solo(cluster_announce_ip="192.168.0.1")
    link = solo.accept(local_ip="10.0.0.1")
    solo.says(Puppet(node_id("a"), "10.0.1.1", 7001, 0, link), c.MEET)
    assert solo.state.myself.ip == "192.168.0.1"
    (pong,) = solo.sent(link, c.PONG)
    assert pong.header is not None
    assert pong.header.myip == "192.168.0.1"


def test_packets_are_well_formed_for_the_offsets_used_here() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    packet = encode(solo.heartbeat(puppet, gossip=[entry(node_id("b"))], extensions=[]))
    assert struct.unpack_from(">H", packet, 14) == (1,)
    assert packet[HEADER_LEN_BYTES + GOSSIP_IP_OFFSET :].startswith(b"10.0.2.2\0")
