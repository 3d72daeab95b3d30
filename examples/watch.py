"""Joins a Valkey or Redis cluster as a member without slots, and prints what happens in the cluster.

    python examples/watch.py 127.0.0.1:7000 --port 7100

This process answers the usual tools too: `redis-cli -p 7100 cluster nodes`. Ctrl-C ends it. The folder given by --dir
keeps the node's id, so the next run is the same member.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import get_args

import clusterbus


async def watch(address: str, port: int, folder: str, bind: str) -> None:
    """Prints one line for each event until it is cancelled."""
    ip, _, peer_port = address.rpartition(":")
    async with clusterbus.Bus(port=port, dir=folder, bind=bind) as bus:
        print(f"I am {bus.node_id}", flush=True)
        events = bus.events(*get_args(clusterbus.Event))
        await bus.meet(ip, int(peer_port))
        async for event in events:
            match event:
                case clusterbus.NodeJoined(node_id=node_id, ip=ip, port=node_port):
                    print(f"{node_id} joined from {ip}:{node_port}, now {len(bus.nodes)} nodes", flush=True)
                case clusterbus.NodeFailed(node_id=node_id):
                    print(f"{node_id} failed", flush=True)
                case clusterbus.NodeRecovered(node_id=node_id):
                    print(f"{node_id} is well again", flush=True)
                case clusterbus.Message(channel=channel, message=message):
                    print(f"published on {channel!r}: {message!r}", flush=True)
                case clusterbus.EventsLost(count=count):
                    print(f"{count} events went by too fast", flush=True)
                case other:
                    print(other, flush=True)


def main() -> None:
    """Reads the arguments and watches until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Join a cluster and print its events.")
    parser.add_argument("address", help="ip:port of any node of the cluster")
    parser.add_argument("--port", type=int, default=7100, help="client port; the bus port is this + 10000")
    parser.add_argument("--dir", default=".", help="folder for nodes.conf")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(arguments.address, arguments.port, arguments.dir, arguments.bind))


if __name__ == "__main__":
    main()
