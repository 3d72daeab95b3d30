"""How long PINGs take, as bus.nodes, bus.links(), CLUSTER LINKS and the metrics show it: right while the loop hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clusterbus
import pytest

from tests.bus.harness import settings
from tests.interop.bus_peer import TYPE_MEET, TYPE_PING, TYPE_PONG, BusLoop, Link, Peer, packet_type
from tests.loops import Run, until
from tests.peers.cluster import form, wait_until
from tests.peers.server import Server

PEER_ID = "d" * 40
DELAY_S = 0.03
HANG_S = 0.3


class SlowPeer(Peer):
    """It answers each PING after DELAY_S, and says when it has done so."""

    def __init__(self) -> None:
        super().__init__(PEER_ID)
        self.has_ping = threading.Event()
        self.has_answered = threading.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._accepted.append(link)
        while (packet := await link.receive()) is not None:
            if packet_type(packet) in (TYPE_PING, TYPE_MEET):
                self.has_ping.set()
                await asyncio.sleep(DELAY_S)
                await link.send(self.heartbeat(TYPE_PONG))
                self.has_answered.set()
        await link.close()


@pytest.fixture
def slow() -> Iterator[SlowPeer]:
    loop, peer = BusLoop(), SlowPeer()
    loop.run(peer.listen())
    yield peer
    loop.run(peer.close())
    loop.stop()


def rtts(bus: clusterbus.Bus) -> tuple[int | None, int | None]:
    node = bus.nodes.get(PEER_ID)
    return (node.rtt_us, node.rtt_max_us) if node is not None else (None, None)


@pytest.mark.parametrize("io_threads", [1, 2])
def test_the_loop_may_hang_and_the_round_trip_stays_right(
    run: Run, tmp_path: Path, slow: SlowPeer, io_threads: int
) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path, io_threads=io_threads, cluster_node_timeout=5_000)) as bus:
            await bus.meet("127.0.0.1", slow.port)
            await until(lambda: rtts(bus)[0] is not None)
            average_us, greatest_us = rtts(bus)
            assert average_us is not None
            assert greatest_us is not None
            assert DELAY_S * 1e6 <= average_us <= greatest_us

            slow.has_ping.clear()
            await until(slow.has_ping.is_set)
            slow.has_answered.clear()
            slow.has_answered.wait(10)
            time.sleep(HANG_S)
            await until(lambda: bus.nodes[PEER_ID].ping_sent_ms == 0)
            _average_us, greatest_us = rtts(bus)
            assert greatest_us is not None
            assert (greatest_us < HANG_S * 1e6) is (io_threads > 1), "without workers nobody reads while the loop hangs"

            (to_peer,) = [link for link in bus.links() if link.node_id == PEER_ID and not link.inbound]
            assert (to_peer.rtt_us, to_peer.rtt_max_us) == rtts(bus)
            labels = f'{{node_id="{PEER_ID}"}}'
            assert f"clusterbus_peer_rtt_max_seconds{labels} {greatest_us / 1e6}\n" in bus.metrics()
            assert bus.me.rtt_us is None

    run(scenario())


def test_cluster_links_shows_round_trips_behind_the_fields_of_valkey(peers: Callable[..., Server]) -> None:
    theirs, ours = peers("valkey"), peers("clusterbus")
    form([theirs, ours], [theirs, ours])

    def links(server: Server) -> dict[str, dict[str, object]]:
        rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in server.call("CLUSTER", "LINKS")]
        return {str(row["direction"]): row for row in rows}

    wait_until(lambda: int(str(links(ours)["to"]["rtt-usec"])) > 0, 10, lambda: str(links(ours)))
    to, back = links(ours)["to"], links(ours)["from"]
    assert int(str(to["rtt-usec"])) <= int(str(to["rtt-max-usec"])) < 10_000_000
    assert (back["rtt-usec"], back["rtt-max-usec"]) == (-1, -1)
    assert [*to] == [*links(theirs)["to"], "rtt-usec", "rtt-max-usec"]
