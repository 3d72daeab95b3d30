"""Twenty members of one cluster in one process, on one event loop and one I/O thread.

    python examples/twenty_nodes.py

Prints how long it takes until each knows all others, then what a message that one of them publishes reaches.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

import clusterbus

MEMBERS = 20


async def main() -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        buses: list[clusterbus.Bus] = []
        for number in range(MEMBERS):
            home = Path(folder, str(number))
            home.mkdir()  # each member has a nodes.conf of its own
            buses.append(await stack.enter_async_context(clusterbus.Bus(port=0, bind="127.0.0.1", dir=str(home))))
        begun = time.monotonic()
        first, *others = buses
        await asyncio.gather(*(bus.join([f"127.0.0.1:{first.port}"], timeout_s=60) for bus in others))
        await asyncio.gather(*(bus.wait_for_nodes(MEMBERS, timeout_s=60) for bus in buses))
        print(f"{MEMBERS} members know each other after {time.monotonic() - begun:.1f} s", flush=True)
        async with others[-1].subscribe("news") as messages:
            reached = await first.publish("news", "hello")
            message = await anext(messages)
        print(f"published to {reached} members, {message}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
