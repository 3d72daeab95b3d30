"""The client port's server: listeners on every bind address, plain and TLS, and the table of connected clients.

Owns the listening sockets, the client table and the port's counters. Knows no command; these are in the registry. Runs
on the event loop's thread, which is the main thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.connection import RespConnection
from clusterbus.client_port.observation.observer import Observer
from clusterbus.client_port.pause import Pause
from clusterbus.client_port.registry import Registry
from clusterbus.client_port.reply import Reply
from clusterbus.cluster.events import Event, SlotsChanged
from clusterbus.config import BindAddress, Config, address_text
from clusterbus.config.log_levels import VERBOSE
from clusterbus.errors import ConfigError

TLS_HANDSHAKE_TIMEOUT_S: Final = 10.0
IDLE_CHECK_PERIOD_S: Final = 1.0
KEEPALIVE_MAX_S: Final = 32_767
CLOSE_TIMEOUT_S: Final = 2.0
"""How long `close` waits for clients to read their last output."""
_VERIFY_MODES: Final = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "no": ssl.CERT_NONE}

logger: Final = logging.getLogger("clusterbus.client_port")


class RespServer:
    """Serves the commands of `registry` on `config.port` and `config.tls_port`; every handler gets `member`.

    `greeting` returns HELLO's facts about the node: server, version, mode, role, availability_zone.
    """

    def __init__(
        self,
        member: object,
        config: Config,
        registry: Registry,
        *,
        greeting: Callable[[], Mapping[str, Reply]] | None = None,
    ) -> None:
        self.member = member
        self.config = config
        self.registry = registry
        self._greeting = greeting or dict
        self._clients: dict[int, Client] = {}
        self._client_ids = itertools.count(1)
        self._counters: Counter[str] = Counter()
        self._listeners: list[_Listener] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._tls_reload: asyncio.Task[None] | None = None
        self._is_open = False
        self._at_close: list[Callable[[], None]] = []
        self.observer = Observer(config)
        self.pause = Pause()

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Opens the ports. If one of them cannot be opened, closes all and raises ConfigError, which names port and
        address.
        """
        sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        try:
            for port, context in (
                (self.config.port, None),
                (self.config.tls_port, tls_context(self.config) if self.config.tls_port else None),
            ):
                if port:
                    opened = listening_sockets(self.config, port)
                    sockets += [(raw, context) for raw in opened]
            for raw, context in sockets:
                self._listeners.append(await _Listener.open(self, raw, context))
        except BaseException:
            for listener in self._listeners:
                listener.close()
            self._listeners.clear()
            for raw, _ in sockets:
                raw.close()
            raise
        self._is_open = True
        self._at_close = [
            self.config.on_change(
                self._on_tls_change, "tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-auth-clients"
            ),
            self.config.on_change(self._on_keepalive_change, "tcp-keepalive"),
        ]
        self._check_idle()

    async def close(self) -> None:
        """Closes ports and clients. Queued output has CLOSE_TIMEOUT_S to leave. Idempotent."""
        self._is_open = False
        for stop in self._at_close:
            stop()
        self.observer.close()
        self.pause.end()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._tls_reload is not None:
            self._tls_reload.cancel()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for client in list(self._clients.values()):
            client.connection.close_after_reply()
        try:
            await asyncio.wait_for(self._empty.wait(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            for client in list(self._clients.values()):
                client.connection.close()
            await self._empty.wait()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(ip, port) of every open listener."""
        return [listener.address for listener in self._listeners]

    # ---------------------------------------------------------------- clients

    @property
    def clients(self) -> Mapping[int, Client]:
        """Connected clients by id, oldest first."""
        return self._clients

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def next_client_id(self) -> int:
        """A client id that was never used before."""
        return next(self._client_ids)

    def greeting(self) -> Mapping[str, Reply]:
        """The facts about the node that HELLO shows."""
        return self._greeting()

    def add(self, client: Client) -> None:
        """Called when a connection is up."""
        self._counters["total_connections_received"] += 1
        self._clients[client.id] = client
        self._empty.clear()

    def remove(self, client: Client) -> None:
        """Called when a connection is gone."""
        client.unsubscribe_all()
        self.observer.monitors.remove(client)
        self._clients.pop(client.id, None)
        if not self._clients:
            self._empty.set()

    def _check_idle(self) -> None:
        """Closes clients that have been idle for too long (but not subscribers), and clients that do not read."""
        limit_s = self.config.timeout
        now_s = self.now_s()
        for client in list(self._clients.values()):
            client.connection.check_output_limit()
            if limit_s and now_s - client.last_interaction_s > limit_s and not client.is_subscribed:
                logger.log(VERBOSE, "closing idle client %s", client.address)
                client.connection.close()
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE_CHECK_PERIOD_S, self._check_idle)

    def _on_keepalive_change(self, config: Config, _changed: frozenset[str]) -> None:
        for listener in self._listeners:
            listener.keep_alive(config.tcp_keepalive)

    # ---------------------------------------------------------------- counters

    def count(self, name: str, amount: int = 1) -> None:
        """Adds `amount` to a counter of `stats`."""
        self._counters[name] += amount

    def stats(self) -> dict[str, int]:
        """By INFO's names: counters since the start or the last `reset_stats`, and how many clients are connected,
        wait, are subscribed, or watch keys.
        """
        names = (
            "total_connections_received",
            "total_commands_processed",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "rejected_connections",
            "protocol_errors",
            "client_output_buffer_limit_disconnections",
        )
        clients = self._clients.values()
        watched = {key for client in clients for key in client.watched}
        return {
            "connected_clients": len(clients),
            "blocked_clients": sum(client.connection.is_blocked for client in clients),
            "pubsub_clients": sum(client.is_subscribed for client in clients),
            "watching_clients": sum(bool(client.watched) for client in clients),
            "total_watched_keys": len(watched),
            **{name: self._counters[name] for name in names},
            "total_error_replies": self.observer.error_replies,
            "acl_access_denied_auth": self.observer.logins.failures,
        }

    def section(self, name: str) -> list[tuple[str, object]]:
        """The lines of INFO's commandstats, errorstats or latencystats, or those about a pause."""
        stats = self.observer.stats
        percents = [float(text) for text in self.config.latency_tracking_info_percentiles]
        lines = {
            "commandstats": stats.command_lines,
            "errorstats": stats.error_lines,
            "latencystats": lambda: stats.latency_lines(percents),
            "paused": self._pause_lines,
        }
        return list[tuple[str, object]](lines[name]())

    def _pause_lines(self) -> list[tuple[str, object]]:
        remaining_s = self.pause.remaining_s(self.now_s())
        kind = self.pause.kind if remaining_s else None
        return [
            ("paused_reason", "client_pause" if kind else "none"),
            ("paused_actions", kind.value.lower() if kind else "none"),
            ("paused_timeout_milliseconds", int(remaining_s * 1000)),
        ]

    def on_event(self, event: Event) -> None:
        """Called with the events of the member: a slot that changes hands begins its statistics anew."""
        if isinstance(event, SlotsChanged):
            for first, last in (*event.gained, *event.lost):
                self.observer.slots.forget(range(first, last + 1))

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT (R24)."""
        self._counters.clear()
        self.observer.reset()

    # ---------------------------------------------------------------- TLS

    def _on_tls_change(self, config: Config, _changed: frozenset[str]) -> None:
        """Checks new certificates and rules at once; they hold for connections made from now on."""
        if not self._is_open or not config.tls_port:
            return
        context = tls_context(config)
        previous = self._tls_reload
        self._tls_reload = asyncio.get_running_loop().create_task(self._replace_tls(context, previous))

    async def _replace_tls(self, context: ssl.SSLContext, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        for listener in self._listeners:
            if listener.is_tls:
                await listener.replace_context(context)


class _Listener:
    """One listening socket, and asyncio's server on a copy of it: so the server can be replaced."""

    def __init__(self, owner: RespServer, raw: socket.socket, server: asyncio.Server, is_tls: bool) -> None:
        self._owner = owner
        self._raw = raw
        self._server = server
        self.is_tls = is_tls
        name = raw.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])

    @classmethod
    async def open(cls, owner: RespServer, raw: socket.socket, context: ssl.SSLContext | None) -> _Listener:
        return cls(owner, raw, await cls._serve(owner, raw, context), context is not None)

    @staticmethod
    async def _serve(owner: RespServer, raw: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        def connection() -> RespConnection:
            return RespConnection(owner, context is not None)

        timeout_s = TLS_HANDSHAKE_TIMEOUT_S if context is not None else None
        server = await asyncio.get_running_loop().create_server(
            connection,
            sock=raw.dup(),
            ssl=context,
            ssl_handshake_timeout=timeout_s,
            backlog=max(1, owner.config.tcp_backlog),
            start_serving=False,
        )
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            raise
        return server

    async def replace_context(self, context: ssl.SSLContext) -> None:
        old, self._server = self._server, await self._serve(self._owner, self._raw, context)
        old.close()

    def keep_alive(self, period_s: int) -> None:
        keep_alive(self._raw, period_s)

    def close(self) -> None:
        self._server.close()
        self._raw.close()


def listening_sockets(config: Config, port: int) -> list[socket.socket]:
    """Listening sockets on `port` of every bind address.

    An optional address that this machine does not have is skipped. Raises ConfigError, which names address and port, if
    another address cannot be opened or all were skipped.
    """
    sockets: list[socket.socket] = []
    try:
        for address in config.bind_addresses:
            raw = _listening_socket(address, port, config)
            if raw is not None:
                sockets.append(raw)
        if not sockets:
            raise ConfigError(f"port {port}: no address of 'bind {config.text('bind')}' can be listened on")
    except BaseException:
        for raw in sockets:
            raw.close()
        raise
    return sockets


def _listening_socket(address: BindAddress, port: int, config: Config) -> socket.socket | None:
    shown = address_text(address.ip, port)
    raw = None
    try:
        family, kind, _, _, name = socket.getaddrinfo(
            address.ip, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        raw = socket.socket(family, kind)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        keep_alive(raw, config.tcp_keepalive)
        raw.bind(name)
        raw.listen(max(1, config.tcp_backlog))
        raw.setblocking(False)
    except OSError as fault:
        if raw is not None:
            raw.close()
        if address.excuses(fault) or (address.optional and isinstance(fault, socket.gaierror)):
            return None
        raise ConfigError(f"can't listen on {shown}: {fault.strerror}") from None
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
    context.verify_mode = _VERIFY_MODES[config.tls_auth_clients]
    return context
