"""A small key-value node: a member of a cluster that serves GET, SET, DEL, SCAN and a few more for its slots.

    python examples/kv_node.py --port 7000 --dir a        (start three of them, then create the cluster)
    redis-cli --cluster create 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002

It shows `clusterbus.DataPlane` and `Bus.command`. Cluster clients (redis-py, valkey-py, redis-cli -c) use it like
Valkey; `redis-cli --cluster reshard` moves its keys; --scan, --bigkeys and --memkeys look at them. The data is only in
memory and is NOT REPLICATED: the keys of a node are lost when its process ends. A replica of it stays empty, so it is
never elected and no client reads from it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import sys
from collections.abc import Iterable, Sequence

import clusterbus
from clusterbus.wire import CLUSTER_SLOTS, key_slot

TRY_AGAIN = clusterbus.ErrorReply("TRYAGAIN the key is moving to another node, or writes are paused")
NUMBER_LEN_MAX = 18
SYNTAX_ERROR = clusterbus.ErrorReply("ERR syntax error")
IDLE_S = 10.0
"""A connection that no key was handed over on for so long is closed."""
Address = tuple[str, int, tuple[bytes, ...]]
"""Host and port of a node, and the arguments of AUTH for it."""


class Store(clusterbus.DataPlane):
    """Keys and values by slot. The bus asks it for the keys of a slot, and reports slots that were lost."""

    def __init__(self) -> None:
        self.slots: dict[int, dict[bytes, bytes]] = {}
        self.changes = 0
        """How many changes there were. Each key has the number of its last one, for WATCH."""
        self.versions: dict[bytes, int] = {}
        self.last_removal = 0
        """The version of every key that is not here: it may have been removed just now."""
        self.leaving: set[bytes] = set()
        """Keys that are being copied to another node; they must not be written meanwhile."""
        self.is_paused = False
        self.has_had_keys = False

    def of(self, key: bytes) -> dict[bytes, bytes]:
        """All keys and values in the slot of a key."""
        return self.slots.setdefault(key_slot(key), {})

    def put(self, key: bytes, value: bytes) -> None:
        self.of(key)[key] = value
        self.changes += 1
        self.versions[key] = self.changes

    def remove(self, key: bytes) -> bool:
        """Removes a key. Returns whether it was here."""
        was_here = self.of(key).pop(key, None) is not None
        if was_here:
            self.forget([key])
        return was_here

    def forget(self, keys: Iterable[bytes]) -> None:
        """These keys are no longer here."""
        self.changes += 1
        self.last_removal = self.changes
        for key in keys:
            self.versions.pop(key, None)

    def scan(self, slot: int, count: int) -> tuple[int, list[bytes]]:
        """At least `count` keys from a slot on, and the slot to go on with; 0 at the end. A slot is never cut in two,
        so a key that stays is seen, whatever else changes.
        """
        keys: list[bytes] = []
        for later in range(slot, CLUSTER_SLOTS):
            if len(keys) >= count:
                return later, keys
            keys += self.slots.get(later, ())
        return 0, keys

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

    def key_version(self, key: bytes) -> int:
        return self.versions.get(key, self.last_removal)

    def key_len_bytes(self, key: bytes) -> int | None:
        value = self.of(key).get(key)
        return None if value is None else sys.getsizeof(key) + sys.getsizeof(value)

    # What the bus orders.

    def flush_slot(self, slot: int) -> bool:
        self.forget(self.slots.pop(slot, ()))
        return True

    def populate(self, items: Iterable[tuple[bytes, bytes]]) -> bool:
        for key, value in items:
            if not self.has_key(key):
                self.put(key, value)
        return True

    # What the bus reports.

    def slots_lost(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if lost := self.slots.pop(slot, None):
                self.forget(lost)
                print(f"slot {slot} went to another node: {len(lost)} keys dropped", flush=True)

    def role_changed(self, role: str, primary_id: str | None) -> None:
        self.has_had_keys = False

    def data_dropped(self) -> None:
        self.slots.clear()

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
        store.put(key, value)
        return clusterbus.OK

    @bus.command("DEL")
    def delete(*keys: bytes) -> int | str:
        if not store.is_writable(*keys):
            return TRY_AGAIN
        return sum(map(store.remove, keys))

    @bus.command("STRLEN")
    def strlen(key: bytes) -> int:
        return len(store.of(key).get(key, b""))

    @bus.command("TYPE")
    def type_of(key: bytes) -> clusterbus.Status:
        return clusterbus.Status("string" if store.has_key(key) else "none")


def is_number(text: bytes) -> bool:
    """Whether an argument is a number without sign that a program wants to read."""
    return text.isdigit() and len(text) <= NUMBER_LEN_MAX


def add_scans(bus: clusterbus.Bus, store: Store) -> None:
    """Adds the commands that look at all keys of this node."""

    @bus.command("SCAN")
    def scan(cursor: bytes, *options: bytes) -> list[str | list[bytes]] | str:
        """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]. The cursor is a slot."""
        words = {name.upper(): value for name, value in zip(options[::2], options[1::2], strict=False)}
        pattern, count = words.pop(b"MATCH", b"*"), words.pop(b"COUNT", b"10")
        kind = words.pop(b"TYPE", b"string").lower()
        if words or len(options) % 2 or not is_number(count) or not int(count):
            return SYNTAX_ERROR
        if not is_number(cursor):
            return clusterbus.ErrorReply("ERR invalid cursor")
        following, keys = store.scan(int(cursor), int(count))
        return [str(following), matching(keys if kind == b"string" else [], pattern)]

    @bus.command("KEYS")
    def keys(pattern: bytes) -> list[bytes]:
        return matching([key for keys in store.slots.values() for key in keys], pattern)

    @bus.command("OBJECT", keys=(2, 2, 1), flags=("readonly",), arity=3)
    def look_into(what: bytes, key: bytes) -> str:
        """Only OBJECT ENCODING. redis-cli --hotkeys asks for FREQ, and shows this reason."""
        if what.upper() == b"ENCODING":
            return "raw" if store.has_key(key) else clusterbus.ErrorReply("ERR no such key")
        return clusterbus.ErrorReply("ERR this node does not note how often or when its keys are used")


def matching(keys: Iterable[bytes], pattern: bytes) -> list[bytes]:
    """The keys that a pattern with *, ? and [...] fits."""
    if pattern == b"*":
        return list(keys)
    return [key for key in keys if fnmatch.fnmatchcase(key.decode("latin-1"), pattern.decode("latin-1"))]


def add_migrate(bus: clusterbus.Bus, store: Store) -> None:
    """Adds MIGRATE, with which redis-cli --cluster reshard moves keys."""
    targets = Targets()

    @bus.command("MIGRATE")
    async def migrate(host: bytes, port: bytes, key: bytes, _db: bytes, timeout: bytes, *options: bytes) -> str:
        """MIGRATE host port key|"" 0 timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password] [KEYS key ...]"""
        if not is_number(port) or not is_number(timeout):
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
                store.remove(moved)
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
    add_scans(bus, store)
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
