"""Rows H14 and H16 to H20 four ways: messages of a wrong kind, lies about lengths, senders under a name of others."""

from __future__ import annotations

import clusterbus
import pytest
from clusterbus import wire
from clusterbus.cluster import constants as c

from tests.hostile.attacked import DEADLINE_S, GOOD_ID, Attacked, HostilePeer
from tests.hostile.packets import (
    LIGHT,
    SENDER,
    TYPE,
    at,
    extension,
    head,
    module_head,
    number_at,
    publish_head,
    sized,
    with_extensions,
)

THIRD_ID, FOURTH_ID = "c" * 40, "d" * 40
UNKNOWN_TYPES = (11, 12, 99, 0x7FFF)
FORGET_MAX_S = 7 * 24 * 3600


def full(peer: HostilePeer, type: int, body: bytes) -> bytes:
    """A message with a full header and any body."""
    return sized(number_at(peer.heartbeat(), TYPE, type) + body)


def light(type: int, body: bytes) -> bytes:
    """A message with a light header and any body."""
    return head(wire.LIGHT_HEADER_LEN_BYTES + len(body), LIGHT | type) + body


PUBLISH = publish_head(1, 1) + b"xy"


@pytest.mark.parametrize("type", UNKNOWN_TYPES)
def test_the_header_of_an_unknown_type_counts_and_the_rest_is_ignored_h14(attacked: Attacked, type: int) -> None:
    evil = attacked.known()
    newer = number_at(evil.heartbeat(current_epoch=23), TYPE, type)
    packets = [newer, sized(newer + b"x"), sized(newer + bytes(100_000))]
    attacked.refuses(evil, packets, counter="cluster_refused_unknown_type", logged=None)
    assert attacked.counter("cluster_current_epoch") == 23
    assert attacked.counter("cluster_packets_dropped") == 0


def test_an_unknown_type_of_a_stranger_does_nothing_h14(attacked: Attacked) -> None:
    stranger = attacked.stranger()
    newer = number_at(stranger.heartbeat(current_epoch=23), TYPE, 99)
    attacked.refuses(stranger, [newer, sized(newer + b"x")], counter="cluster_refused_stranger", logged=None)
    assert attacked.counter("cluster_current_epoch") < 23
    assert not attacked.knows(stranger.node_id)


@pytest.mark.parametrize("type", [c.PING, c.PONG, c.MEET, c.FAIL, c.UPDATE, c.AUTH_REQUEST, c.AUTH_ACK, c.MFSTART, 99])
def test_a_light_header_on_another_type_is_dropped_h16(attacked: Attacked, type: int) -> None:
    evil = attacked.known()
    packets = [light(type, b""), light(type, bytes(40)), light(type, evil.heartbeat()[16:])]
    attacked.refuses(
        evil, packets, counter="cluster_dropped_light_type", logged=f"packet refused: type: {type} cannot have a light"
    )
    assert attacked.counter("cluster_refused_fail_subject") == 0


@pytest.mark.parametrize("type", [c.PUBLISH, c.PUBLISHSHARD, c.MODULE])
def test_a_light_packet_first_closes_h17(attacked: Attacked, type: int) -> None:
    body = module_head(1) + b"x" if type == c.MODULE else PUBLISH
    with attacked.bus.subscribe("x") as messages:
        attacked.refuses(
            attacked.stranger(),
            [light(type, body)] * 3,
            counter="cluster_refused_light_first",
            logged="a light packet came first on the link",
            closes=True,
        )
        attacked.known().send(light(c.PUBLISH, publish_head(1, 4) + b"xgood"))
        message = messages.get(DEADLINE_S)
    assert isinstance(message, clusterbus.Message)
    assert message.message == b"good", "of a link whose node is known it is taken, and none came before"


def test_a_light_packet_in_a_handshake_closes_and_ends_the_handshake_h17(attacked: Attacked) -> None:
    silent = attacked.meeting()
    assert any("handshake" in line.flags for line in attacked.nodes().values())
    attacked.refuses(
        silent.connection,
        [light(c.PUBLISH, PUBLISH)],
        counter="cluster_refused_light_first",
        logged="a light packet came first on the link",
        closes=True,
    )
    attacked.wait(
        lambda: not any("handshake" in line.flags for line in attacked.nodes().values()), "the handshake is over"
    )


LYING = {
    "publish": (c.PUBLISH, publish_head(1, 2) + b"xy"),
    "publish-max": (c.PUBLISH, publish_head(0xFFFFFFFF, 0xFFFFFFFF) + b"xy"),
    "publish-overflow": (c.PUBLISH, publish_head(0xFFFFFFFF, 3) + b"xy"),  # in 32 bits the sum is 2
    "publishshard-overflow": (c.PUBLISHSHARD, publish_head(3, 0xFFFFFFFF) + b"xy"),
    "module": (c.MODULE, module_head(3) + b"xy"),
    "module-max": (c.MODULE, module_head(0xFFFFFFFF) + b"xy"),
}


@pytest.mark.parametrize(("type", "body"), LYING.values(), ids=list(LYING))
def test_lengths_that_a_message_does_not_hold_are_dropped_h18(attacked: Attacked, type: int, body: bytes) -> None:
    evil = attacked.known()
    packets = [full(evil, type, body), light(type, body), full(evil, type, body)]
    attacked.refuses(evil, packets, counter="cluster_dropped_payload_length", logged="bytes claimed, 2 are there")
    shorter = full(evil, type, body[:5])
    attacked.refuses(evil, [shorter], counter="cluster_dropped_length", logged=None)
    assert attacked.counter(f"cluster_stats_messages_{c.MESSAGE_NAMES[type]}_received") == 4, "they were received"


def forgetting(peer: HostilePeer, node_id: str, ttl_s: int) -> bytes:
    return peer.heartbeat(extensions=[wire.Extension.forgotten_node_of(node_id, ttl_s)], mflags=c.MFLAG_EXTENSIONS)


def test_a_wish_to_forget_the_sender_or_me_or_my_primary_is_ignored_h19(attacked: Attacked) -> None:
    evil, primary = attacked.known(), attacked.known(THIRD_ID)
    attacked.ask(lambda member: member.state.replicate(THIRD_ID, member.driver.clock.now_ms()))
    packets = [forgetting(evil, node_id, 60) for node_id in (evil.node_id, attacked.bus.node_id, THIRD_ID)]
    attacked.refuses(evil, packets, counter="cluster_refused_forgotten_node", logged="asks to forget")
    assert {evil.node_id, THIRD_ID} <= set(attacked.nodes())
    assert primary.ping() is not None
    assert attacked.forgotten() == {}


def test_a_wish_to_forget_a_node_in_handshake_is_ignored_h19(attacked: Attacked) -> None:
    evil = attacked.known()
    attacked.meeting()
    (hurried,) = [node_id for node_id, line in attacked.nodes().items() if "handshake" in line.flags]
    attacked.refuses(
        evil, [forgetting(evil, hurried, 60)], counter="cluster_refused_forgotten_node", logged="asks to forget"
    )
    assert attacked.knows(hurried)


def test_a_wish_to_forget_for_ever_counts_for_seven_days_h19(attacked: Attacked) -> None:
    evil = attacked.known()
    attacked.known(THIRD_ID)
    for ttl_s in (0xFFFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF):
        assert evil.ask(forgetting(evil, THIRD_ID, ttl_s)) is not None
    assert not attacked.knows(THIRD_ID)
    (kept_s,) = attacked.forgotten().values()
    assert FORGET_MAX_S - 120 < kept_s <= FORGET_MAX_S
    # Told on, it is the rest of these days; and we never name ourselves.
    evil.extensions = [wire.Extension.shard_id_of("f" * 40)]
    assert evil.ping() is not None
    told = [one.forgotten_node for one in wire.parse(evil.ping() or b"")[0].extensions if one.forgotten_node]
    assert [node_id for node_id, _ttl_s in told] == [THIRD_ID]
    assert all(ttl_s <= FORGET_MAX_S for _node_id, ttl_s in told)


@pytest.mark.parametrize("node_id", [b"C" * 40, b"c" * 39 + b"\n", b"c" * 39 + b" "])
def test_a_wish_to_forget_no_id_is_refused_h19(attacked: Attacked, node_id: bytes) -> None:
    evil = attacked.known()
    raw = extension(c.EXTENSION_FORGOTTEN_NODE, node_id + (60).to_bytes(8, "big"))
    attacked.refuses(
        evil,
        [with_extensions(evil.heartbeat(), raw)] * 2,
        counter="cluster_refused_field_extensions_forgotten_node",
        logged="refused extensions[0].forgotten_node of a packet",
    )
    assert attacked.knows(GOOD_ID)


def test_packets_under_my_own_id_close_h20(attacked: Attacked) -> None:
    evil, my_id = attacked.known(), attacked.bus.node_id.encode()
    packets = [at(evil.heartbeat(type, current_epoch=24), SENDER, my_id) for type in (c.PING, c.PONG, c.MEET)]
    packets += [at(full(evil, c.FAIL, b"c" * 40), SENDER, my_id), at(full(evil, 99, b""), SENDER, my_id)]
    attacked.refuses(
        evil, packets, counter="cluster_refused_own_id", logged="sends packets under our own id", closes=True
    )
    assert attacked.counter("cluster_current_epoch") < 24
    assert len(attacked.nodes()) == 3


def test_my_own_id_on_a_link_that_i_dialled_closes_it_h20(attacked: Attacked) -> None:
    evil = attacked.known()
    link = evil.dialled
    link.send(at(evil.heartbeat(c.PONG), SENDER, attacked.bus.node_id.encode()))
    link.wait_closed()
    attacked.counts("cluster_refused_own_id", 1)
    (line,) = attacked.wait_logged("sends packets under our own id")
    assert "127.0.0.1" in line
    attacked.wait(lambda: evil.dialled is not link, "the node dials it anew")
    assert attacked.knows(evil.node_id)


def test_a_handshake_that_leads_to_myself_is_given_up_h20(attacked: Attacked) -> None:
    attacked.bus.meet("127.0.0.1", attacked.bus.port)
    attacked.wait(lambda: "failed: this node's own address" in attacked.log, "the handshake is given up")
    attacked.wait(lambda: set(attacked.nodes()) <= {attacked.bus.node_id, GOOD_ID}, "nobody new is left")
    assert attacked.counter("cluster_refused_own_id") == 0, "nobody else has done wrong"
