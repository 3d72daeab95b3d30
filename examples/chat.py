"""A chat over the cluster bus: lines typed here reach every node, and messages from any node are printed.

    python examples/chat.py 127.0.0.1:7000 room Ann 7100 "$(mktemp -d)"

Clients of any server in the cluster can take part: `redis-cli -p 7000 subscribe chat:room` listens, and
`redis-cli -p 7000 publish chat:room "Bob: hi"` speaks. An empty line or the end of the input ends the chat.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import clusterbus


async def chat(seed: str, room: str, name: str, port: str, folder: str) -> None:
    """Prints the messages in the room and publishes the typed lines, until the input ends."""
    async with clusterbus.Bus(port=int(port), dir=folder, bind="127.0.0.1") as bus:
        members = await bus.join([seed])
        async with bus.subscribe(f"chat:{room}", max_queued=1000) as messages:
            listening = asyncio.create_task(listen(messages))
            print(f"{name} is in {room}, with {members} nodes", flush=True)
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            while line := (await reader.readline()).decode().strip():
                await bus.publish(f"chat:{room}", f"{name}: {line}")
        await listening


async def listen(messages: clusterbus.MessageStream) -> None:
    """Prints messages until the subscription ends."""
    async for message in messages:
        match message:
            case clusterbus.Message(message=text):
                print(text.decode(errors="replace"), flush=True)
            case clusterbus.MessagesLost(count=count):
                print(f"({count} lines went by too fast)", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(chat(*sys.argv[1:]))
