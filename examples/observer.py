"""Watches a cluster for a while, and leaves no trace in it: no node, no file.

    python examples/observer.py 127.0.0.1:7000

The arguments are seeds, any node of the cluster each. Ctrl-C or SIGTERM ends the watch. If it is killed, the members
hold it as failing, until somebody gives them CLUSTER FORGET.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile

import clusterbus
from clusterbus import NodeJoined, NodeLeft, NodeReachable, NodeUnreachable, SlotsChanged


async def observe(seeds: list[str], folder: str) -> None:
    """Joins, prints what happens until a signal cancels it, and leaves."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with clusterbus.Bus(port=0, dir=folder, cluster_observer=True) as bus:
        events = bus.events(NodeJoined, NodeLeft, NodeReachable, NodeUnreachable, SlotsChanged)
        try:
            await bus.join(seeds, timeout_s=30)
            print(f"watching as {bus.node_id}", flush=True)
            async for event in events:
                print(event, flush=True)
        finally:
            report = await bus.leave(timeout_s=10)
            for node_id, reason in report.untold.items():
                print(f"{node_id} still knows this node: {reason}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, contextlib.suppress(asyncio.CancelledError):
        try:
            asyncio.run(observe(sys.argv[1:], temporary))
        except clusterbus.JoinError as error:
            sys.exit(str(error))
