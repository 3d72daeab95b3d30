"""Opens two nodes of an installed clusterbus in the present folder, joins them, and ends.

Prints how long the import and the joining took. Fails if the package is not that of this Python's environment, if the
blocking bus does not open, or if the program `clusterbus` does not start a node. Run by `try_wheel.py`. One thread.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import clusterbus

begun_s = time.monotonic()  # a name of the package is imported when it is first asked for
Bus, BlockingBus = clusterbus.Bus, clusterbus.BlockingBus
imported_s = time.monotonic()


async def join() -> None:
    """Two nodes join, and the times are printed."""
    opened_s = time.monotonic()
    async with (
        Bus(port=0, bind="127.0.0.1", cluster_config_file="one.conf") as one,
        Bus(port=0, bind="127.0.0.1", cluster_config_file="other.conf") as other,
    ):
        events = other.events()
        await other.meet("127.0.0.1", one.port)
        async for event in events:
            if isinstance(event, clusterbus.NodeJoined):
                break
        joined_s = time.monotonic()
        assert {*other.nodes} == {one.node_id, other.node_id}
    print(
        f"import {1000 * (imported_s - begun_s):.0f} ms, "
        f"from opening two nodes to the first that has joined {1000 * (joined_s - opened_s):.0f} ms"
    )


def run_program() -> None:
    """The program `clusterbus node` serves, and ends with 0 when it is told to."""
    command = [str(Path(sys.prefix, "bin", "clusterbus")), "node", "--port", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        assert any("Ready to accept connections" in line for line in node.stdout)
        node.terminate()
        node.stdout.read()
    assert node.returncode == 0


assert clusterbus.__file__.startswith(sys.prefix), clusterbus.__file__
asyncio.run(asyncio.wait_for(join(), 30))
with BlockingBus(port=0, bind="127.0.0.1", cluster_config_file="blocking.conf") as bus:
    bus.wait_events(10)
run_program()
