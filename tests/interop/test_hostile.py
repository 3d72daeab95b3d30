"""Hostile input at the bus port of a real process, four ways: worker and main-thread path, TCP and TLS.

Two rows as an operator sees them, by INFO, CLUSTER NODES and the log of `clusterbus node`. The rows one by one are in
`tests/hostile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clusterbus import wire

from tests.interop.bus_peer import Link, Peer, PeerGroup
from tests.peers.cluster import cluster_nodes, listings, node_id, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

WAYS = {"main-tcp": (1, False), "worker-tcp": (3, False), "main-tls": (1, True), "worker-tls": (3, True)}
GOOD_ID, EVIL_ID, THIRD_ID = "a" * 40, "e" * 40, "c" * 40
DEADLINE_S = 10.0
FLAG_MYSELF, FLAG_HANDSHAKE, FLAG_PRIMARY = 16, 32, 1


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
