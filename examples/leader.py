"""Leader election: of three programs one leads at a time, and another one takes its place when it dies.

    python examples/leader.py 7000 a                   (a port and a folder for nodes.conf)
    python examples/leader.py 7001 b 127.0.0.1:7000    (and members to join)
    python examples/leader.py 7002 c 127.0.0.1:7000 127.0.0.1:7001

Who owns the hash slot of a key leads. The token that is printed rises with each leader: hand it along with what the
leader does, and refuse lower ones where that arrives. `docs/guide/leader.md` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import clusterbus

KEY = "leader"
MEMBERS = 3
LOOK_S = 0.1


async def run(bus: clusterbus.Bus) -> None:
    """Tries to lead whenever nobody does, and prints each change."""
    told = ""
    while True:
        leader = bus.owner(KEY)
        if leader is None or leader.is_suspected or leader.is_failed:
            with contextlib.suppress(clusterbus.StateError, TimeoutError):  # another one was faster, or no majority
                await bus.take_slots(bus.slot_of(KEY), votes_min=MEMBERS // 2 + 1)
        if bus.is_mine(KEY):  # ask before each thing that only the leader may do
            line = f"I lead with token {bus.me.config_epoch}"
        elif leader is None or leader.is_myself:
            line = "nobody leads, as far as I know"
        else:
            line = f"{leader.node_id} leads with token {leader.config_epoch}"
        if line != told:
            print(line, flush=True)
            told = line
        await asyncio.sleep(LOOK_S)


async def main(port: int, folder: str, *seeds: str) -> None:
    """Opens the bus and runs until Ctrl-C."""
    async with clusterbus.Bus(port=port, dir=folder, bind="127.0.0.1", cluster_node_timeout=1000, seeds=seeds) as bus:
        print(bus.node_id, flush=True)
        await run(bus)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
