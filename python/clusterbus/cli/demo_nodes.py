"""The processes of the demo: six `clusterbus node` on loopback, their certificates, and a client of each.

Owns the processes from start to stop, by pid, and their certificates and clients. Must never leave a process behind.
Runs on the demo's one thread; talks to the nodes over their client ports only.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hiredis
import trustme

from clusterbus.errors import ClusterBusError
from clusterbus.wire import BUS_PORT_OFFSET

HOST: Final = "127.0.0.1"
NODE_TIMEOUT_MS: Final = 2_000
IO_THREADS: Final = 3
# Client and bus ports both stay below the range that the system uses for outgoing connections.
FIRST_PORT: Final = 11_000
LAST_PORT: Final = 22_700
PORT_TRIES: Final = 200
START_TRIES: Final = 5
START_DEADLINE_S: Final = 15.0
STOP_DEADLINE_S: Final = 5.0
CALL_TIMEOUT_S: Final = 5.0
LOG_TAIL_LINES: Final = 20
PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that this process gets when its parent ends."""


class DemoError(ClusterBusError):
    """The demo cannot go on; the text says which node and why."""


@dataclass(frozen=True)
class Certificates:
    """PEM files of a new authority and of one certificate for 127.0.0.1, which all nodes share."""

    ca_cert_file: Path
    cert_file: Path
    key_file: Path

    @classmethod
    def generate(cls, folder: Path) -> Certificates:
        """Writes the files into `folder`."""
        authority = trustme.CA()
        leaf = authority.issue_cert(HOST)
        files = cls(folder / "ca.pem", folder / "node.pem", folder / "node.key")
        authority.cert_pem.write_to_path(files.ca_cert_file)
        leaf.private_key_pem.write_to_path(files.key_file)
        for position, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(files.cert_file, append=position > 0)
        return files

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_cert_file))
        context.load_cert_chain(str(self.cert_file), str(self.key_file))
        return context


class Client:
    """One RESP connection over mutual TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection((HOST, port), timeout=CALL_TIMEOUT_S)
        try:
            self._socket = context.wrap_socket(plain, server_hostname=HOST)
        except BaseException:
            plain.close()
            raise
        self._reader = hiredis.Reader(encoding="utf-8")

    def call(self, *words: str | int) -> Any:
        """Sends one command and returns its reply. Raises DemoError for an error reply, OSError if the node is gone."""
        # hiredis annotates this argument as a tuple with one element.
        arguments: Any = tuple(str(word).encode() for word in words)
        self._socket.sendall(hiredis.pack_command(arguments))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("connection closed")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise DemoError(f"{words[0]}: {reply}")
        return reply

    def close(self) -> None:
        self._socket.close()


class DemoNode:
    """One node process; `name` is what the demo calls it."""

    def __init__(self, name: str, folder: Path, certificates: Certificates) -> None:
        self.name = name
        self.port = 0
        self.node_id = ""
        self._folder = folder
        self._certificates = certificates
        self._context = certificates.client_context()
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        folder.mkdir()

    @property
    def log_file(self) -> Path:
        return self._folder / "node.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Starts the process and returns at once. The first start chooses the ports, and later starts keep them."""
        self.port = self.port or _free_port()
        directives = {
            "bind": HOST,
            "dir": str(self._folder),
            "port": "0",
            "tls-port": str(self.port),
            "tls-cluster": "yes",
            "tls-auth-clients": "yes",
            "tls-cert-file": str(self._certificates.cert_file),
            "tls-key-file": str(self._certificates.key_file),
            "tls-ca-cert-file": str(self._certificates.ca_cert_file),
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "io-threads": str(IO_THREADS),
        }
        words = [word for name, value in directives.items() for word in (f"--{name}", value)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "clusterbus", "node", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C must reach only the demo, which then stops the nodes itself.
                start_new_session=True,
                # The demo has one thread, so this is safe between fork and exec.
                preexec_fn=_end_with_parent(os.getpid()),
            )

    def wait_ready(self) -> None:
        """Waits until the node answers. If it ends at its first start, another process may have taken its port: then
        it is started again on other ports.
        """
        for _ in range(START_TRIES):
            deadline = time.monotonic() + START_DEADLINE_S
            while self.is_running and time.monotonic() < deadline:
                with suppress(OSError):
                    self.node_id = self.call("CLUSTER", "MYID")
                    return
                time.sleep(0.05)
            if self.node_id or self.is_running:
                break
            self.port = 0
            self.spawn()
        raise DemoError(f"{self.name} did not start:\n{self.log_tail()}")

    def call(self, *words: str | int) -> Any:
        """Sends one command on a connection that is kept. Raises OSError if the node cannot be reached."""
        if self._client is None:
            self._client = Client(self.port, self._context)
        try:
            return self._client.call(*words)
        except OSError:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def kill(self) -> None:
        """SIGKILL: the node can neither save nor close anything."""
        self.disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """Sends SIGTERM and does not wait for the end."""
        self.disconnect()
        if self._process is not None and self.is_running:
            self._process.terminate()

    def wait_ended(self) -> int | None:
        """Waits until the process ends, and kills it at the deadline; returns its exit status."""
        if self._process is None:
            return None
        try:
            return self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])


def _end_with_parent(parent: int) -> Callable[[], None]:
    """What a child calls before it becomes a node, so that the kernel kills it when the demo ends, however that was."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return ask


def stop_all(nodes: list[DemoNode]) -> list[int | None]:
    """Sends SIGTERM to all nodes, then waits for all; returns the exit statuses in the order of `nodes`."""
    for node in nodes:
        node.terminate()
    return [node.wait_ended() for node in nodes]


def _free_port() -> int:
    """A client port that is free now together with its bus port."""
    for _ in range(PORT_TRIES):
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        if _is_free(port) and _is_free(port + BUS_PORT_OFFSET):
            return port
    raise DemoError(f"no free pair of ports found in {PORT_TRIES} tries")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
