"""Hostile input (rows H) at the bus port of a real process, four ways: worker and main-thread path, TCP and TLS.

For every row: the link is closed or the packet dropped, as the row says; a named counter goes up; one log line names
the peer; the input does not change the state; a good peer is answered afterwards.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from clusterbus import wire

from tests.interop.bus_peer import Link, Peer, PeerGroup
from tests.peers.cluster import cluster_nodes, listings, node_id, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]
Bytes = Callable[[Peer, Server], list[bytes]]

WAYS = {"main-tcp": (1, False), "worker-tcp": (3, False), "main-tls": (1, True), "worker-tls": (3, True)}
GOOD_ID, EVIL_ID, THIRD_ID = "a" * 40, "e" * 40, "c" * 40
DEADLINE_S = 10.0
FRAME_MAX_BYTES = 8 << 20

FLAG_MYSELF, FLAG_HANDSHAKE, FLAG_PRIMARY = 16, 32, 1
# Good texts of extensions by type: hostname, human nodename, availability zone. A bad character replaces the `x`.
EXTENSION_TEXTS = {
    0: b"evilxhost.local\0",
    1: b"evilxname.local\0",
    8: b"evilxzone.local\0",
}
# Each of these characters would break a line of nodes.conf or of a log.
EVIL_CHARACTERS = (b"\n", b",", b"=", b"\x01")


def head(totlen: int, type: int) -> bytes:
    """The first 16 bytes of a message: enough to check its length, and nothing of its body."""
    return b"RCmb" + struct.pack(">IHHHH", totlen, 1, 0, type, 0)


def with_count(data: bytes, count: int) -> bytes:
    return data[:14] + struct.pack(">H", count) + data[16:]


def lying_counts(evil: Peer, _node: Server) -> list[bytes]:
    return [with_count(evil.heartbeat(), count) for count in (1, 3, 0xFFFF)]


def evil_texts(evil: Peer, _node: Server) -> list[bytes]:
    """One heartbeat for each pair of a bad character and an extension with text."""
    return [
        evil.heartbeat(extensions=[wire.Extension(type, text)]).replace(text, text.replace(b"x", character))
        for type, text in EXTENSION_TEXTS.items()
        for character in EVIL_CHARACTERS
    ]


def evil_addresses(evil: Peer, _node: Server) -> list[bytes]:
    """One heartbeat for each bad character in the gossiped address of a third node (H12, H13)."""
    entry = wire.GossipEntry(node_id=THIRD_ID, ip="10.9.8.7", port=7000, cport=17000, flags=FLAG_PRIMARY)
    data = evil.heartbeat(gossip=[entry])
    return [data.replace(b"10.9.8.7", b"10.9" + character + b"8.7") for character in EVIL_CHARACTERS]


def own_id(evil: Peer, node: Server) -> list[bytes]:
    return [evil.heartbeat().replace(EVIL_ID.encode(), node_id(node).encode())]


@dataclass(frozen=True)
class Case:
    """One hostile input: the packets, whether the link ends, the counter that goes up, and a part of the log line."""

    send: Bytes
    closes: bool
    counter: str
    logged: str


CASES = {
    "H2-full": Case(lambda e, n: [head(2255, 0)], True, "cluster_links_lost_bad_length", "bad-length"),
    "H2-light": Case(lambda e, n: [head(15, 0x8004)], True, "cluster_links_lost_bad_length", "bad-length"),
    "H3-cap": Case(lambda e, n: [head(FRAME_MAX_BYTES + 1, 0)], True, "cluster_links_lost_bad_length", "bad-length"),
    "H3-4GiB": Case(lambda e, n: [head(0xFFFFFFFF, 0)], True, "cluster_links_lost_bad_length", "bad-length"),
    "H6": Case(lying_counts, False, "cluster_dropped_gossip_count", "gossip entries"),
    "H12-text": Case(evil_texts, False, "cluster_refused_fields", "refused extensions[0]"),
    "H12-address": Case(evil_addresses, False, "cluster_refused_fields", "refused gossip[0].ip"),
    "H20": Case(own_id, True, "cluster_refused_own_id", "under our own id"),
}


@pytest.fixture(params=list(WAYS), ids=list(WAYS))
def node(request: pytest.FixtureRequest, peers: Peers, certificates: Certificates) -> Server:
    """A node of its own for each of the four ways."""
    return start(peers, certificates, request.param)


def start(peers: Peers, certificates: Certificates, way: str) -> Server:
    io_threads, with_tls = WAYS[way]
    return peers("clusterbus", certificates=certificates if with_tls else None, io_threads=io_threads)


def introduce(bus: PeerGroup, node: Server, *ids: str) -> list[Peer]:
    """Hand-made peers that the node knows as full members."""
    members = [bus.peer(peer_id, node) for peer_id in ids]
    wait_until(
        lambda: sum(line.is_well for line in cluster_nodes(node).values()) == len(ids) + 1,
        DEADLINE_S,
        lambda: listings([node]),
    )
    return members


def count(node: Server, counter: str) -> int:
    """A counter of INFO. INFO does not show it while it is 0."""
    return int(node.info().get(counter, 0))


@pytest.mark.parametrize("row", CASES)
def test_a_hostile_packet_is_refused_counted_logged_and_harmless(node: Server, bus: PeerGroup, row: str) -> None:
    case = CASES[row]
    good, evil = introduce(bus, node, GOOD_ID, EVIL_ID)
    assert evil.link is not None
    members = {key: line.flags for key, line in cluster_nodes(node).items()}
    counted, logged = count(node, case.counter), len(node.log_text())
    packets = case.send(evil, node)
    for data in packets:
        bus.loop.run(evil.link.send(data))

    if case.closes:
        bus.loop.run(evil.link.wait_closed(DEADLINE_S))
    else:
        assert bus.loop.run(evil.ping()) is not None, "the link goes on"
    wait_until(
        lambda: count(node, case.counter) == counted + len(packets),
        DEADLINE_S,
        lambda: f"{case.counter} counts {len(packets)}: {node.info()}",
    )

    def lines() -> list[str]:
        return [line for line in node.log_text()[logged:].splitlines() if case.logged in line]

    # A worker counts before the main loop hears of it.
    wait_until(lambda: bool(lines()), DEADLINE_S, lambda: f"a line about it: {node.log_text()[logged:]}")
    found = lines()
    assert len(found) == 1, f"one line about it: {node.log_text()[logged:]}"
    assert "127.0.0.1" in found[0] or EVIL_ID in found[0]

    assert bus.loop.run(good.ping()) is not None, "a good peer is answered"
    assert {key: line.flags for key, line in cluster_nodes(node).items()} == members
    assert node.call("CLUSTER", "SAVECONFIG") == "OK"
    for text in (node.call("CLUSTER", "NODES"), (node.folder / "nodes.conf").read_text()):
        assert "evil" not in text
        assert "10.9" not in text
        assert text.count("myself") == 1
        assert len(text.splitlines()) - text.count("vars ") == 3


def test_private_flags_in_gossip_are_masked_counted_and_logged_h25(node: Server, bus: PeerGroup) -> None:
    good, evil = introduce(bus, node, GOOD_ID, EVIL_ID)
    assert evil.link is not None
    third = bus.listener(THIRD_ID, node)
    flags = FLAG_PRIMARY | FLAG_MYSELF | FLAG_HANDSHAKE
    address: dict[str, Any] = {"ip": "127.0.0.1", "port": third.port, "cport": third.cport}
    for _ in range(3):
        gossip = [wire.GossipEntry(node_id=key, flags=flags, **address) for key in (GOOD_ID, THIRD_ID)]
        assert bus.loop.run(evil.link.ask(evil.heartbeat(gossip=gossip))) is not None
    # The node joins the unknown node like any other; the known node keeps its flags.
    wait_until(
        lambda: sum(line.is_well for line in cluster_nodes(node).values()) == 4,
        DEADLINE_S,
        lambda: listings([node]),
    )
    table = cluster_nodes(node)
    assert [key for key, line in table.items() if "myself" in line.flags] == [node_id(node)]
    assert {table[key].flags for key in (GOOD_ID, EVIL_ID, THIRD_ID)} == {frozenset({"master"})}
    assert table[GOOD_ID].port == good.port
    assert count(node, "cluster_refused_gossip_flags") == 6
    lines = [line for line in node.log_text().splitlines() if "private flags" in line]
    assert len(lines) == 1, node.log_text()
    assert EVIL_ID in lines[0]
    assert bus.loop.run(good.ping()) is not None


async def nothing_heard(link: Link, limit_s: float) -> float:
    """How many seconds pass until the other side closes a link on which nothing is sent."""
    begun = asyncio.get_running_loop().time()
    await link.wait_closed(limit_s)
    return asyncio.get_running_loop().time() - begun


def test_slow_openers_are_closed_at_their_deadline_h31(
    peers: Peers, bus: PeerGroup, certificates: Certificates
) -> None:
    """Tests all four ways at the same time, because the deadline is long."""
    handshake_s, first_packet_s, late_s = 5.0, 15.0, 4.0
    nodes = {way: start(peers, certificates, way) for way in WAYS}
    goods = {way: introduce(bus, node, GOOD_ID)[0] for way, node in nodes.items()}
    waits = []
    for way, node in nodes.items():
        silent = bus.loop.run(Link.open(node))
        context = certificates.client_context() if WAYS[way][1] else None
        partial = bus.loop.run(Link.open(node, context))
        bus.loop.run(partial.send(goods[way].heartbeat()[:100]))
        silent_s = handshake_s if context else first_packet_s
        for link, least_s in ((silent, silent_s), (partial, first_packet_s)):
            bus.closes(link)
            waits.append((way, least_s, bus.loop.start(nothing_heard(link, least_s + late_s))))
    for way, least_s, wait in waits:
        assert wait.result(first_packet_s + 2 * late_s) >= least_s - 0.5, way
    for way, node in nodes.items():
        tls = WAYS[way][1]
        assert count(node, "cluster_links_lost_first_packet_timeout") == (1 if tls else 2)
        assert count(node, "cluster_accepts_refused_handshake_timeout") == (1 if tls else 0)
        reasons = ("first-packet-timeout", "handshake-timeout") if tls else ("first-packet-timeout",)
        for reason in reasons:
            lines = [line for line in node.log_text().splitlines() if reason in line]
            assert lines, f"{way}: a line about {reason}"
            assert all("127.0.0.1" in line for line in lines)
        assert bus.loop.run(goods[way].ping()) is not None
