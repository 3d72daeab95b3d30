"""A RESP server on a thread of the test, on asyncio or uvloop, and a raw socket client for it.

Tests look at bytes, so the client knows no protocol: it sends bytes, and reads until the expected bytes are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from clusterbus.client_port.commands.introspection import standard_registry
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.server import RespServer
from clusterbus.config import Config
from clusterbus.runtime.live_certificates import LiveCertificates

from tests.loops import LOOPS
from tests.peers.ports import free_port

ANSWER_DEADLINE_S = 30.0


class Node:
    """The member that a test's handlers get. A test's commands store here what they saw."""

    def __init__(self) -> None:
        self.seen: list[list[bytes]] = []
        self.gate: asyncio.Future[bytes] | None = None

    def open_gate(self, answer: bytes) -> None:
        """Lets the handler that waits at the gate give its answer."""
        assert self.gate is not None
        self.gate.set_result(answer)


class Running:
    """A started server and its event loop."""

    def __init__(self, server: RespServer, loop: asyncio.AbstractEventLoop, node: Node) -> None:
        self.server = server
        self.loop = loop
        self.node = node
        self.config = server.config

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs `function` on the server's thread; returns its result or raises its error."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(ANSWER_DEADLINE_S)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Polls a condition on the server's thread until the deadline."""

        async def poll() -> None:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                while not condition():
                    await asyncio.sleep(0.005)

        try:
            asyncio.run_coroutine_threadsafe(poll(), self.loop).result(ANSWER_DEADLINE_S + 1)
        except TimeoutError:
            raise AssertionError(f"never happened: {what}") from None

    def connect(self, context: ssl.SSLContext | None = None) -> Client:
        port = self.config.tls_port if context else self.config.port
        return Client(port, context)


@contextlib.contextmanager
def running(
    *commands: CommandSpec, loop_name: str = "asyncio", tls: bool = False, **keywords: object
) -> Iterator[Running]:
    """A server with the standard commands and `commands` on free loopback ports. It is closed at the end."""
    loop = LOOPS[loop_name]()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(ANSWER_DEADLINE_S)

    try:
        if tls:
            keywords |= {"tls_port": free_port()}
        chosen: dict[str, Any] = {"port": free_port(), "bind": "127.0.0.1", **keywords}
        config = Config.from_keywords(**chosen)
        registry = standard_registry()
        registry.add(*commands)
        node = Node()
        certificates = LiveCertificates(config)
        certificates.follow()
        greeting = {"server": "test", "version": "1.2.3"}
        server = RespServer(node, config, registry, greeting=lambda: greeting, certificates=certificates)
        wait(server.start())
        try:
            yield Running(server, loop, node)
        finally:
            wait(server.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(ANSWER_DEADLINE_S)
        loop.close()


class Client:
    """A raw socket: bytes out, bytes in."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        raw: socket.socket = socket.create_connection((host, port), ANSWER_DEADLINE_S)
        try:
            self.socket = context.wrap_socket(raw, server_hostname=host) if context else raw
        except BaseException:
            raw.close()
            raise
        self.received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def expect(self, data: bytes) -> None:
        """Reads as many bytes as expected and compares them. Further bytes stay for the next call."""
        while len(self.received) < len(data) and self._read():
            pass
        got, self.received = self.received[: len(data)], self.received[len(data) :]
        assert got == data

    def ask(self, request: bytes, answer: bytes) -> None:
        self.send(request)
        self.expect(answer)

    def read_until(self, end: bytes) -> bytes:
        """Reads everything up to `end`, and `end` itself."""
        while end not in self.received:
            assert self._read(), f"connection closed after {self.received!r}"
        cut = self.received.index(end) + len(end)
        got, self.received = self.received[:cut], self.received[cut:]
        return got

    def expect_close(self) -> bytes:
        """Reads to the end of the stream and returns the bytes that still came."""
        while self._read():
            pass
        rest, self.received = self.received, b""
        return rest

    def _read(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self.received += data
        return bool(data)


def multibulk(*words: bytes) -> bytes:
    """A request in the form in which clients send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
