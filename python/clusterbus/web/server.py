"""The HTTP server of `metrics-port`.

Owns the listening sockets and the limits: connections at once, time for a request to come, time for an answer to be
taken. Must never hold up the main loop, nor let a peer's bytes into the log. Main thread.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from clusterbus.config import Config, address_text
from clusterbus.config.listening import PortInUseError
from clusterbus.errors import ConfigError
from clusterbus.member.member import Member
from clusterbus.web.access import MAY_READ, may_read
from clusterbus.web.answers import Answers
from clusterbus.web.page import Page

CONNECTIONS_MAX: Final = 64
"""Further connections are closed at once: a scraper or two and some browsers need no more."""
WAITS_MAX: Final = 256
"""So many may have said nothing yet, those in a TLS handshake among them."""
REQUEST_TIMEOUT_S: Final = 10.0
"""How long a connection may be without a whole request, at first and between two."""
ANSWER_TIMEOUT_S: Final = 30.0
"""How long a client may take to read an answer that ends."""
CLOSE_TIMEOUT_S: Final = 0.5
REQUEST_LEN_MAX_BYTES: Final = 8 * 1024
OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})
"""What probes ask, which know no password: they are told yes or no."""

EVENTS_PATH: Final = "/events"
"""Its answer does not end."""

logger: Final = logging.getLogger("clusterbus.web")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """Serves `member` at `metrics-port` on each address of `metrics-bind`."""

    def __init__(self, member: Member, config: Config) -> None:
        self._member, self._config = member, config
        self._servers: list[asyncio.Server] = []
        self._stop_renewing: Callable[[], None] = lambda: None
        self._renewal: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._page: Page | None = None
        self._waits: dict[asyncio.Protocol, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Opens the port. Raises ConfigError, which names address and port, with everything closed again."""
        app = web.Application(middlewares=[self._guard], client_max_size=REQUEST_LEN_MAX_BYTES)
        self._page = Page(self._member)
        app.add_routes([*Answers(self._member).routes(), *self._page.routes()])
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=REQUEST_TIMEOUT_S,
            shutdown_timeout=CLOSE_TIMEOUT_S,
            max_line_size=REQUEST_LEN_MAX_BYTES,
            max_field_size=REQUEST_LEN_MAX_BYTES,
        )
        await self._runner.setup()
        try:
            await self._listen()
        except BaseException:
            await self.close()
            raise
        if self._config.metrics_tls and self._member.certificates is not None:
            self._stop_renewing = self._member.certificates.on_renewed(self._on_renewed)

    async def _listen(self) -> None:
        certificates = self._member.certificates
        context = certificates.port() if self._config.metrics_tls and certificates is not None else None
        if self._config.metrics_tls and context is None:
            raise ConfigError("metrics-tls yes needs tls-cert-file and tls-key-file")
        loop, port = asyncio.get_running_loop(), self._config.metrics_port
        for address in self._config.metrics_addresses:
            try:
                server = await loop.create_server(
                    self._protocol,
                    address.ip,
                    port,
                    ssl=context,
                    ssl_handshake_timeout=REQUEST_TIMEOUT_S if context is not None else None,
                )
            except OSError as error:
                if address.excuses(error):
                    continue
                reason = os.strerror(error.errno) if error.errno else str(error)
                kind = PortInUseError if error.errno == errno.EADDRINUSE else ConfigError
                raise kind(f"can't listen on {address_text(address.ip, port)} for metrics: {reason}") from None
            self._servers.append(server)
        if not self._servers:
            bind = f"'metrics-bind {self._config.text('metrics-bind')}'"
            raise ConfigError(f"metrics-port {port}: no address of {bind} can be listened on")

    async def close(self) -> None:
        """Closes the port and every connection. Idempotent."""
        self._stop_renewing()
        if self._renewal is not None:
            self._renewal.cancel()
        self._stop_listening()
        for wait in self._waits.values():
            wait.cancel()
        self._waits.clear()
        if self._page is not None:
            self._page.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _on_renewed(self) -> None:
        """There are other certificates: connections from now on see them, those that are open stay as they are."""
        self._stop_listening()
        self._renewal = asyncio.get_running_loop().create_task(self._listen_again())

    async def _listen_again(self) -> None:
        try:
            await self._listen()
        except ConfigError as error:
            logger.error("the metrics port stays closed: %s", error)

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner is not None
        assert self._runner.server is not None
        if len(self._runner.server.connections) >= CONNECTIONS_MAX or len(self._waits) >= WAITS_MAX:
            return _Refused()
        protocol = self._runner.server()
        self._waits[protocol] = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self._end_silent, protocol)
        return protocol

    def _end_silent(self, protocol: web.RequestHandler) -> None:
        """Ends a connection on which no request has come in time; aiohttp itself looks only from the second on."""
        del self._waits[protocol]
        if protocol.transport is not None:
            protocol.transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Limits the time of an answer, and keeps out who does not know the password."""
        if (wait := self._waits.pop(request.protocol, None)) is not None:
            wait.cancel()
        request[MAY_READ] = may_read(self._config, request.headers.get("Authorization", ""))
        if not request[MAY_READ] and request.path not in OPEN_PATHS:
            self._member.driver.counters["metrics_auth_failures"] += 1
            return web.Response(
                status=401, text="password needed\n", headers={"WWW-Authenticate": 'Basic realm="clusterbus"'}
            )
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S if request.path != EVENTS_PATH else None):
                return await handler(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise


class _Refused(asyncio.Protocol):
    """A connection too many: it is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
