"""Errands of a member: what takes long and is no business of the bus, each in a thread of its own.

Owns these threads and their number: names are resolved by the system, which may block for a long time, and commands go
to the client ports of other nodes. The same for both buses, so neither an event loop nor its executor is held up when
the program ends. An errand touches nothing of the member: who ordered it looks at its outcome later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from clusterbus.config import Config
from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import PeerAnswer, Place
from clusterbus.runtime.peer_commands import PeerCommandError, send_commands

ERRANDS_AT_ONCE_MAX: Final = 32
COMMAND_TIMEOUT_S: Final = 5.0

T = TypeVar("T")


class Errand(Generic[T]):
    """The outcome of one errand, once `is_done`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error = ""
        self.is_done = False

    def run(self) -> None:
        """In the errand's thread."""
        try:
            self._result.append(self._work())
        except Exception as error:
            self._error = str(error) or type(error).__name__
        self.is_done = True

    def result(self) -> T:
        """Raises ClusterBusError with the reason if it failed."""
        if not self._result:
            raise ClusterBusError(self._error)
        return self._result[0]


class Errands:
    """At most ERRANDS_AT_ONCE_MAX threads; further errands wait for one."""

    def __init__(self, config: Config, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """`tls` gives the rules of connections over TLS, in any thread."""
        self._config = config
        self._tls = tls
        self._lock = threading.Lock()
        self._waiting: deque[Errand[tuple[str, ...]] | Errand[PeerAnswer]] = deque()
        self._running = 0

    def resolve(self, host: str) -> Errand[tuple[str, ...]]:
        """The addresses that a name stands for now, each once, IPv4 first."""
        errand = Errand(lambda: _addresses(host))
        if _is_address(host):
            errand.run()
        else:
            self._begin(errand)
        return errand

    def command(self, place: Place, *words: str) -> Errand[PeerAnswer]:
        """One command at the client port of another node."""
        return self.commands(place, [words])

    def commands(self, place: Place, commands: Sequence[Sequence[str]]) -> Errand[PeerAnswer]:
        """Several commands, one after another, at the client port of another node."""
        errand = Errand(lambda: _command(self._config, place, commands, self._tls))
        self._begin(errand)
        return errand

    def _begin(self, errand: Errand[tuple[str, ...]] | Errand[PeerAnswer]) -> None:
        with self._lock:
            self._waiting.append(errand)
            if self._running >= ERRANDS_AT_ONCE_MAX:
                return
            self._running += 1
        threading.Thread(target=self._run_waiting, name="clusterbus-errand", daemon=True).start()

    def _run_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                errand = self._waiting.popleft()
            errand.run()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ClusterBusError(f"can't resolve {host!r}: {reason}") from None
    by_version = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in by_version))


def _command(
    config: Config, place: Place, commands: Sequence[Sequence[str]], tls: Callable[[], ssl.SSLContext] | None
) -> PeerAnswer:
    try:
        reply = asyncio.run(send_commands(config, place, commands, timeout_s=COMMAND_TIMEOUT_S, tls=tls))[-1]
    except PeerCommandError as error:
        return PeerAnswer(is_ok=False, reply=error.reply, text=str(error))
    return PeerAnswer(is_ok=True, reply=str(reply), text=str(reply))
