"""Keys that a shard acknowledged: written all along, with WAIT where there is a replica, and looked for at the end.

A key counts when the primary has answered and, in a shard with a replica, the replica has too: then neither a restart
(they write an append-only file) nor a failover may lose it. Each is written once. The loop's thread.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Callable
from typing import Final

import redis

from soak.cast import SLOTS, Part, has_replica, shards_of, slots_of
from soak.world.commands import NO_ANSWER
from soak.world.node import Node

WRITE_INTERVAL_S: Final = 0.2
WAIT_MS: Final = 1000
VALUE_LEN: Final = 100


def slot_of(key: str) -> int:
    """The hash slot of a key without a tag: CRC16 (XMODEM) modulo 16384."""
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


class Keys:
    """Writes keys into the shards that keep data. `primary_of` says which node that is at this moment, if any."""

    def __init__(self, cast: tuple[Part, ...], primary_of: Callable[[str], Node | None]) -> None:
        with_keys = [shard for shard in shards_of(cast) if all(p.kind.has_keys for p in cast if p.shard == shard)]
        self._slots = {shard: slots_of(cast, shard) for shard in with_keys}
        self._waits = {shard: int(has_replica(cast, shard)) for shard in with_keys}
        self._primary_of = primary_of
        self.kept: dict[str, list[str]] = {shard: [] for shard in with_keys}
        self.written = 0

    def shard_of(self, key: str) -> str | None:
        slot = slot_of(key)
        return next((shard for shard, slots in self._slots.items() if slot in slots), None)

    async def run(self) -> None:
        """Writes until it is cancelled."""
        number = 0
        while True:
            number += 1
            key = f"key-{number}"
            shard = self.shard_of(key)
            if shard is None:
                continue
            node = self._primary_of(shard)
            if node is not None:
                try:
                    await node.commander.call("SET", key, self._value(key))
                    self.written += 1
                    waits = self._waits[shard]
                    if not waits or await node.commander.call("WAIT", waits, WAIT_MS) >= waits:
                        self.kept[shard].append(key)
                except (*NO_ANSWER, redis.ResponseError):
                    pass  # moved, loading or gone: not acknowledged, so nobody relies on it
            await asyncio.sleep(WRITE_INTERVAL_S)

    async def missing(self) -> list[str]:
        """A finding for each acknowledged key that is not there."""
        found = []
        for shard, keys in self.kept.items():
            node = self._primary_of(shard)
            if node is None:
                found.append(f"shard {shard} has no primary, so its {len(keys)} keys are not there")
                continue
            for key in keys:
                try:
                    value = await node.commander.call("GET", key)
                except (*NO_ANSWER, redis.ResponseError) as error:
                    value = repr(error)
                if value != self._value(key):
                    found.append(f"{key} of shard {shard} is lost at {node}: {value!r}")
        return found

    @staticmethod
    def _value(key: str) -> str:
        return f"{key} ".ljust(VALUE_LEN, "v")
