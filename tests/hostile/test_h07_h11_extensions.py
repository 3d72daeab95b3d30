"""Rows H7 to H11 and H15 four ways: extensions of heartbeats that do not add up, contradict themselves, or are new."""

from __future__ import annotations

import pytest
from clusterbus import wire
from clusterbus.cluster import constants as c

from tests.hostile.attacked import Attacked
from tests.hostile.packets import EXTENSIONS, extension, number_at, with_extensions

HOSTNAME = extension(c.EXTENSION_HOSTNAME, b"evil.local\0\0\0\0\0\0")
UNKNOWN_TYPES = (9, 99, 0x7FFF, 0xFFFF)
EXTENSION_LEN_MAX_BYTES = 64 << 10

SHORT = {
    "no-head": [extension(c.EXTENSION_HOSTNAME, bytes(8), 0)],
    "below-its-head": [extension(c.EXTENSION_HOSTNAME, bytes(8), 7)],
    "no-hostname": [extension(c.EXTENSION_HOSTNAME, b"")],
    "forgotten-node": [extension(c.EXTENSION_FORGOTTEN_NODE, bytes(40))],
    "shard-id": [extension(c.EXTENSION_SHARD_ID, bytes(32))],
    "client-port": [extension(c.EXTENSION_CLIENT_PORT, b"")],
    "second": [HOSTNAME, extension(c.EXTENSION_HOSTNAME, bytes(8), 0)],
    "unknown": [extension(99, b"", 4)],
}


def hostname(attacked: Attacked, node_id: str) -> str:
    """What the node knows as a peer's hostname."""
    found = attacked.bus.nodes[node_id].hostname
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("raw", SHORT.values(), ids=list(SHORT))
def test_an_extension_shorter_than_its_head_or_type_is_dropped_h7(attacked: Attacked, raw: list[bytes]) -> None:
    evil = attacked.known()
    wrong = with_extensions(evil.heartbeat(), *raw)
    attacked.refuses(
        evil, [wrong] * 3, counter="cluster_dropped_extension_length", logged="packet refused: extensions["
    )
    assert hostname(attacked, evil.node_id) == "", "nothing of the packet counts"


@pytest.mark.parametrize("length", [9, 15, 17, 23])
def test_an_extension_of_no_multiple_of_eight_is_dropped_h8(attacked: Attacked, length: int) -> None:
    evil = attacked.known()
    wrong = with_extensions(evil.heartbeat(), HOSTNAME, extension(c.EXTENSION_HOSTNAME, bytes(16), length))
    attacked.refuses(
        evil, [wrong] * 3, counter="cluster_dropped_extension_alignment", logged=f"{length} is not a multiple of 8"
    )
    assert hostname(attacked, evil.node_id) == ""


def test_an_extension_beyond_its_packet_or_over_64_kib_is_dropped_h9(attacked: Attacked) -> None:
    evil = attacked.known()
    lies = [
        16,
        EXTENSION_LEN_MAX_BYTES,
        0x1_0008,
        0x1_0000_0000 - 8,
    ]  # with 16 bits the third were 8, the last negative
    packets = [with_extensions(evil.heartbeat(), extension(99, b"", length)) for length in lies]
    packets.append(with_extensions(evil.heartbeat(), extension(99, bytes(EXTENSION_LEN_MAX_BYTES))))
    packets.append(with_extensions(evil.heartbeat(), HOSTNAME, count=2))
    attacked.refuses(evil, packets, counter="cluster_dropped_extension_overrun", logged="packet refused: extensions[0]")
    assert hostname(attacked, evil.node_id) == ""


def test_the_longest_extension_is_taken_h9(attacked: Attacked) -> None:
    evil = attacked.known()
    longest = extension(99, bytes(EXTENSION_LEN_MAX_BYTES - 8))
    assert evil.ask(with_extensions(evil.heartbeat(), longest, HOSTNAME)) is not None
    attacked.wait(lambda: hostname(attacked, evil.node_id) == "evil.local", "what follows it is taken")
    assert attacked.counter("cluster_packets_dropped") == 0


def test_extensions_that_contradict_their_flag_are_left_out_h10(attacked: Attacked) -> None:
    evil = attacked.known()
    without_flag = with_extensions(evil.heartbeat(current_epoch=20), HOSTNAME, flag=False)
    under_zero = with_extensions(evil.heartbeat(current_epoch=21), HOSTNAME, HOSTNAME, count=0)
    none_there = number_at(evil.heartbeat(current_epoch=22), EXTENSIONS, 1)
    attacked.refuses(
        evil,
        [without_flag, under_zero, none_there],
        counter="cluster_refused_fields",
        logged="refused extensions of a packet",
    )
    assert attacked.counter("cluster_refused_field_extensions") == 3
    assert attacked.counter("cluster_packets_dropped") == 0
    assert hostname(attacked, evil.node_id) == ""
    assert attacked.counter("cluster_current_epoch") == 22, "the rest of the packet counts"


def test_the_flag_without_extensions_is_right_h10(attacked: Attacked) -> None:
    evil = attacked.known()
    assert evil.ask(with_extensions(evil.heartbeat(), HOSTNAME)) is not None
    assert evil.ask(with_extensions(evil.heartbeat())) is not None
    assert attacked.counter("cluster_refused_fields") == 0


@pytest.mark.parametrize(
    "type",
    [
        c.EXTENSION_HOSTNAME,
        c.EXTENSION_NODENAME,
        c.EXTENSION_CLIENT_IPV4,
        c.EXTENSION_CLIENT_IPV6,
        c.EXTENSION_AVAILABILITY_ZONE,
    ],
)
def test_a_text_without_its_end_is_dropped_h11(attacked: Attacked, type: int) -> None:
    evil = attacked.known()
    endless = with_extensions(evil.heartbeat(), extension(type, b"1.2.3.45"))
    before_the_next = with_extensions(evil.heartbeat(), extension(type, b"1.2.3.45"), HOSTNAME)
    attacked.refuses(
        evil, [endless, before_the_next], counter="cluster_dropped_extension_text", logged="no NUL at the end"
    )
    assert hostname(attacked, evil.node_id) == ""


def test_an_unknown_extension_is_skipped_by_its_length_h15(attacked: Attacked) -> None:
    evil = attacked.known()
    lines = len(attacked.log.lines())
    raw = [extension(type, bytes(8 * place)) for place, type in enumerate(UNKNOWN_TYPES)]
    assert evil.ask(with_extensions(evil.heartbeat(), *raw, HOSTNAME, *raw)) is not None
    attacked.wait(lambda: hostname(attacked, evil.node_id) == "evil.local", "the known extension is taken")
    for name in ("cluster_packets_dropped", "cluster_packets_refused", "cluster_refused_fields"):
        assert attacked.counter(name) == 0
    assert attacked.log.lines()[lines:] == []
    own_header = wire.parse(evil.ping() or b"")[0]
    assert own_header.extensions, "it goes on to tell us its own"
