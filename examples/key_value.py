"""A tiny key-value node: GET and SET for cluster clients, each write copied to the replicas by a message of the bus.

    python examples/key_value.py 7000 a        (a port and a folder; start three, then create the cluster)
    redis-cli --cluster create 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002

`docs/guide/key-value.md` says what it loses; `kv_node.py` does more of what Valkey does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Unpack

from clusterbus import OK, Bus, Command, DataPlane, Directives, ModuleReceived

MODULE_ID = 0x6B65792D76616C75


class KeyValueNode(Bus, DataPlane):
    """A member that serves the keys of its slots or, as a replica, copies those of its primary."""

    def __init__(self, **directives: Unpack[Directives]) -> None:
        self.values: dict[bytes, bytes] = {}
        self.writes = 0
        super().__init__(data_plane=self, commands=[Command("GET", self.get), Command("SET", self.put)], **directives)

    async def open(self) -> None:
        """Opens the bus, and copies from now on."""
        await super().open()
        self.on_message(self.copy)

    def replication_offset(self) -> int | None:
        """Of two copies the one with more writes is elected."""
        return self.writes + 1 if self.writes else None

    def get(self, key: bytes) -> bytes | None:
        """GET key"""
        return self.values.get(key)

    async def put(self, key: bytes, value: bytes) -> str:
        """SET key value"""
        self.values[key], self.writes = value, self.writes + 1
        await self.send(None, MODULE_ID, 0, b"%d %d %b%b" % (self.writes, len(key), key, value))
        return OK

    def copy(self, message: ModuleReceived) -> None:
        """Takes a write of the primary, unless one before it was missed: a copy is always what the primary once was."""
        if message.module_id == MODULE_ID and message.node_id == self.me.primary_id:
            number, key_len, words = message.data.split(b" ", 2)
            if int(number) == self.writes + 1:
                self.values[words[: int(key_len)]], self.writes = words[int(key_len) :], int(number)


async def main() -> None:
    """Serves until a client sends SHUTDOWN, or Ctrl-C."""
    async with KeyValueNode(port=int(sys.argv[1]), dir=sys.argv[2], bind="127.0.0.1") as node:
        await node.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
