"""A small key-value node: a member of a cluster that serves GET, SET, DEL, EXISTS and MGET for its slots.

    python examples/kv_node.py --port 7000 --dir a        (start three of them, then create the cluster)
    redis-cli --cluster create 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002

It shows `clusterbus.DataPlane` and `Bus.command`. Cluster clients (redis-py, valkey-py, redis-cli -c) use it like
Valkey, and `redis-cli --cluster reshard` moves its keys. The data is only in memory and is NOT REPLICATED: the keys of
a node are lost when its process ends. A replica of it stays empty, so it is never elected and no client reads from it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Iterable, Sequence

import clusterbus
from clusterbus.wire import key_slot

TRY_AGAIN = clusterbus.ErrorReply("TRYAGAIN the key is moving to another node, or writes are paused")
SYNTAX_ERROR = clusterbus.ErrorReply("ERR syntax error")
IDLE_S = 10.0
"""A connection that no key was handed over on for so long is closed."""
Address = tuple[str, int, tuple[bytes, ...]]
"""Host and port of a node, and the arguments of AUTH for it."""


class Store(clusterbus.DataPlane):
    """Keys and values by slot. The bus asks it for the keys of a slot, and reports slots that were lost."""

    def __init__(self) -> None:
        self.slots: dict[int, dict[bytes, bytes]] = {}
        self.leaving: set[bytes] = set()
        """Keys that are being copied to another node; they must not be written meanwhile."""
        self.is_paused = False
        self.has_had_keys = False

    def of(self, key: bytes) -> dict[bytes, bytes]:
        """All keys and values in the slot of a key."""
        return self.slots.setdefault(key_slot(key), {})

    def is_writable(self, *keys: bytes) -> bool:
        return not self.is_paused and self.leaving.isdisjoint(keys)

    # What the bus asks.

    def replication_offset(self) -> int | None:
        """Nothing is copied, so there is no offset to count. But once there are keys, no empty replica may take this
        node's place, whatever its operator allows: that takes more than 1, the offset of shards without data.
        """
        self.has_had_keys = self.has_had_keys or self.count_keys() > 0
        return 2 if self.has_had_keys else None

    def has_key(self, key: bytes) -> bool:
        return key in self.of(key)

    def count_keys(self) -> int:
        return sum(map(len, self.slots.values()))

    def count_keys_in_slot(self, slot: int) -> int:
        return len(self.slots.get(slot, ()))

    def keys_in_slot(self, slot: int, count: int) -> Sequence[bytes]:
        return list(self.slots.get(slot, ()))[:count]

    # What the bus reports.

    def slots_lost(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if lost := self.slots.pop(slot, None):
                print(f"slot {slot} went to another node: {len(lost)} keys dropped", flush=True)

    def role_changed(self, role: str, primary_id: str | None) -> None:
        self.has_had_keys = False

    def writes_paused(self, until_ms: int) -> None:
        self.is_paused = True

    def writes_resumed(self) -> None:
        self.is_paused = False


def add_commands(bus: clusterbus.Bus, store: Store) -> None:
    """Adds the commands. Valkey has commands of these names, so keys, flags and arity are taken from them."""

    @bus.command("GET")
    def get(key: bytes) -> bytes | None:
        return store.of(key).get(key)

    @bus.command("MGET")
    def mget(*keys: bytes) -> list[bytes | None]:
        return [store.of(key).get(key) for key in keys]

    @bus.command("EXISTS")
    def exists(*keys: bytes) -> int:
        return sum(map(store.has_key, keys))

    @bus.command("SET")
    def put(key: bytes, value: bytes, *options: bytes) -> str | None:
        condition = options[0].upper() if options else b""
        if len(options) > 1 or condition not in (b"", b"NX", b"XX"):
            return SYNTAX_ERROR
        if not store.is_writable(key):
            return TRY_AGAIN
        if condition and store.has_key(key) == (condition == b"NX"):
            return None
        store.of(key)[key] = value
        return clusterbus.OK

    @bus.command("DEL")
    def delete(*keys: bytes) -> int | str:
        if not store.is_writable(*keys):
            return TRY_AGAIN
        return sum(store.of(key).pop(key, None) is not None for key in keys)


def add_migrate(bus: clusterbus.Bus, store: Store) -> None:
    """Adds MIGRATE, with which redis-cli --cluster reshard moves keys."""
    targets = Targets()

    @bus.command("MIGRATE")
    async def migrate(host: bytes, port: bytes, key: bytes, _db: bytes, timeout: bytes, *options: bytes) -> str:
        """MIGRATE host port key|"" 0 timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password] [KEYS key ...]"""
        if not port.isdigit() or not timeout.isdigit():
            return clusterbus.ErrorReply("ERR value is not an integer or out of range")
        words, keys = iter(options), [key] if key else []
        login: list[bytes] = []
        replace = copy = False
        for word in words:
            match word.upper():
                case b"REPLACE":
                    replace = True
                case b"COPY":
                    copy = True
                case b"AUTH":
                    login = [next(words, b"")]
                case b"AUTH2":
                    login = [next(words, b""), next(words, b"")]
                case b"KEYS":
                    keys = list(words)
                case _:
                    return SYNTAX_ERROR
        present = {key: store.of(key)[key] for key in keys if store.has_key(key)}
        if not present:
            return clusterbus.Status("NOKEY")
        if not store.is_writable(*present):
            return TRY_AGAIN
        store.leaving |= present.keys()
        try:
            async with asyncio.timeout(int(timeout) / 1000 or 1.0):
                address = host.decode(), int(port), tuple(login)
                refusal = await targets.hand_over(address, present, replace=replace)
        except (OSError, EOFError, TimeoutError) as error:
            return clusterbus.ErrorReply(f"IOERR error or timeout talking to the target node: {error!r}")
        finally:
            store.leaving -= present.keys()
        if refusal is not None:
            return refusal
        if not copy:
            for moved in present:
                store.of(moved).pop(moved, None)
        return clusterbus.OK


class Targets:
    """Connections to the nodes that keys are handed over to. redis-cli sends a MIGRATE for every ten keys, so a
    connection stays open for IDLE_S after each.
    """

    def __init__(self) -> None:
        self.idle: dict[Address, tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.TimerHandle]] = {}

    async def hand_over(
        self, address: Address, items: dict[bytes, bytes], *, replace: bool
    ) -> clusterbus.ErrorReply | None:
        """Sets keys on the node at an address. Returns the first refusal, or None if the node took all of them."""
        was_idle = address in self.idle
        try:
            return await self.set_all(address, items, replace=replace)
        except (ConnectionError, EOFError):
            if not was_idle:
                raise
        return await self.set_all(address, items, replace=replace)  # the node had closed the idle connection

    async def set_all(
        self, address: Address, items: dict[bytes, bytes], *, replace: bool
    ) -> clusterbus.ErrorReply | None:
        reader, writer, requests = await self.connect(address)
        try:
            for key, value in items.items():
                requests += [[b"ASKING"], [b"SET", key, value, *([] if replace else [b"NX"])]]
            writer.writelines(map(request, requests))
            await writer.drain()
            answers = [(await reader.readuntil(b"\r\n"))[:-2] for _ in requests]
        except BaseException:
            writer.close()
            raise
        for answer in answers:
            if not answer.startswith(b"+"):
                writer.close()
                if not answer.startswith(b"-"):
                    return clusterbus.ErrorReply("BUSYKEY Target key name already exists.")
                return clusterbus.ErrorReply(f"ERR Target instance replied with error: {answer[1:].decode()}")
        self.close(address)  # one that a MIGRATE of another client has put there meanwhile
        timer = asyncio.get_running_loop().call_later(IDLE_S, self.close, address)
        self.idle[address] = reader, writer, timer
        return None

    async def connect(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, list[list[bytes]]]:
        """A connection that nobody else uses, and the requests that must come first on it."""
        if (found := self.idle.pop(address, None)) is not None:
            reader, writer, timer = found
            timer.cancel()
            if not reader.at_eof():
                return reader, writer, []
            writer.close()
        host, port, login = address
        reader, writer = await asyncio.open_connection(host, port)
        return reader, writer, [[b"AUTH", *login]] if login else []

    def close(self, address: Address) -> None:
        """Closes the idle connection to an address, if there is one."""
        if (found := self.idle.pop(address, None)) is not None:
            found[2].cancel()
            found[1].close()


def request(words: Iterable[bytes]) -> bytes:
    """The bytes of a request."""
    words = list(words)
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def serve(port: int, folder: str, bind: str, node_timeout_ms: int) -> None:
    """Runs the node until a client sends SHUTDOWN."""
    store = Store()
    bus = clusterbus.Bus(port=port, dir=folder, bind=bind, cluster_node_timeout=node_timeout_ms, data_plane=store)
    add_commands(bus, store)
    add_migrate(bus, store)
    async with bus:
        print(f"node {bus.node_id} on {bind}:{port}, without replication", flush=True)
        await bus.wait_stopped()


def main() -> None:
    """Reads the arguments and serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A key-value node without replication.")
    parser.add_argument("--port", type=int, default=7000, help="client port; the bus port is this + 10000")
    parser.add_argument("--dir", default=".", help="folder for nodes.conf")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--cluster-node-timeout", type=int, default=15_000, help="milliseconds")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.port, arguments.dir, arguments.bind, arguments.cluster_node_timeout))


if __name__ == "__main__":
    main()
