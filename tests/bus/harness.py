"""Buses in the process of the test: their settings, a pair that know each other, an operator's commands.

Opens sockets on free ports through `clusterbus.Bus`; starts no process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import clusterbus

from tests.loops import until
from tests.peers.cluster import cluster_nodes
from tests.peers.ports import free_port
from tests.peers.server import Server

DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 1000


def settings(folder: Path, **directives: object) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return {
        "port": free_port(),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "cluster_node_timeout": NODE_TIMEOUT_MS,
        "io_threads": 2,
    } | directives


def well(bus: clusterbus.Bus | clusterbus.BlockingBus) -> int:
    return sum(node.connected and not node.is_suspected and not node.is_failed for node in bus.nodes.values())


def knows_all(server: Server, count: int) -> bool:
    """Whether the server has links to so many members, itself counted."""
    return sum(line.is_well for line in cluster_nodes(server).values()) == count


@asynccontextmanager
async def pair(folder: Path, **directives: object) -> AsyncIterator[tuple[clusterbus.Bus, clusterbus.Bus]]:
    """Two members that know each other."""
    async with (
        clusterbus.Bus(**settings(folder / "a", **directives)) as first,
        clusterbus.Bus(**settings(folder / "b", **directives)) as second,
    ):
        await first.meet("127.0.0.1", second._config.port)
        await until(lambda: all(well(bus) == 2 for bus in (first, second)))
        yield first, second


async def order(bus: clusterbus.Bus, line: bytes) -> None:
    """An operator's command on the bus's own client port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bus._config.port)
    writer.write(line + b"\r\n")
    assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"+OK\r\n"
    writer.close()
    await writer.wait_closed()
