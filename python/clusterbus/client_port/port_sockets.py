"""The listening sockets of the client port.

Owns the sockets; `server` decides which there are, and who is let in. A socket listens from the start; connections are
accepted from it once `serve` has run. Without a descriptor left, accepting rests for a moment and then goes on (H43).
Main thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

from clusterbus.config import Config
from clusterbus.config.listening import Place

TLS_HANDSHAKE_TIMEOUT_S: Final = 10.0
ACCEPTS_PER_TURN_MAX: Final = 64
"""The most connections that are accepted in a row before the loop goes on to other work."""
ACCEPT_PAUSE_S: Final = 1.0
"""How long accepting rests when the system refuses it."""
KEEPALIVE_MAX_S: Final = 32_767


logger: Final = logging.getLogger("clusterbus.client_port")


class Listener:
    """One listening socket, and the loop's watch over it. What is accepted from it goes to `accepted`."""

    def __init__(self, place: Place, config: Config) -> None:
        """Raises OSError if it cannot be listened there."""
        self.is_tls = place.tls
        self.context: ssl.SSLContext | None = None
        """The TLS rules of the connections that are accepted from now on."""
        self._accepted: Accepted | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.pauses = 0
        """How often accepting had to rest, for want of a file descriptor above all."""
        self._raw = _listening_socket(place, config.tcp_keepalive, max(1, config.tcp_backlog))
        name = self._raw.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])

    def serve(self, accepted: Accepted, context: ssl.SSLContext | None) -> None:
        """Accepts connections from now on, under these TLS rules. Does nothing after `close`."""
        self._accepted, self.context = accepted, context
        if self._pause is None:
            self._watch()

    @property
    def is_paused(self) -> bool:
        """Whether accepting rests at the moment."""
        return self._pause is not None

    def _watch(self) -> None:
        self._pause = None
        if self._raw.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._raw.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._accepted is not None
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                connection, _peer = self._raw.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # whoever came has gone
            except OSError as fault:
                logger.warning("accepting clients rests for %g s: %s", ACCEPT_PAUSE_S, fault.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._raw.fileno())
                self.pauses += 1
                self._pause = loop.call_later(ACCEPT_PAUSE_S, self._watch)
                return
            connection.setblocking(False)
            self._accepted(connection, self)

    def keep_alive(self, period_s: int) -> None:
        """As the function, for the connections that this listener accepts from now on."""
        keep_alive(self._raw, period_s)

    def close(self) -> None:
        """Ends listening. Connections that were accepted go on."""
        if self._pause is not None:
            self._pause.cancel()
        elif self._accepted is not None and self._raw.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._raw.fileno())
        self._raw.close()


Accepted: TypeAlias = Callable[[socket.socket, Listener], None]
"""Takes a connection that a listener has accepted."""


def _listening_socket(place: Place, keepalive_s: int, backlog: int) -> socket.socket:
    family, kind, _, _, name = socket.getaddrinfo(
        place.ip, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    raw = socket.socket(family, kind)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        keep_alive(raw, keepalive_s)
        raw.bind(name)
        raw.listen(backlog)
        raw.setblocking(False)
    except BaseException:
        raw.close()
        raise
    return raw


def keep_alive(listening: socket.socket, period_s: int) -> None:
    """Sets keepalive for the connections that a socket accepts from now on: Linux copies these options to them.

    The kernel sends a probe after `period_s` of silence, then at intervals of a third of it, three in all. 0 turns
    keepalive off.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1 if period_s else 0)
    if period_s:
        period_s = min(period_s, KEEPALIVE_MAX_S)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, period_s)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, period_s // 3))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
