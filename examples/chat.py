"""A chat over the cluster bus: lines typed here reach every node, and messages from any node are printed.

    python examples/chat.py 127.0.0.1:7000 room --name Ann --port 7100

Clients of any server in the cluster can take part: `redis-cli -p 7000 subscribe chat:room` listens, and
`redis-cli -p 7000 publish chat:room "Bob: hi"` speaks. An empty line or the end of the input ends the chat.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

import clusterbus


async def chat(arguments: argparse.Namespace) -> None:
    """Prints the messages in the room and publishes the typed lines, until the input ends."""
    ip, _, port = arguments.address.rpartition(":")
    channel = f"chat:{arguments.room}"
    async with clusterbus.Bus(port=arguments.port, dir=arguments.dir, bind=arguments.bind) as bus:
        events = bus.events()
        await bus.meet(ip, int(port))
        async for event in events:
            if isinstance(event, clusterbus.LinkUp) and event.inbound:  # a node has dialled us, so it knows us
                break
        print(f"{arguments.name} is in {arguments.room}, with {len(bus.nodes)} nodes", flush=True)
        async with bus.subscribe(channel, max_queued=1000) as messages:
            listening = asyncio.create_task(listen(messages))
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            while line := (await reader.readline()).decode().strip():
                await bus.publish(channel, f"{arguments.name}: {line}")
        await listening


async def listen(messages: clusterbus.MessageStream) -> None:
    """Prints messages until the subscription ends."""
    async for message in messages:
        match message:
            case clusterbus.Message(message=text):
                print(text.decode(errors="replace"), flush=True)
            case clusterbus.MessagesLost(count=count):
                print(f"({count} lines went by too fast)", flush=True)


def main() -> None:
    """Reads the arguments and starts the chat."""
    parser = argparse.ArgumentParser(description="Chat over the cluster bus.")
    parser.add_argument("address", help="ip:port of any node of the cluster")
    parser.add_argument("room", help="name of the chat room")
    parser.add_argument("--name", default="somebody", help="name shown before your lines")
    parser.add_argument("--port", type=int, default=7100, help="client port; the bus port is this + 10000")
    parser.add_argument("--dir", default=".", help="folder for nodes.conf")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(chat(parser.parse_args()))


if __name__ == "__main__":
    main()
