"""The listening sockets of the client port, and the TLS rules of the connections that they accept.

Owns sockets and asyncio's servers on them; `server` decides which there are. A socket listens from the start; the loop
accepts from it once `serve` has run. Main thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from clusterbus.config import Config
from clusterbus.config.listening import Place
from clusterbus.errors import ConfigError

TLS_HANDSHAKE_TIMEOUT_S: Final = 10.0
KEEPALIVE_MAX_S: Final = 32_767
VERIFY_MODES: Final = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "no": ssl.CERT_NONE}


class Listener:
    """One listening socket, and asyncio's server on a copy of it: so the server can be replaced."""

    def __init__(self, place: Place, config: Config) -> None:
        """Raises OSError if it cannot be listened there."""
        self.is_tls = place.tls
        self._backlog = max(1, config.tcp_backlog)
        self._server: asyncio.Server | None = None
        self._raw = _listening_socket(place, config.tcp_keepalive, self._backlog)
        name = self._raw.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])

    async def serve(self, protocol: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None) -> None:
        """Accepts connections from now on, under these TLS rules. Does nothing after `close`."""
        if self._raw.fileno() < 0:
            return
        server = await asyncio.get_running_loop().create_server(
            protocol,
            sock=self._raw.dup(),
            ssl=context,
            ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT_S if context is not None else None,
            backlog=self._backlog,
            start_serving=False,
        )
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            raise
        old, self._server = self._server, server
        if old is not None:
            old.close()
        if self._raw.fileno() < 0:  # closed meanwhile
            server.close()

    def keep_alive(self, period_s: int) -> None:
        """As the function, for the connections that this listener accepts from now on."""
        keep_alive(self._raw, period_s)

    def close(self) -> None:
        """Ends listening. Connections that were accepted go on."""
        if self._server is not None:
            self._server.close()
        self._raw.close()


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


def tls_context(config: Config) -> ssl.SSLContext:
    """The TLS rules of the client port. Raises ConfigError, which names directive and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = config.path("tls-cert-file"), config.path("tls-key-file")
    authorities = config.path("tls-ca-cert-file")
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as fault:
        reason = fault.strerror or str(fault)
        raise ConfigError(f"tls-cert-file {certificate!r}, tls-key-file {key!r}: {reason}") from None
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigError(f"tls-ca-cert-file {authorities!r}: {fault.strerror or fault}") from None
    context.verify_mode = VERIFY_MODES[config.tls_auth_clients]
    return context
