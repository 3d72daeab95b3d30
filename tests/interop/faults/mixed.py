"""A mixed cluster under load: Valkey primaries with keys, clusterbus nodes beside them, and what must hold at the end.

Owns the servers, the keys that were written, the messages that were published, and the checks: no key, slot or message
lost, all agree, the process that the fault met still runs, and its log has no traceback.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.peers.cluster import (
    all_know_all,
    cluster_nodes,
    form,
    listings,
    node_id,
    wait_agreed,
    wait_until,
)
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server, Surroundings

NODE_TIMEOUT_MS = 2_000
DEADLINE_S = 30.0
PRIMARIES = 3
KEYS_BEFORE = 60
LOAD_PERIOD_S = 0.02
CLI_EVERY = 25
"""Once in so many rounds of the load a redis-cli asks every node."""
CHANNEL = "news"
PUBLISHER = 1
"""Which primary publishes. No fault meets it."""
POLL_S = 0.5


class Mixed:
    """Three Valkey primaries with all slots and keys, `node`, which the faults meet, and `other`, a second clusterbus
    node, which hears all messages.
    """

    def __init__(
        self, folder: Path, surroundings: Sequence[Surroundings | None] | None = None, **directives: str
    ) -> None:
        """`surroundings` are those of the primaries, the node and the other one; `directives` the node's."""
        around = surroundings or [None] * (PRIMARIES + 2)
        common = {
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-require-full-coverage": "no",
            "protected-mode": "no",  # not every address is one of loopback
        }
        self._folder = folder
        kinds = ["valkey"] * PRIMARIES + ["clusterbus"] * 2
        self.servers = [
            Server(kind, folder / f"{number}-{kind}", surroundings=around[number], directives=dict(common))
            for number, kind in enumerate(kinds)
        ]
        self.primaries, self.node, self.other = self.servers[:PRIMARIES], self.servers[-2], self.servers[-1]
        self.node.directives |= {name.replace("_", "-"): value for name, value in directives.items()}
        self.keys: dict[str, str] = {}
        self.avoided: set[int] = set()
        """Parts of the slots, one for each primary, whose keys the load writes none of."""
        self._slots: dict[str, tuple[str, ...]] = {}

    def start(self) -> Mixed:
        for server in self.servers:
            server.start()
        form(self.servers, self.primaries)
        wait_agreed(self.servers, DEADLINE_S)
        self.node_id = node_id(self.node)
        self.note_slots()
        for number in range(KEYS_BEFORE):
            self.write(f"before:{number}")
        return self

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def log_tails(self) -> str:
        return "\n".join(server.log_tail() for server in self.servers)

    # ------------------------------------------------------------ keys and slots

    def slots(self, server: Server) -> dict[str, tuple[str, ...]]:
        """Which node owns which slots, and under which epoch, as one server lists them."""
        return {
            line.node_id: (*line.slots, str(line.config_epoch)) for line in cluster_nodes(server).values() if line.slots
        }

    def write(self, key: str, connections: dict[int, Any] | None = None) -> None:
        """Writes one key where it belongs, and remembers it once it is written."""
        number = self.part(key)
        if connections is None:
            self.primaries[number].call("SET", key, f"value of {key}")
        else:
            connections[number].send_command("SET", key, f"value of {key}")
            connections[number].read_response()
        self.keys[key] = f"value of {key}"

    def part(self, key: str) -> int:
        """The number of the primary that has the slot of a key."""
        return key_slot(key.encode()) * PRIMARIES // 16_384

    def lost_keys(self) -> list[str]:
        return [key for key, value in self.keys.items() if self.primaries[self.part(key)].call("GET", key) != value]

    def note_slots(self) -> None:
        """The slots are from now on to stay with who has them now, under the epochs of now."""
        self._slots = self.slots(self.other)

    # ------------------------------------------------------------ what must hold

    def is_held_well(self, observer: Server | None = None) -> bool:
        """Whether another server holds the node for well."""
        return cluster_nodes(observer or self.other)[self.node_id].is_well

    def wait_info(self, name: str, wanted: object, server: Server | None = None) -> None:
        """Waits until INFO of the node says so. `wanted` is the text, or a function of it."""
        asked = server or self.node

        def holds() -> bool:
            text = asked.info().get(name, "")
            return bool(wanted(text)) if callable(wanted) else text == str(wanted)

        wait_until(holds, DEADLINE_S, lambda: f"{name} is {wanted}: {asked.info().get(name)!r}")

    def check(self) -> None:
        """The fault is over: everything is as before, by the same processes."""
        wait_until(lambda: all_know_all(self.servers), DEADLINE_S, lambda: listings(self.servers))
        wait_agreed(self.servers, DEADLINE_S)
        for server in self.servers:
            assert self.slots(server) == self._slots, f"{server}: no slot has moved and no epoch risen"
        assert not self.lost_keys()
        for server in (self.node, self.other):
            assert server.exit_code() is None
            self.check_log(server.log_text())
        self.wait_info("cluster_config_file_last_save_status", "ok")

    @staticmethod
    def check_log(text: str) -> None:
        assert "Traceback" not in text, text
        assert "Error:" not in text, text

    # ------------------------------------------------------------ load

    @contextlib.contextmanager
    def load(self) -> Iterator[Load]:
        """Inside, keys are written, messages published and nodes asked, all the time. At the end no key and no message
        is missing.
        """
        load = Load(self)
        load.start()
        try:
            yield load
        finally:
            load.stop()
        load.check()


class Load:
    """Writes keys to the primaries, publishes at one of them and at the node, and counts what `other` hears."""

    def __init__(self, mixed: Mixed) -> None:
        self._mixed = mixed
        self._ends = threading.Event()
        self._writer = threading.Thread(target=self._guarded, args=(self._write,), daemon=True)
        self._reader = threading.Thread(target=self._guarded, args=(self._read,), daemon=True)
        self._errors: list[BaseException] = []
        self._subscriber = mixed.other.connect()
        self._subscriber.send_command("SUBSCRIBE", CHANNEL)
        self._subscriber.read_response()
        self.rounds = 0
        self.heard: set[str] = set()

    def start(self) -> None:
        self._reader.start()
        self._writer.start()

    def stop(self) -> None:
        self._ends.set()
        self._writer.join(DEADLINE_S)

    def check(self) -> None:
        expected = {f"primary {number}" for number in range(self.rounds)}
        wait_until(
            lambda: expected <= self.heard or self._errors,
            DEADLINE_S,
            lambda: f"{self.rounds} published, not heard: {sorted(expected - self.heard)[:5]}",
        )
        self._subscriber.disconnect()
        self._reader.join(DEADLINE_S)
        assert not self._errors, self._errors

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:
            if not self._ends.is_set():
                self._errors.append(error)

    def _write(self) -> None:
        mixed = self._mixed
        connections = {number: primary.connect() for number, primary in enumerate(mixed.primaries)}
        other = mixed.other.connect()
        try:
            while not self._ends.is_set():
                key = f"{id(self)}:{self.rounds}"
                if mixed.part(key) not in mixed.avoided:
                    with contextlib.suppress(redis.exceptions.MovedError):  # a replica has just taken over: not written
                        mixed.write(key, connections)
                connections[PUBLISHER].send_command("PUBLISH", CHANNEL, f"primary {self.rounds}")
                connections[PUBLISHER].read_response()
                self.rounds += 1
                other.send_command("PUBLISH", CHANNEL, f"other {self.rounds}")
                other.read_response()
                if self.rounds % CLI_EVERY == 0:
                    around, port = mixed.other.surroundings, str(mixed.other.port)
                    with around.entered():
                        assert "cluster_enabled:1" in redis_cli("-h", around.ip, "-p", port, "INFO")
                time.sleep(LOAD_PERIOD_S)
        finally:
            for connection in (*connections.values(), other):
                connection.disconnect()

    def _read(self) -> None:
        with contextlib.suppress(redis.ConnectionError, OSError, ValueError):
            while True:
                if self._subscriber.can_read(POLL_S):
                    self.heard.add(self._subscriber.read_response()[2])
                elif self._ends.is_set():
                    return
