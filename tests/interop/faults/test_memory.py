"""A limit on the node's memory (RLIMIT_AS), and floods of strangers and clients that ask for more than there is (H30,
H40, H43). An allocation that fails would end the process, so the bounds of what others hold are what keeps it alive.
"""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from clusterbus import wire

from tests.client_port.harness import multibulk
from tests.interop.bus_peer import FLAG_PRIMARY, TYPE_MEET, TYPE_PING
from tests.interop.faults.machine import limited, memory_bytes, needs
from tests.interop.faults.mixed import DEADLINE_S, PRIMARIES, Mixed
from tests.peers.cluster import wait_until
from tests.peers.server import Server, Surroundings

ROOM_BYTES = 400 << 20
"""What the node gets beside what it needs at rest."""
START_BYTES = 640 << 20
"""The limit at its start, under which our allocator does without the gigabyte of addresses that it would reserve."""
CLIENTS_BYTES = 32 << 20
STRANGERS = 80
PACKET_BYTES = 8 << 20
PART_BYTES = 7 << 20
HANDSHAKES = 300
DEAF = 60
PINGS = 60
CLIENTS = 40
SMALL_BUFFER_BYTES = 4_096
MESSAGE_BYTES = 64 << 10
MESSAGES = 200
ROUNDS = 2
WELL_BYTES = 200 << 20
"""What the node may have grown by once the floods are over: allocators keep some, but not more with each round."""


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """In place of the cluster whose node has a disk of its own."""
    around = Surroundings(command=(needs("prlimit", "util-linux"), f"--as={START_BYTES}:unlimited"))
    surroundings = [*[None] * PRIMARIES, around, None]
    directives = {"maxmemory-clients": str(CLIENTS_BYTES), "io-threads": "3"}
    cluster = Mixed(tmp_path_factory.mktemp("mixed"), surroundings, **directives)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def header(number: int) -> wire.Header:
    """Of a node at a port of its own, where nobody is."""
    return wire.Header(sender=f"{number:040x}", port=1_000 + number, cport=2_000 + number, flags=FLAG_PRIMARY)


class Flood:
    """Connections to one port that send what they are told and read nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()

    def send(self, parts: Sequence[bytes], *, small_buffer: bool = False) -> None:
        """Opens a connection for each part and sends it, as far as the node takes it: until all has gone, or nothing
        more goes for a second.
        """
        with selectors.DefaultSelector() as selector:
            for part in parts:
                one = socket.socket()
                self._sockets.append(one)
                if small_buffer:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
                one.settimeout(DEADLINE_S)
                one.connect(("127.0.0.1", self._port))
                one.setblocking(False)
                selector.register(one, selectors.EVENT_WRITE, memoryview(part))
            deadline_s = time.monotonic() + DEADLINE_S
            while selector.get_map() and (ready := selector.select(1.0)):
                assert time.monotonic() < deadline_s, "the node takes everything slowly"
                for key, _ in ready:
                    self._push(selector, key)

    @staticmethod
    def _push(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        one: socket.socket = key.fileobj  # type: ignore[assignment]
        try:
            rest = key.data[one.send(key.data) :]
        except BlockingIOError:
            return
        except OSError:  # the node has ended it
            selector.unregister(one)
            return
        if rest:
            selector.modify(one, selectors.EVENT_WRITE, rest)
        else:
            selector.unregister(one)


def strangers(flood: Flood) -> None:
    """Packets that never end; then MEETs from nodes that are not there; then PINGs whose answers nobody reads."""
    publish = bytearray(wire.encode(wire.Publish(header(0), b"channel", bytes(PACKET_BYTES - 4_096))))
    flood.send([bytes(publish[:PART_BYTES])] * STRANGERS)
    meet = [wire.encode(wire.Heartbeat(TYPE_MEET, header(number), (), ())) for number in range(1, HANDSHAKES + 1)]
    flood.send(meet)
    ping = wire.encode(wire.Heartbeat(TYPE_PING, header(HANDSHAKES + 1), (), ()))
    flood.send([ping * PINGS] * DEAF, small_buffer=True)


def greedy_clients(flood: Flood, node: Server) -> None:
    """Subscribers that never read, huge requests that never end, and pipelines whose answers nobody reads."""
    flood.send([multibulk(b"SUBSCRIBE", b"flood")] * CLIENTS, small_buffer=True)
    message = "x" * MESSAGE_BYTES
    for _ in range(MESSAGES):
        node.call("PUBLISH", "flood", message)
    flood.send([b"*2\r\n$4\r\nECHO\r\n$16000000\r\n" + bytes(15_000_000)] * CLIENTS)
    flood.send([multibulk(b"ECHO", bytes(8_192)) * 300] * CLIENTS, small_buffer=True)


def wait_heard(mixed: Mixed) -> None:
    """The links to good peers carry heartbeats, and nobody holds the node for failing."""
    before = mixed.node.counter("cluster_packets_received")
    wait_until(lambda: mixed.node.counter("cluster_packets_received") > before, DEADLINE_S, "heartbeats come in")
    assert mixed.is_held_well()
    assert mixed.is_held_well(mixed.primaries[0])


def flood_once(mixed: Mixed) -> None:
    """Both floods at once, what the node tells of them, and their end."""
    node = mixed.node
    evicted = node.counter("evicted_clients")
    with contextlib.ExitStack() as stack:
        bus, port = stack.enter_context(Flood(node.bus_port)), stack.enter_context(Flood(node.port))
        strangers(bus)
        mixed.wait_info("cluster_anonymous_bytes", lambda text: 0 < int(text) <= 64 << 20)
        wait_heard(mixed)
        greedy_clients(port, node)
        mixed.wait_info("evicted_clients", lambda text: int(text) > evicted + CLIENTS)
        wait_heard(mixed)
    mixed.wait_info("cluster_anonymous_bytes", 0)
    mixed.wait_info("connected_clients", lambda text: int(text) <= 2)


def test_under_a_limit_of_memory_floods_end_at_bounds_and_the_node_goes_on_h30_h40_h43(mixed: Mixed) -> None:
    node = mixed.node
    node.call("PING")
    rest_bytes = memory_bytes(node, "VmRSS")
    with limited(node, resource.RLIMIT_AS, memory_bytes(node, "VmSize") + ROOM_BYTES):
        for _ in range(ROUNDS):
            flood_once(mixed)
        mixed.wait_info("cluster_links_lost_anonymous_bytes", lambda text: int(text or 0) > STRANGERS / 2)
        mixed.wait_info("cluster_refused_handshake_cap", lambda text: int(text or 0) > 0)
        mixed.wait_info("cluster_answers_dropped_slow_link", lambda text: int(text) > 0)
        wait_until(
            lambda: memory_bytes(node, "VmRSS") < rest_bytes + WELL_BYTES,
            DEADLINE_S,
            lambda: f"{memory_bytes(node, 'VmRSS') >> 20} MiB, {rest_bytes >> 20} at rest",
        )
    wait_heard(mixed)
