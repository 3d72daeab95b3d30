"""Rows H1 to H6 four ways: what a peer sends is no message, or no message that adds up."""

from __future__ import annotations

import pytest
from clusterbus import wire
from clusterbus.cluster import constants as c

from tests.hostile.attacked import DEADLINE_S, Attacked, writable_bytes
from tests.hostile.packets import COUNT, LIGHT, VER, at, head, number_at

PROMISES = 64
PROMISED_GROWTH_MAX_BYTES = 64 << 20
"""An eighth of what is promised; most of it is the TLS state of both sides."""
DROPPED_CLOSES = 8


@pytest.mark.parametrize("place", range(4))
def test_a_wrong_byte_in_the_signature_closes_at_that_byte_h1(attacked: Attacked, place: int) -> None:
    evil = attacked.known()
    wrong = evil.heartbeat()[:place] + b"\n"  # nothing of the message follows: the link must not wait for it
    attacked.refuses(
        evil, [wrong, wrong], counter="cluster_links_lost_bad_signature", logged="bad-signature", closes=True
    )


def test_a_wrong_signature_also_ends_a_link_that_we_dialled_h1(attacked: Attacked) -> None:
    evil = attacked.known()
    evil.dialled.send(b"XCmb")
    evil.dialled.wait_closed()
    attacked.counts("cluster_links_lost_bad_signature", 1)
    (line,) = attacked.wait_logged("link lost (bad-signature)")
    assert "127.0.0.1: " in line
    (line,) = attacked.wait_logged("dialled more rarely")
    assert evil.node_id in line
    assert evil.ping() is not None, "its own link goes on"


@pytest.mark.parametrize(
    ("totlen", "type"),
    [(0, c.PING), (15, LIGHT | c.PUBLISH), (16, c.PING), (wire.HEADER_LEN_BYTES - 1, c.MEET)],
)
def test_a_length_below_its_header_closes_h2(attacked: Attacked, totlen: int, type: int) -> None:
    evil = attacked.known()
    attacked.refuses(
        evil, [head(totlen, type)] * 3, counter="cluster_links_lost_bad_length", logged="bad-length", closes=True
    )


@pytest.mark.parametrize("totlen", [wire.MAX_PACKET_LEN_BYTES + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_over_the_cap_closes_before_the_rest_is_there_h3(attacked: Attacked, totlen: int) -> None:
    evil = attacked.known()
    packets = [head(totlen, c.PING)[:8], head(totlen, c.MODULE), head(totlen, LIGHT | c.PUBLISH)]
    attacked.refuses(evil, packets, counter="cluster_links_lost_bad_length", logged="bad-length", closes=True)


def test_no_room_is_made_for_what_is_only_promised_h3(attacked: Attacked) -> None:
    evil = attacked.known()
    before_bytes = writable_bytes()
    for _ in range(PROMISES):
        attacked.connect().send(head(wire.MAX_PACKET_LEN_BYTES, c.PING) + bytes(100))
    evil.send(head(wire.MAX_PACKET_LEN_BYTES, c.PING))
    attacked.wait(lambda: attacked.counter("cluster_links") == PROMISES + 4, "all links are up")
    assert writable_bytes() - before_bytes < PROMISED_GROWTH_MAX_BYTES
    assert not evil.is_closed()


def test_a_length_that_does_not_add_up_is_dropped_h4(attacked: Attacked) -> None:
    evil = attacked.known()
    longer = at(evil.heartbeat(), 4, (wire.HEADER_LEN_BYTES + 8).to_bytes(4, "big")) + bytes(8)
    fail = at(wire.encode(wire.Fail(evil.header(), "c" * 40)), 4, (wire.HEADER_LEN_BYTES).to_bytes(4, "big"))
    packets = [longer, fail[: wire.HEADER_LEN_BYTES], longer]
    attacked.refuses(evil, packets, counter="cluster_dropped_length", logged="packet refused: totlen")


def test_the_eighth_dropped_packet_closes_whatever_each_was_dropped_for_h4(attacked: Attacked) -> None:
    evil = attacked.known()
    wrong = [number_at(evil.heartbeat(), COUNT, 3), number_at(evil.heartbeat(), VER, 2)]
    for number in range(DROPPED_CLOSES - 1):
        evil.send(wrong[number % 2])
    assert evil.ping() is not None, "seven do not close"
    evil.send(wrong[1])
    evil.wait_closed(DEADLINE_S)
    attacked.counts("cluster_links_lost_bad_packets", 1)
    assert attacked.counter("cluster_dropped_gossip_count") == DROPPED_CLOSES // 2
    assert attacked.counter("cluster_dropped_version") == DROPPED_CLOSES // 2
    assert attacked.counter("cluster_packets_dropped") == DROPPED_CLOSES
    (line,) = attacked.wait_logged("link lost (bad-packets)")
    assert evil.address in line
    assert len(attacked.log.lines("packet refused")) == 1


@pytest.mark.parametrize("ver", [0, 2, 0xFFFF])
def test_another_version_is_dropped_h5(attacked: Attacked, ver: int) -> None:
    evil = attacked.known()
    wrong = number_at(evil.heartbeat(current_epoch=99), VER, ver)
    attacked.refuses(
        evil, [wrong] * 5, counter="cluster_dropped_version", logged=f"packet refused: ver: {ver}, expected 1"
    )
    assert attacked.counter("cluster_current_epoch") < 99, "nothing of it counts"


def test_a_gossip_count_that_the_bytes_do_not_hold_is_dropped_h6(attacked: Attacked) -> None:
    evil = attacked.known()
    entry = wire.GossipEntry(node_id="c" * 40, ip="127.0.0.1", port=1, cport=2, flags=c.FLAG_PRIMARY)
    one = evil.heartbeat(gossip=[entry])
    packets = [number_at(one, COUNT, count) for count in (2, 3, 0x8000, 0xFFFF)]
    packets.append(number_at(evil.heartbeat(), COUNT, 1))
    attacked.refuses(evil, packets, counter="cluster_dropped_gossip_count", logged="gossip entries need")
    attacked.refuses(evil, [number_at(one, COUNT, 0)], counter="cluster_dropped_length", logged=None)
    assert not attacked.knows(entry.node_id)
