"""Sessions with a client port that has no socket: the real registry, connections and handlers, on a simulated member.

A session sends the words of a request and gets the reply as Python values. Requests that wait are tested with
`harness`. No process, no thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clusterbus.client_port.commands import command_table
from clusterbus.client_port.connection import RespConnection
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import ErrorReply, Push, Status
from clusterbus.client_port.server import RespServer
from clusterbus.data_plane import DataPlane
from clusterbus.member.member import Member

from tests.client_port.harness import multibulk


class FakeTransport(asyncio.Transport):
    """Keeps what is written. `peername` is an address in the loopback network."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.written = b""
        self.is_open = True
        self._extra = {"peername": ("127.0.0.1", port), "sockname": ("127.0.0.1", 6379), "socket": self}

    def fileno(self) -> int:
        return 7

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        self.is_open = False

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Port:
    """The client port of a member; `commands` are those of the user's program. `data_plane` replaces the member's."""

    def __init__(self, member: Member, *commands: CommandSpec, data_plane: DataPlane | None = None) -> None:
        self.member = member
        self.server = RespServer(member, member.config, command_table(commands))
        member.client_port = self.server
        if data_plane is not None:
            member.data_plane = data_plane  # type: ignore[assignment]
        self._ports = iter(range(50_001, 60_000))

    def connect(self) -> Session:
        transport = FakeTransport(next(self._ports))
        connection = RespConnection(self.server, tls=False)
        connection.connection_made(transport)
        return Session(connection, transport)


class Session:
    """One client."""

    def __init__(self, connection: RespConnection, transport: FakeTransport) -> None:
        self.connection = connection
        self.transport = transport

    def send(self, *words: str | bytes | int) -> None:
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        asyncio.run(self._receive(multibulk(*encoded)))

    async def _receive(self, data: bytes) -> None:
        self.connection.data_received(data)
        await asyncio.sleep(0)  # one round of the event loop: what others are sent leaves

    def __call__(self, line: str, *more: str | bytes | int) -> Any:
        """The reply to the words of `line` and to `more`."""
        assert not self.transport.written, f"not read yet: {self.transport.written!r}"
        self.send(*line.split(), *more)
        return self.read()

    def all(self, *lines: str) -> list[Any]:
        """The replies to several requests."""
        return [self(line) for line in lines]

    def read(self) -> Any:
        """The next reply or push."""
        assert self.transport.written, "no reply"
        value, self.transport.written = parse(self.transport.written)
        return value


def parse(data: bytes) -> tuple[Any, bytes]:
    """One value of RESP2 or RESP3 and the bytes behind it. A bulk string is a str, a set a frozenset if it can be."""
    line, _, rest = data.partition(b"\r\n")
    mark, text = line[:1], line[1:].decode("utf-8", "surrogateescape")
    simple: dict[bytes, Callable[[], Any]] = {
        b"+": lambda: Status(text),
        b"-": lambda: ErrorReply(text),
        b":": lambda: int(text),
        b",": lambda: float(text),
        b"#": lambda: text == "t",
        b"_": lambda: None,
    }
    if mark in simple:
        return simple[mark](), rest
    length = int(text)
    if length < 0:
        return None, rest
    if mark in (b"$", b"="):
        body = rest[:length].decode("utf-8", "surrogateescape")
        return (body[4:] if mark == b"=" else body), rest[length + 2 :]
    values = []
    for _ in range(2 * length if mark == b"%" else length):
        value, rest = parse(rest)
        values.append(value)
    if mark == b"%":
        return dict(zip(values[::2], values[1::2], strict=True)), rest
    return (Push(values) if mark == b">" else values), rest
