"""A hand-made bus peer: it listens, answers PING and MEET with PONG, and can open links of its own.

Owns sockets on one background thread (asyncio), so that a test can be a plain function. It sends any bytes that the
test gives it, right or wrong, so it plays both the peer that misbehaves and the good peer beside it.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from clusterbus import wire

from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

TYPE_PING, TYPE_PONG, TYPE_MEET = 0, 1, 2
FLAG_PRIMARY = 1
DEADLINE_S = 10.0

T = TypeVar("T")


class BusLoop:
    """An event loop on a thread of its own, for the sockets of all hand-made peers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bus-peers", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs `work` in the loop, in the background."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = DEADLINE_S) -> T:
        """Runs `work` in the loop and waits for its result."""
        return self.start(work).result(timeout_s)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Link:
    """One connection to a bus port. It receives whole packets and sends bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.local_port = int(writer.get_extra_info("sockname")[1])

    @classmethod
    async def open(cls, server: Server, context: ssl.SSLContext | None = None) -> Link:
        return await cls.open_port(server.bus_port, context)

    @classmethod
    async def open_port(cls, port: int, context: ssl.SSLContext | None = None) -> Link:
        host = "127.0.0.1" if context is not None else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes | None:
        """The next whole packet, or None if the other side has ended the link."""
        try:
            head = await self._reader.readexactly(8)
            return head + await self._reader.readexactly(struct.unpack(">I", head[4:8])[0] - 8)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return None

    async def ask(self, data: bytes, timeout_s: float = DEADLINE_S) -> bytes | None:
        """Sends one packet and returns the PONG that answers it, or None if the link ends instead."""
        with suppress(ConnectionError):
            await self.send(data)
        async with asyncio.timeout(timeout_s):
            while (packet := await self.receive()) is not None:
                if packet_type(packet) == TYPE_PONG:
                    return packet
        return None

    async def wait_closed(self, timeout_s: float = DEADLINE_S) -> None:
        """Waits until the other side ends the link. Raises TimeoutError if it does not."""
        async with asyncio.timeout(timeout_s):
            while await self.receive() is not None:
                pass

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


async def ask_once(server: Server, context: ssl.SSLContext | None, ping: bytes) -> bytes | None:
    """Opens a link with the TLS `context` (None: without TLS), sends a PING, and returns the PONG or None."""
    try:
        link = await Link.open(server, context)
    except (ssl.SSLError, ConnectionError):
        return None
    try:
        return await link.ask(ping)
    finally:
        await link.close()


def packet_type(packet: bytes) -> int:
    return int(struct.unpack_from(">H", packet, 12)[0])


class Peer:
    """It looks like a primary without slots: one id, one listener, a PONG for each PING and MEET."""

    def __init__(self, node_id: str, context: ssl.SSLContext | None = None) -> None:
        self.node_id = node_id
        self.port = free_port()
        self.cport = self.port + 10_000
        self._client_context = context
        self._accepted: list[Link] = []
        self._listener: asyncio.Server | None = None
        self.link: Link | None = None

    def header(self, **fields: Any) -> wire.Header:
        ours: dict[str, Any] = {
            "sender": self.node_id,
            "port": self.port,
            "cport": self.cport,
            "flags": FLAG_PRIMARY,
        }
        return wire.Header(**(ours | fields))

    def heartbeat(self, type: int = TYPE_PING, **parts: Any) -> bytes:
        """One encoded PING, PONG or MEET of this peer; `parts` are `gossip` and `extensions`."""
        return wire.encode(wire.Heartbeat(type, self.header(), **parts))

    async def listen(self, context: ssl.SSLContext | None = None) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.cport, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._accepted.append(link)
        while (packet := await link.receive()) is not None:
            if packet_type(packet) in (TYPE_PING, TYPE_MEET):
                with suppress(ConnectionError):
                    await link.send(self.heartbeat(TYPE_PONG))
        await link.close()

    async def meet(self, server: Server) -> None:
        """Opens this peer's link to the server and sends MEET; the server then dials this peer."""
        self.link = await Link.open(server, self._client_context)
        await self.link.send(self.heartbeat(TYPE_MEET))

    async def ping(self) -> bytes | None:
        assert self.link is not None
        return await self.link.ask(self.heartbeat())

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for link in [*self._accepted, *([self.link] if self.link else [])]:
            await link.close()


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """The listening side of a hand-made peer: shows its certificate and wants one in return."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca_cert_file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(certificates.cert_file), str(certificates.key_file))
    return context


class PeerGroup:
    """The hand-made peers of one test, and their event loop. Closes them all."""

    def __init__(self) -> None:
        self.loop = BusLoop()
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def listener(self, node_id: str, server: Server) -> Peer:
        """A listening peer that the server does not know. It speaks TLS if the server does."""
        certificates = server.certificates
        peer = Peer(node_id, certificates.client_context() if certificates else None)
        self._closers.append(peer.close)
        self.loop.run(peer.listen(server_context(certificates) if certificates else None))
        return peer

    def peer(self, node_id: str, server: Server) -> Peer:
        """A listening peer that has sent MEET to the server."""
        peer = self.listener(node_id, server)
        self.loop.run(peer.meet(server))
        return peer

    def closes(self, link: Link) -> None:
        """Adds a link that is to be closed at the end of the test."""
        self._closers.append(link.close)

    def close(self) -> None:
        for close in self._closers:
            self.loop.run(close())
        self.loop.stop()
