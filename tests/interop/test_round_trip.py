"""How long PINGs take, as bus.nodes, bus.links(), CLUSTER LINKS and the metrics show it: right while the loop hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clusterbus
import pytest
import redis
import valkey

from tests.bus.harness import settings
from tests.interop.bus_peer import TYPE_MEET, TYPE_PING, TYPE_PONG, BusLoop, Link, Peer, packet_type
from tests.loops import Run, until
from tests.peers.cluster import form, wait_until
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server

PEER_ID = "d" * 40
DELAY_S = 0.03
HANG_S = 0.3


class SlowPeer(Peer):
    """It answers each PING after `delay_s`, and says when it has done so. `answered` are the types that it answers."""

    def __init__(self) -> None:
        super().__init__(PEER_ID)
        self.delay_s = DELAY_S
        self.answered = {TYPE_PING, TYPE_MEET}
        self.has_ping = threading.Event()
        self.has_answered = threading.Event()
        self.broadcasts = 0
        """How many PONGs that answer nothing it has sent on its own link."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._accepted.append(link)
        while (packet := await link.receive()) is not None:
            if packet_type(packet) in self.answered:
                self.has_ping.set()
                if self.link is not None:
                    await self.link.send(self.heartbeat(TYPE_PONG))
                    self.broadcasts += 1
                await asyncio.sleep(self.delay_s)
                await link.send(self.heartbeat(TYPE_PONG))
                self.has_answered.set()
        await link.close()

    async def dial(self, port: int) -> None:
        """Opens its own link to the node. From now on it sends a PONG there whenever a PING comes, as a node does that
        tells all what has changed."""
        self.link = await Link.open_port(port)
        await self.link.send(self.heartbeat())

    async def stop(self) -> None:
        """Ends its links and takes no new ones."""
        await self.close()
        self._accepted.clear()


@pytest.fixture
def loop() -> Iterator[BusLoop]:
    """The loop of the peers, on a thread of its own."""
    peers_loop = BusLoop()
    yield peers_loop
    peers_loop.stop()


@pytest.fixture
def slow(loop: BusLoop) -> Iterator[SlowPeer]:
    peer = SlowPeer()
    loop.run(peer.listen())
    yield peer
    loop.run(peer.close())


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


def test_the_figures_of_a_node_outlive_its_link(run: Run, tmp_path: Path, slow: SlowPeer, loop: BusLoop) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path, cluster_node_timeout=2_000)) as bus:
            await bus.meet("127.0.0.1", slow.port)
            await until(lambda: rtts(bus)[0] is not None)
            await until(lambda: bus.nodes[PEER_ID].ping_sent_ms == 0)
            loop.run(slow.stop())
            await until(lambda: not bus.nodes[PEER_ID].connected)
            average_us, greatest_us = rtts(bus)
            assert average_us is not None
            assert greatest_us is not None
            assert DELAY_S * 1e6 <= average_us <= greatest_us
            assert f'clusterbus_peer_rtt_max_seconds{{node_id="{PEER_ID}"}} {greatest_us / 1e6}\n' in bus.metrics()

            slow.delay_s = 0
            loop.run(slow.listen())
            await until(lambda: rtts(bus)[0] != average_us)
            assert DELAY_S * 1e6 / 2 < (rtts(bus)[0] or 0) < average_us, "it goes on from where it was"
            assert rtts(bus)[1] == greatest_us

    run(scenario())


def test_pongs_to_all_are_no_answers(run: Run, tmp_path: Path, slow: SlowPeer, loop: BusLoop) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path, cluster_node_timeout=1_000)) as bus:
            await bus.meet("127.0.0.1", slow.port)
            await until(lambda: rtts(bus)[0] is not None)
            loop.run(slow.dial(bus._config.port + 10_000))
            await until(lambda: slow.broadcasts >= 3)
            await until(lambda: bus.nodes[PEER_ID].ping_sent_ms == 0)
            assert any(link.inbound and link.node_id == PEER_ID for link in bus.links())
            assert (rtts(bus)[0] or 0) >= DELAY_S * 1e6
            assert {link.rtt_us for link in bus.links() if link.inbound} == {None}

    run(scenario())


def test_the_meet_of_a_handshake_is_measured_too(run: Run, tmp_path: Path, slow: SlowPeer) -> None:
    async def scenario() -> None:
        slow.answered = {TYPE_MEET}
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            await bus.meet("127.0.0.1", slow.port)
            await until(lambda: rtts(bus)[0] is not None)
            assert (rtts(bus)[0] or 0) >= DELAY_S * 1e6

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

    shown = json.loads(redis_cli("-p", str(ours.port), "--json", "CLUSTER", "LINKS"))
    assert {row["direction"]: row["rtt-max-usec"] > 0 for row in shown} == {"to": True, "from": False}
    assert "rtt-max-usec" in redis_cli("-p", str(ours.port), "CLUSTER", "LINKS")
    for protocol in (2, 3):
        for library in (redis, valkey):
            with library.Redis(port=ours.port, protocol=protocol, decode_responses=True) as client:
                told = client.execute_command("CLUSTER LINKS")
            read = [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in told]
            assert [[*row] for row in read] == [[*to]] * 2, (library, protocol)
