"""`python -m soak.world.program NAME directive=value...`: a program with a `Bus` in it, which publishes and subscribes.

Prints one line of JSON for each thing that happened, with its time: "subscribed", "published" with the number, "got"
with sender and number, "lost" with a count. Ends on SIGTERM or SIGINT. Main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from typing import Any, Final

import clusterbus

from soak.world.words import CHANNEL, PUBLISH_INTERVAL_S, body, numbered

INTEGERS: Final = (
    "port",
    "tls_port",
    "io_threads",
    "cluster_node_timeout",
    "cluster_announce_bus_port",
    "tls_auto_reload_interval",
)
"""Keywords of `Bus` that take a number here."""


def say(what: str, **values: object) -> None:
    print(json.dumps({"what": what, **values}), flush=True)


async def listen(bus: clusterbus.Bus, name: str) -> None:
    async with bus.subscribe(CHANNEL) as messages:
        say("subscribed", at_s=time.monotonic())
        async for item in messages:
            if isinstance(item, clusterbus.MessagesLost):
                say("lost", count=item.count)
            elif isinstance(item, clusterbus.Message) and (found := numbered(item.message.decode())) is not None:
                say("got", sender=found[0], number=found[1], at_s=time.monotonic())


async def publish(bus: clusterbus.Bus, name: str, start: int) -> None:
    number = start
    while True:
        number += 1
        begun_s = time.monotonic()
        await bus.publish(CHANNEL, body(name, number))
        say("published", number=number, begun_s=begun_s, answered_s=time.monotonic())
        await asyncio.sleep(PUBLISH_INTERVAL_S)


async def main(name: str, directives: dict[str, Any]) -> None:
    ending = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, ending.set)
    async with clusterbus.Bus(**directives) as bus:
        tasks = [
            asyncio.create_task(listen(bus, name)),
            # Numbers grow over restarts, too.
            asyncio.create_task(publish(bus, name, int(time.monotonic() * 1000))),
        ]
        ended = asyncio.create_task(ending.wait())
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def parsed(words: list[str]) -> dict[str, Any]:
    """Directives as the keywords of `Bus`."""
    table: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        keyword = name.replace("-", "_")
        if keyword in INTEGERS:
            table[keyword] = int(value)
        elif value in ("yes", "no") and keyword != "enable_debug_command":
            table[keyword] = value == "yes"
        else:
            table[keyword] = value
    return table


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    asyncio.run(main(sys.argv[1], parsed(sys.argv[2:])))
