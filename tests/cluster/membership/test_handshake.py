"""MEET in both directions, the true id in place of the made-up one, expiry, duplicate ids (S1, H21-H23, H30)."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Log
from clusterbus.cluster.events import HandshakeFailed, NodeJoined
from clusterbus.cluster.membership.handshake import NO_ANSWER, OWN_ADDRESS

from tests.cluster.harness import Network, all_connected
from tests.cluster.solo import Puppet, Solo, node_id

KEYS: dict[str, Any] = dict.fromkeys(("tls_cert_file", "tls_key_file", "tls_ca_cert_file"), __file__)
"""Files that exist. Nothing in these tests reads them."""


def meet(solo: Solo, ip: str = "10.0.1.1", port: int = 7001) -> Dial:
    solo.state.meet(ip, port, None, solo.now_ms)
    return solo.only(Dial, solo.tick())


def stranger(solo: Solo, letter: str = "a", ip: str = "10.0.1.1", port: int = 7001) -> Puppet:
    """A puppet that the state does not know, with an inbound link."""
    return Puppet(node_id(letter), ip, port, 0, solo.accept(ip))


def test_s1_two_nodes_meet_both_ways_and_agree() -> None:
    network = Network()
    first, second = network.members
    network.meet(first, second)
    network.run_until(lambda: all_connected([first, second]), 2_000)
    for one, other in permutations((first, second)):
        known = one.node(other)
        assert (known.ip, known.port, known.cport) == (other.ip, other.config.port, other.state.myself.cport)
        assert known.shard_id == other.state.myself.shard_id
        assert known.is_primary
        assert not known.in_handshake


def test_s1_meet_dials_the_address_under_a_made_up_id_and_sends_meet() -> None:
    solo = Solo()
    dial = meet(solo)
    assert (dial.ip, dial.cport) == ("10.0.1.1", 17001)
    assert solo.node(dial.node_id).in_handshake
    link = solo.open(dial)
    (message,) = solo.sent(link)
    assert message.type == c.MEET


def test_s1_the_answer_gives_the_node_its_true_id() -> None:
    solo = Solo()
    dial = meet(solo)
    link = solo.open(dial)
    puppet = Puppet(node_id("a"), "10.0.1.1", 7001, link, 0)
    solo.says(puppet, c.PONG)
    assert not solo.knows(dial.node_id)
    assert not solo.node(puppet).in_handshake
    assert solo.events(NodeJoined) == [NodeJoined(puppet.node_id, "10.0.1.1", 7001, 17001)]
    assert solo.node(puppet).ping_sent_ms == 0
    assert solo.node(puppet).pong_received_ms == solo.now_ms


def test_s1_a_redial_within_a_handshake_sends_meet_again() -> None:
    solo = Solo()
    dial = meet(solo)
    link = solo.open(dial)
    solo.state.handle_link_closed(link, "eof", solo.now_ms)
    again = solo.only(Dial, solo.ticks(300))
    assert [message.type for message in solo.sent(solo.open(again))] == [c.MEET]


@pytest.mark.parametrize(("node_timeout_ms", "limit_ms"), [(300, 1_000), (2_000, 2_000)])
def test_s1_a_handshake_expires(node_timeout_ms: int, limit_ms: int) -> None:
    solo = Solo(cluster_node_timeout=node_timeout_ms)
    dial = meet(solo)
    solo.open(dial)
    solo.tick(limit_ms - 100)
    assert solo.knows(dial.node_id)
    solo.tick(101)
    assert not solo.knows(dial.node_id)
    assert solo.state.known_nodes_count == 1


def test_s1_a_meet_from_a_stranger_starts_our_handshake_with_it() -> None:
    solo = Solo()
    puppet = stranger(solo)
    solo.says(puppet, c.MEET)
    assert len(solo.sent(puppet.inbound, c.PONG)) == 1
    dial = solo.only(Dial, solo.tick())
    assert (dial.ip, dial.cport) == (puppet.ip, puppet.cport)
    puppet.dialled = solo.open(dial)
    assert [message.type for message in solo.sent(puppet.dialled)] == [c.PING]
    solo.says(puppet, c.PONG)
    assert not solo.node(puppet).in_handshake
    assert solo.node(puppet).inbound_link is not None


def test_s1_the_announced_address_of_a_meet_counts() -> None:
    solo = Solo()
    solo.says(stranger(solo), c.MEET, myip="192.168.1.1", cport=9000)
    dial = solo.only(Dial, solo.tick())
    assert (dial.ip, dial.cport) == ("192.168.1.1", 9000)


def test_s1_tls_puts_the_tls_port_first() -> None:
    solo = Solo(tls_cluster=True, tls_port=6380, port=6379, **KEYS)
    puppet = stranger(solo)
    solo.says(puppet, c.MEET, port=7101, pport=7001)
    (pong,) = solo.sent(puppet.inbound, c.PONG)
    assert pong.header is not None
    assert (pong.header.port, pong.header.pport, pong.header.cport) == (6380, 6379, 16380)
    puppet.dialled = solo.open(solo.only(Dial, solo.tick()))
    solo.says(puppet, c.PONG, port=7101, pport=7001)
    assert (solo.node(puppet).port, solo.node(puppet).tls_port) == (7001, 7101)


def test_s1_a_ping_of_a_stranger_is_answered_and_changes_nothing() -> None:
    solo = Solo()
    puppet = stranger(solo)
    solo.says(puppet, c.PING, current_epoch=9)
    assert len(solo.sent(puppet.inbound, c.PONG)) == 1
    assert solo.state.known_nodes_count == 1
    assert solo.state.current_epoch == 0


def test_s1_a_known_node_met_at_its_own_address_stays_one_node() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    dial = meet(solo, puppet.ip, puppet.port)
    again = solo.open(dial)
    solo.receive(again, solo.heartbeat(puppet, c.PONG))
    assert solo.state.known_nodes_count == 2
    assert again in solo.closed()
    assert solo.node(puppet).link is not None


def test_s1_a_known_node_that_is_lost_is_found_at_another_address() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    solo.tick(5_000)
    solo.state.meet("10.0.7.7", puppet.port, None, solo.now_ms)
    dial = next(dial for dial in solo.of(Dial, solo.tick()) if dial.ip == "10.0.7.7")
    solo.receive(solo.open(dial), solo.heartbeat(puppet, c.PONG))
    assert solo.node(puppet).ip == "10.0.7.7"


def test_h22_a_second_peer_with_the_id_of_one_that_is_well_does_not_move_it() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    dial = meet(solo, "10.0.7.7", 7001)
    solo.receive(solo.open(dial), solo.heartbeat(puppet, c.PONG))
    assert solo.node(puppet).ip == puppet.ip
    assert solo.counter("refused_duplicate_id") == 1
    assert solo.warnings()
    assert solo.is_alive()


def test_h23_meet_again_and_again_is_one_handshake() -> None:
    solo = Solo()
    puppet = stranger(solo)
    for _ in range(3):
        solo.says(puppet, c.MEET)
        assert len(solo.sent(puppet.inbound, c.PONG)) == 1
    other_link = Puppet(puppet.node_id, puppet.ip, puppet.port, 0, solo.accept(puppet.ip))
    solo.says(other_link, c.MEET)
    assert solo.state.known_nodes_count == 2
    solo.state.meet(puppet.ip, puppet.port, None, solo.now_ms)
    assert solo.state.known_nodes_count == 2


def test_h23_meet_of_a_known_node_is_a_ping() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, c.MEET)
    assert len(solo.sent(puppet.inbound, c.PONG)) == 1
    assert solo.state.known_nodes_count == 2


def test_h23_meet_on_a_link_we_dialled_closes_it() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.receive(puppet.dialled, solo.heartbeat(puppet, c.MEET))
    assert solo.closed() == [puppet.dialled]
    assert solo.counter("refused_meet_on_our_link") == 1
    assert solo.is_alive()


def test_h30_handshakes_are_capped_and_expire() -> None:
    solo = Solo(cluster_max_handshakes=20)
    for number in range(25):
        link = solo.accept()
        flooder = Puppet(f"{number:040x}", "10.3.3.3", 1_000 + number, 0, link)
        solo.says(flooder, c.MEET)
    assert solo.state.known_nodes_count == 1 + 20
    assert solo.counter("refused_handshake_cap") == 5
    assert solo.is_alive()
    solo.tick(2_001)
    assert solo.state.known_nodes_count == 1


def test_h30_inbound_links_of_unknown_peers_are_capped() -> None:
    solo = Solo(cluster_max_anonymous_links=20)
    for _ in range(20):
        solo.accept()
        assert not solo.closed()
    refused = next(solo._links)
    solo.state.handle_link_accepted(refused, "10.3.3.3", "10.0.0.5", solo.now_ms)
    solo.poll()
    assert solo.closed() == [refused]
    assert solo.counter("refused_link_cap") == 1


def kinds_sent(solo: Solo, puppet: Puppet, duration_ms: int) -> list[int]:
    """The types of the messages on our link, while the puppet answers and does not dial us."""
    kinds = []
    for _ in range(duration_ms // 100):
        solo.tick()
        kinds += [message.type for message in solo.sent(puppet.dialled)]
        if solo.node(puppet).ping_sent_ms:
            solo.says(puppet, c.PONG)
    return kinds


def test_s1_an_operators_meet_is_repeated_for_a_minute_while_the_peer_does_not_dial_us() -> None:
    """The peer may have given up its handshake with us. Newer servers repeat it too."""
    solo = Solo(cluster_node_timeout=1_000)
    puppet = Puppet(node_id("a"), "10.0.1.1", 7001, solo.open(meet(solo)), 0)
    solo.says(puppet, c.PONG)
    kinds = kinds_sent(solo, puppet, 3_000)
    assert kinds[0] == c.PING
    assert c.MEET in kinds
    kinds_sent(solo, puppet, c.MEET_AGAIN_MS)
    assert set(kinds_sent(solo, puppet, 5_000)) == {c.PING}


def test_s1_the_meet_flag_ends_with_the_answer() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dial = solo.only(Dial, solo.ticks(300))
    assert [message.type for message in solo.sent(solo.open(dial))] == [c.PING]


# ---------------------------------------------------------------- handshakes that fail


def failures(solo: Solo) -> list[str]:
    """The reasons that are told of handshakes with 10.0.1.1; each stands in one line at notice level too."""
    reasons = [event.reason for event in solo.events(HandshakeFailed)]
    lines = [log.text for log in solo.of(Log) if log.level == ("verbose" if OWN_ADDRESS in reasons else "notice")]
    assert solo.events(HandshakeFailed) == [HandshakeFailed("10.0.1.1", 7001, 17001, reason) for reason in reasons]
    assert [line for line in lines if "failed" in line] == [
        f"Handshake with 10.0.1.1:7001@17001 failed: {reason}" for reason in reasons
    ]
    return reasons


def test_a_meet_to_nobody_tells_how_the_last_dial_ended() -> None:
    solo = Solo()
    dial = meet(solo)
    solo.state.handle_dial_failed(dial.node_id, "connect: Connection refused", solo.now_ms)
    solo.tick_until(lambda: not solo.knows(dial.node_id))
    assert failures(solo) == ["connect: Connection refused"]


def test_a_peer_that_takes_the_link_and_says_nothing_gave_no_answer() -> None:
    solo = Solo()
    dial = meet(solo)
    solo.open(dial)
    solo.tick_until(lambda: not solo.knows(dial.node_id))
    assert failures(solo) == [NO_ANSWER]


def test_what_a_stranger_begins_and_does_not_end_is_no_news() -> None:
    solo = Solo()
    peer = stranger(solo)
    solo.says(peer, c.MEET)
    assert solo.state.known_nodes_count == 2
    effects = solo.ticks(3_000)
    assert solo.state.known_nodes_count == 1
    assert not solo.events(HandshakeFailed)
    assert not [log for log in solo.of(Log, effects) if "failed" in log.text]


def test_our_order_makes_a_strangers_handshake_ours() -> None:
    solo = Solo()
    peer = stranger(solo)
    solo.says(peer, c.MEET)
    node = solo.state.meet("10.0.1.1", 7001, None, solo.now_ms)
    assert node is not None
    solo.tick_until(lambda: node.table_index < 0)
    assert failures(solo) == [NO_ANSWER]


def test_a_handshake_with_ourselves_ends_when_our_own_meet_comes_in() -> None:
    solo = Solo(port=7001)
    dial = meet(solo)
    link = solo.open(dial, local_ip="10.0.1.1")
    (own,) = solo.sent(link, c.MEET)
    inbound = solo.accept("10.0.1.1", local_ip="10.0.1.1")
    solo.receive(inbound, own)
    assert failures(solo) == [OWN_ADDRESS]
    assert set(solo.closed()) == {link, inbound}
    assert solo.state.known_nodes_count == 1
    assert not solo.warnings()


def test_the_node_of_a_handshake_says_which_known_node_answered() -> None:
    solo = Solo()
    known = solo.puppet("a")
    node = solo.state.meet("10.0.1.9", 7009, None, solo.now_ms)
    assert node is not None
    link = solo.open(solo.only(Dial, solo.tick()))
    solo.receive(link, solo.heartbeat(known, c.PONG))
    assert node.known_as == known.node_id
    assert not solo.events(HandshakeFailed)
