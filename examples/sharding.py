"""Work sharding: a hundred jobs over the members that are alive, each on one of them, shared out anew when one fails.

    python examples/sharding.py 7000 a                   (a port and a folder for nodes.conf)
    python examples/sharding.py 7001 b 127.0.0.1:7000    (and any member to join; as many as you like)

A job is of the member that owns its hash slot. Each member takes an equal share of the slots, in the order of the ids.
`docs/guide/sharding.md` says what a partition does to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import clusterbus

JOBS = [f"job-{number}" for number in range(100)]
SLOTS = 16_384
LOOK_S = 0.1


async def rebalance(bus: clusterbus.Bus) -> None:
    """Takes what is missing of our share: from a member that failed, or that has more than its own."""
    alive = sorted(node.node_id for node in bus.nodes.values() if not (node.is_suspected or node.is_failed))
    number = alive.index(bus.node_id)
    share = range(number * SLOTS // len(alive), (number + 1) * SLOTS // len(alive))
    missing = set(share).difference(*(range(first, last + 1) for first, last in bus.me.slots))
    if missing:
        with contextlib.suppress(clusterbus.StateError, TimeoutError):  # no majority, or somebody else took some
            await bus.take_slots(missing, timeout_s=3)


async def run(bus: clusterbus.Bus) -> None:
    """Keeps the share, and prints which jobs are ours when that changes."""
    told: list[str] = []
    while True:
        await rebalance(bus)
        mine = [job for job in JOBS if bus.is_mine(job)]  # ask again before each job
        if mine != told:
            print(f"{len(mine)} jobs are mine, with token {bus.me.config_epoch}: {' '.join(mine)}", flush=True)
            told = mine
        await asyncio.sleep(LOOK_S)


async def main(port: int, folder: str, *seeds: str) -> None:
    """Opens the bus, joins, and runs until Ctrl-C."""
    async with clusterbus.Bus(port=port, dir=folder, bind="127.0.0.1", cluster_node_timeout=1000, seeds=seeds) as bus:
        if seeds:
            await bus.wait_for_nodes(2)  # alone, a member would be the majority, and take everything
        await run(bus)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
