"""One node publishes many readings a second; each consumer takes them at its own pace and learns what it missed.

    python examples/fan_out.py publish 7100 "$(mktemp -d)"
    python examples/fan_out.py consume 7101 "$(mktemp -d)" 127.0.0.1:7100

A consumer that is too slow finds a `MessagesLost(count)` where its queue had no room. The numbers in the readings also
show what a partition swallowed, of which nobody can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys

import clusterbus


async def publish(bus: clusterbus.Bus) -> None:
    """Numbered readings, a hundred at once, ten times a second."""
    for number in itertools.count(1):
        await bus.publish("readings", str(number))
        if number % 100 == 0:
            await asyncio.sleep(0.1)


async def consume(bus: clusterbus.Bus) -> None:
    """Takes a reading and thinks about it for 5 ms."""
    last: dict[str, int] = {}  # the number of the last reading of each publisher
    async with bus.subscribe("readings", max_queued=50) as messages:
        async for item in messages:
            if isinstance(item, clusterbus.MessagesLost):
                print(f"too slow for {item.count} readings", flush=True)
            elif isinstance(item, clusterbus.Message):
                number = int(item.message)
                missed = number - last.get(item.node_id, number - 1) - 1
                last[item.node_id] = number
                print(f"reading {number}, {missed} missing before it", flush=True)
                await asyncio.sleep(0.005)


async def main(role: str, port: str, folder: str, *seeds: str) -> None:
    """A node that publishes or consumes until it is cancelled."""
    async with clusterbus.Bus(port=int(port), dir=folder, bind="127.0.0.1", seeds=seeds) as bus:
        await (publish(bus) if role == "publish" else consume(bus))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
