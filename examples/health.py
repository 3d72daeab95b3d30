"""A health endpoint: one URL that a load balancer or an operator asks, answered from the bus.

    python examples/health.py 8080 7000 a                   (HTTP port, port of the node, its folder)
    python examples/health.py 8081 7001 b 127.0.0.1:7000    (a second one, and whom to join)
    curl -i http://127.0.0.1:8080/

200 if this node is with the majority and, where slots are owned, the cluster is ok; else 503 (`docs/guide/health.md`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import clusterbus

HOST = "127.0.0.1"
REQUEST_S = 5.0


def health(bus: clusterbus.Bus) -> tuple[bool, dict[str, object]]:
    """Whether it is well, and who is here."""
    ok = bus.in_majority and (bus.is_ok or not bus.slots)
    members = [
        {"id": node.node_id, "at": f"{node.ip}:{node.port}", "here": not node.is_unreachable, "tags": node.tags}
        for node in bus.nodes.values()
    ]
    return ok, {"ok": ok, "me": bus.node_id, "members": members}


async def answer(bus: clusterbus.Bus, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request, whatever it asks for."""
    with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
        async with asyncio.timeout(REQUEST_S):
            await reader.readuntil(b"\r\n\r\n")
            ok, facts = health(bus)
            status = "200 OK" if ok else "503 Service Unavailable"
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + json.dumps(facts).encode())
            await writer.drain()


async def main() -> None:
    """Serves until it is interrupted."""
    http_port, port, folder, *seeds = sys.argv[1:]
    async with clusterbus.Bus(port=int(port), dir=folder, bind=HOST, cluster_node_timeout=2_000, seeds=seeds) as bus:
        await bus.set_tags({"health": http_port})
        async with await asyncio.start_server(lambda *streams: answer(bus, *streams), HOST, int(http_port)):
            await bus.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
