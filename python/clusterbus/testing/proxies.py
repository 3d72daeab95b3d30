"""The network between nodes that are processes: one proxy before each node's bus port, so that links can be cut.

Owns the announced bus ports and every connection through them. A link's first message names its sender (`clusterMsg`),
which is how a proxy knows who dials; nothing else is read or changed, so the bus must not speak TLS. It has a thread
and a loop of its own, because nodes must hear each other while the loop of the test is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final

from clusterbus.testing.plan import HOST

SENDER_OFFSET_BYTES: Final = 40
ID_LEN_BYTES: Final = 40
FIRST_READ_TIMEOUT_S: Final = 30.0
"""Who dials and says nothing for so long is hung up on."""
READ_LEN_BYTES: Final = 64 * 1024


class Proxies:
    """Proxies for the nodes of a cluster, by number. Each listens while its node is up; `close` ends all.

    `ways` are the (announced, real) bus ports of the nodes, `ids` their ids. The methods are for the loop of the test.
    """

    def __init__(self, ids: Sequence[str], ways: Sequence[tuple[int, int]]) -> None:
        self._numbers = {node_id: number for number, node_id in enumerate(ids)}
        self._ways = ways
        self._is_reachable: Callable[[int, int], bool] = lambda _one, _other: True
        self._servers: dict[int, socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def live() -> None:
            end = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), end))
            await end.wait()
            for number in list(self._servers):
                await self._close_server(number)
            await asyncio.gather(*self._tasks)

        self._thread = threading.Thread(target=lambda: asyncio.run(live()), name="clusterbus-proxies", daemon=True)
        self._thread.start()
        self._loop, self._end = started.result()

    async def open(self, number: int) -> None:
        """A node comes up: from now on its announced port listens. Raises OSError."""
        await self._call(self._open_server(number))

    async def shut(self, number: int) -> None:
        """A node went down: nobody listens at its announced port. Idempotent."""
        await self._call(self._close_server(number))

    async def cut(self, is_reachable: Callable[[int, int], bool]) -> None:
        """From now on there are connections only between numbers for which this is true; others end now."""

        async def apply() -> None:
            self._is_reachable = is_reachable
            for connection in list(self._connections):
                if not self._lets_through(connection):
                    connection.abort()

        await self._call(apply())

    async def rename(self, number: int, node_id: str) -> None:
        """A node has another id from now on."""

        async def apply() -> None:
            self._numbers = {known: other for known, other in self._numbers.items() if other != number}
            self._numbers[node_id] = number

        await self._call(apply())

    def close(self) -> None:
        """Ends every connection, the loop and the thread. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    async def _call(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    # ------------------------------------------------------------ on the loop of the proxies

    async def _open_server(self, number: int) -> None:
        listening = self._servers[number] = socket.create_server((HOST, self._ways[number][0]))
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept, number, listening)

    def _accept(self, number: int, listening: socket.socket) -> None:
        """Not asyncio's server, which loses a connection that it accepts in the moment when it is closed."""
        with contextlib.suppress(OSError):  # who dialled is gone already
            raw, _address = listening.accept()
            task = asyncio.create_task(self._pass_on(number, raw))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _close_server(self, number: int) -> None:
        listening = self._servers.pop(number, None)
        if listening is not None:
            self._loop.remove_reader(listening)
            listening.close()
        for connection in self._connections:
            if connection.dialled == number:
                connection.abort()

    async def _pass_on(self, number: int, raw: socket.socket) -> None:
        """One connection from its first message to its end."""
        connection = _Connection(number, *await asyncio.open_connection(sock=raw))
        self._connections.add(connection)
        try:
            async with asyncio.timeout(FIRST_READ_TIMEOUT_S):
                first = await connection.reader.readexactly(SENDER_OFFSET_BYTES + ID_LEN_BYTES)
            connection.dialler = self._numbers.get(first[SENDER_OFFSET_BYTES:].decode("latin-1"))
            if not self._lets_through(connection):
                return
            reader, connection.onward = await asyncio.open_connection(HOST, self._ways[number][1])
            if self._lets_through(connection):  # it may have been cut meanwhile
                connection.onward.write(first)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(connection.reader, connection.onward, connection))
                    both.create_task(_pump(reader, connection.writer, connection))
        except (OSError, EOFError, TimeoutError):
            pass  # one end is gone, and so is the other now
        finally:
            connection.abort()
            self._connections.discard(connection)

    def _lets_through(self, connection: _Connection) -> bool:
        """A dialler that is no node of the cluster is never cut off; nobody reaches a node that is down."""
        if connection.dialled not in self._servers:
            return False
        return connection.dialler is None or self._is_reachable(connection.dialler, connection.dialled)


class _Connection:
    """A connection to the proxy of the node `dialled`, with its way onward once it is known who dials."""

    def __init__(self, dialled: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled = dialled
        self.dialler: int | None = None
        self.reader, self.writer = reader, writer
        self.onward: asyncio.StreamWriter | None = None

    def abort(self) -> None:
        """Ends both ways at once."""
        for writer in (self.writer, self.onward):
            if writer is not None:
                writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
    """Passes bytes on until either end is gone, which ends the connection."""
    with contextlib.suppress(OSError):
        while data := await reader.read(READ_LEN_BYTES):
            writer.write(data)
            await writer.drain()
    connection.abort()
