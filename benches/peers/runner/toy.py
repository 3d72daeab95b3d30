"""A bus endpoint in plain Python: asyncio or uvloop, a toy state, no I/O threads.

Answers PING with PONG: it reads the header, finds the sender, applies each gossip entry to its table, and answers with
a tenth of the nodes that it knows. It dials no node and does nothing else, which works in its favour. Run it as
`toy.py asyncio|uvloop NODES_CONF`.
"""

from __future__ import annotations

import asyncio
import random
import struct
import sys
import time
from pathlib import Path
from typing import cast

HEADER = struct.Struct(">4sIHHHHQQQ40s2048s40s46sH30sHHHB3s")
ENTRY = struct.Struct(">40sII46sHHHHH")
LENGTH = struct.Struct(">I")
TYPE = struct.Struct(">H")
PING, PONG = 0, 1
PRIMARY, FAILING = 1, 4 | 8


class Node:
    """One known node: the fields of its gossip entry, its last PONG time, and the nodes that report it as failing."""

    def __init__(self, node_id: bytes, ip: bytes, port: int, cport: int) -> None:
        self.node_id = node_id
        self.ip = ip
        self.port = port
        self.cport = cport
        self.pong_received_s = 0
        self.reporters: set[bytes] = set()
        self.current_epoch = 0

    def entry(self) -> bytes:
        return ENTRY.pack(self.node_id, 0, self.pong_received_s, self.ip, self.port, self.cport, PRIMARY, 0, 0)


class State:
    """The node table, read from nodes.conf."""

    def __init__(self, nodes_conf: Path) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.current_epoch = 0
        for line in nodes_conf.read_text().splitlines():
            words = line.split()
            if words[0] == "vars":
                continue
            ip, ports = words[1].split(":")
            port, cport = map(int, ports.split("@"))
            node = Node(words[0].encode(), ip.encode(), port, cport)
            if "myself" in words[2]:
                self.myself = node
            else:
                self.nodes[node.node_id] = node
        self.others = list(self.nodes.values())
        self.gossip_count = min(max(3, (len(self.others) + 1) // 10), len(self.others) - 1)

    def handle_ping(self, packet: memoryview) -> bytes:
        fields = HEADER.unpack_from(packet)
        count, epoch, sender_id = fields[5], fields[6], fields[9]
        now_s = int(time.time())
        sender = self.nodes.get(sender_id)
        if sender is not None:
            sender.current_epoch = epoch
            self.current_epoch = max(self.current_epoch, epoch)
            self.take_gossip(packet, count, sender_id, now_s)
        return self.pong()

    def take_gossip(self, packet: memoryview, count: int, sender_id: bytes, now_s: int) -> None:
        nodes = self.nodes
        body = packet[HEADER.size : HEADER.size + count * ENTRY.size]
        for node_id, _sent_s, received_s, _ip, _port, _cport, flags, *_ in ENTRY.iter_unpack(body):
            node = nodes.get(node_id)
            if node is None:
                continue
            if flags & FAILING:
                node.reporters.add(sender_id)
            elif node.reporters:
                node.reporters.discard(sender_id)
            elif node.pong_received_s < received_s <= now_s + 1:
                node.pong_received_s = received_s

    def pong(self) -> bytes:
        mentioned = random.sample(self.others, self.gossip_count)
        gossip = b"".join([node.entry() for node in mentioned])
        myself = self.myself
        header = HEADER.pack(
            b"RCmb",
            HEADER.size + len(gossip),
            1,
            myself.port,
            PONG,
            len(mentioned),
            self.current_epoch,
            *(1, 0, myself.node_id, b"", b"", myself.ip, 0, b"", 0),
            myself.cport,
            PRIMARY,
            0,
            b"",
        )
        return header + gossip


class Endpoint(asyncio.Protocol):
    """One inbound link."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's but do not inherit from them.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        start = 0
        with memoryview(buffer) as view:
            while len(buffer) - start >= HEADER.size:
                (totlen,) = LENGTH.unpack_from(buffer, start + 4)
                if len(buffer) - start < totlen:
                    break
                packet = view[start : start + totlen]
                if TYPE.unpack_from(buffer, start + 12)[0] == PING:
                    self.transport.write(self.state.handle_ping(packet))
                packet.release()
                start += totlen
        del buffer[:start]


async def serve(nodes_conf: Path) -> None:
    state = State(nodes_conf)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(state), state.myself.ip.decode(), state.myself.cport)
    await server.serve_forever()


def main() -> None:
    loop_name, nodes_conf = sys.argv[1:]
    if loop_name == "uvloop":
        import uvloop

        uvloop.run(serve(Path(nodes_conf)))
    else:
        asyncio.run(serve(Path(nodes_conf)))


if __name__ == "__main__":
    main()
