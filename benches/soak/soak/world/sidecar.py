"""The sidecars: every bus link passes one, which stands before its receiver and listens on the port that is announced.

Owns the announced ports and every connection through them, and notes when each lived and by which fault's order it
ended. A sidecar passes TLS on as it is, between the nodes that speak it. Valkey's wheel has none, so for a Valkey at
either end the sidecar speaks mutual TLS with the other end in its place; between two Valkeys a link is plain. Who dials
is told by the kernel: the process that owns the connection. The loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from soak.checks.messages import LinkLife
from soak.world.certificates import Authority
from soak.world.node import Node
from soak.world.owners import inode_of, owns

HOST: Final = "127.0.0.1"
TLS_HANDSHAKE: Final = 0x16
"""The first byte of a ClientHello's record; a plain packet begins with R."""
FIRST_BYTE_TIMEOUT_S: Final = 15.0
READ_LEN_BYTES: Final = 64 * 1024


class Sidecars:
    """The sidecars of all nodes, by name. `lives` are the links that were opened end to end so far."""

    def __init__(self, nodes: Iterable[Node], authority: Authority) -> None:
        self._nodes = {node.name: node for node in nodes}
        pair = authority.issue("sidecar")
        self._server_context = authority.server_context(pair)
        self._client_context = authority.client_context(pair)
        self._listening: dict[str, socket.socket] = {}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._away: dict[str, str] = {}
        self.lives: list[LinkLife] = []
        self.unknown_diallers = 0
        self.errors: list[str] = []

    # ------------------------------------------------------------ orders

    def open(self, name: str) -> None:
        """The node is up: its announced port listens."""
        if name in self._listening:
            return
        listening = self._listening[name] = socket.create_server(
            (HOST, self._nodes[name].announced_bus_port), backlog=128
        )
        listening.setblocking(False)
        asyncio.get_running_loop().add_reader(listening, self._accept, name, listening)

    def shut(self, name: str) -> None:
        """Nobody listens at the announced port. Connections end as the processes end them."""
        listening = self._listening.pop(name, None)
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    def cut(self, sender: str, receiver: str, order: str) -> int:
        """Ends the links in that direction at once; how many."""
        return self._end(lambda one: (one.sender, one.receiver) == (sender, receiver), order)

    def cut_off(self, name: str, order: str) -> None:
        """Ends all links of a node, and lets none through until `let_back`."""
        self._away[name] = order
        self._end(lambda one: name in (one.sender, one.receiver), order)

    def let_back(self, name: str) -> None:
        self._away.pop(name, None)

    def hold(self, sender: str, receiver: str) -> Callable[[], None]:
        """Holds back all bytes of the links in that direction, both ways, until the function returned is called."""
        held = [one for one in self._connections if (one.sender, one.receiver) == (sender, receiver)]
        for one in held:
            one.flows.clear()

        def release() -> None:
            for one in held:
                one.flows.set()

        return release

    def close(self) -> None:
        for name in list(self._listening):
            self.shut(name)
        self._end(lambda _one: True, "the soak's end")
        for task in self._tasks:
            task.cancel()

    def _end(self, is_meant: Callable[[_Connection], bool], order: str) -> int:
        meant = [one for one in self._connections if is_meant(one)]
        for one in meant:
            one.end(order)
        return len(meant)

    # ------------------------------------------------------------ connections

    def _accept(self, name: str, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # who dialled is gone already
            raw, _address = listening.accept()
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._pass_on(name, raw))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(f"sidecar: {error!r}")

    async def _pass_on(self, receiver: str, raw: socket.socket) -> None:
        """One connection from its first byte to its end."""
        sender = self._dialler(raw)
        connection = _Connection(sender, receiver)
        self._connections.add(connection)
        try:
            async with asyncio.timeout(FIRST_BYTE_TIMEOUT_S):
                is_tls = await _first_byte(raw) == TLS_HANDSHAKE
            if self._is_refused(connection):
                raw.close()
                return
            await self._connect(connection, raw, is_tls)
            if self._is_refused(connection):
                return
            if sender and not connection.order:
                connection.life = LinkLife(sender, receiver, time.monotonic())
                self.lives.append(connection.life)
            await connection.pump()
        except (OSError, EOFError, TimeoutError):
            raw.close()  # one end is gone, and so is the other now
        finally:
            connection.end("")
            self._connections.discard(connection)

    def _is_refused(self, connection: _Connection) -> bool:
        if connection.order or connection.receiver not in self._listening:
            return True
        return connection.sender in self._away or connection.receiver in self._away

    async def _connect(self, connection: _Connection, raw: socket.socket, is_tls: bool) -> None:
        """Opens both ends, with TLS where an end speaks it and the other does not."""
        node = self._nodes[connection.receiver]
        receiver_tls = node.part.kind.speaks_tls
        loop = asyncio.get_running_loop()
        if is_tls and not receiver_tls:
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, raw, ssl=self._server_context)
            connection.near = (reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        else:
            connection.near = await asyncio.open_connection(sock=raw)
        context = self._client_context if receiver_tls and not is_tls else None
        connection.far = await asyncio.open_connection(
            HOST, node.bus_port, ssl=context, server_hostname=HOST if context else None
        )

    def _dialler(self, raw: socket.socket) -> str:
        """The name of the node whose process dialled; empty if it is none of ours or gone already."""
        try:
            inode = inode_of(raw.getpeername()[1], raw.getsockname()[1])
        except OSError:
            return ""
        for name, node in self._nodes.items():
            if inode and node.is_up and owns(node.pid, inode):
                return name
        self.unknown_diallers += 1
        return ""


class _Connection:
    """A connection from the process of `sender` to the sidecar of `receiver`, and on to the process of `receiver`."""

    def __init__(self, sender: str, receiver: str) -> None:
        self.sender, self.receiver = sender, receiver
        self.near: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.flows = asyncio.Event()
        self.flows.set()
        self.order = ""
        self.life: LinkLife | None = None

    async def pump(self) -> None:
        """Passes bytes on until either end is gone."""
        assert self.near is not None
        assert self.far is not None
        ways = [
            asyncio.create_task(self._pump(self.near[0], self.far[1])),
            asyncio.create_task(self._pump(self.far[0], self.near[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_LEN_BYTES):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()

    def end(self, order: str) -> None:
        """Ends both ways: at once by order, else with what was read before."""
        self.order = self.order or order
        if self.life is not None and self.life.ended_s == float("inf"):
            self.life.ended_s, self.life.order = time.monotonic(), self.order
        for way in (self.near, self.far):
            if way is not None:
                if order:
                    way[1].transport.abort()
                else:
                    way[1].close()


async def _first_byte(raw: socket.socket) -> int:
    """Waits for the first byte and leaves it where it is."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(raw, _set, readable)
    try:
        await readable
    finally:
        loop.remove_reader(raw)
    data = raw.recv(1, socket.MSG_PEEK)
    if not data:
        raise EOFError
    return data[0]


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
