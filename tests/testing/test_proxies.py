"""The proxies between processes: they pass bytes on, know who dials, and cut both ends at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from clusterbus.testing import free_ports
from clusterbus.testing.proxies import ID_LEN_BYTES, SENDER_OFFSET_BYTES, Proxies

from tests.loops import Run

IDS = ["a" * ID_LEN_BYTES, "b" * ID_LEN_BYTES]
STRANGER = "c" * ID_LEN_BYTES
LONG = b"x" * 1_000_000


def first_message(sender: str) -> bytes:
    return b"RCmb".ljust(SENDER_OFFSET_BYTES, b".") + sender.encode() + b"rest"


class Node:
    """The node behind a proxy: it sends back what it gets."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[bool] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()
        self.ended.put_nowait(True)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxies, int, Node]]:
    """A proxy before node 1, its port, and the node."""
    announced, real = free_ports(2)
    node = Node()
    server = await asyncio.start_server(node.serve, "127.0.0.1", real)
    proxies = Proxies(IDS, [(0, 0), (announced, real)])
    try:
        await proxies.open(1)
        yield proxies, announced, node
    finally:
        proxies.close()
        proxies.close()
        server.close()


async def dial(port: int, sender: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first_message(sender))
    return reader, writer


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whatever way."""
    data = b""
    try:
        while more := await reader.read(65_536):
            data += more
    except ConnectionResetError:
        pass
    return data


def test_bytes_pass_in_both_directions_and_an_end_is_passed_on_too(run: Run) -> None:
    async def scenario() -> None:
        async with proxied() as (_proxies, port, node):
            reader, writer = await dial(port, IDS[0])
            assert await reader.readexactly(SENDER_OFFSET_BYTES + ID_LEN_BYTES + 4) == first_message(IDS[0])
            writer.write(LONG)
            assert await reader.readexactly(len(LONG)) == LONG
            writer.close()
            assert await node.ended.get()

    run(scenario())


def test_a_cut_ends_both_sides_at_once_and_nobody_gets_across(run: Run) -> None:
    async def scenario() -> None:
        async with proxied() as (proxies, port, node):
            reader, writer = await dial(port, IDS[0])
            await reader.readexactly(1)
            other, other_writer = await dial(port, STRANGER)
            await other.readexactly(len(first_message(STRANGER)))
            await proxies.cut(lambda one, another: one == another)
            assert await node.ended.get()
            await rest_of(reader)
            again, again_writer = await dial(port, IDS[0])
            assert await rest_of(again) == b""
            other_writer.write(b"?")
            assert await other.readexactly(1) == b"?", "who is no node of the cluster is not cut off"
            await proxies.cut(lambda _one, _another: True)
            healed, healed_writer = await dial(port, IDS[0])
            assert await healed.readexactly(4) == b"RCmb"
            for end in (writer, other_writer, again_writer, healed_writer):
                end.close()

    run(scenario())


def test_a_node_that_is_down_has_no_port(run: Run) -> None:
    async def scenario() -> None:
        async with proxied() as (proxies, port, node):
            reader, writer = await dial(port, IDS[0])
            await reader.readexactly(1)
            await proxies.shut(1)
            await proxies.shut(1)
            assert await node.ended.get()
            with pytest.raises(ConnectionRefusedError):
                await dial(port, IDS[0])
            await proxies.open(1)
            (await dial(port, IDS[0]))[1].close()
            writer.close()

    run(scenario())
