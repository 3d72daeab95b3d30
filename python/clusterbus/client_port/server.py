"""The client port's server: listeners on every bind address, plain and TLS, and the table of connected clients.

Owns the listening sockets, the client table and the port's counters. Knows no command; these are in the registry. Runs
on the event loop's thread, which is the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from clusterbus.client_port.eviction import ClientMemory
from clusterbus.client_port.observation.observer import Observer
from clusterbus.client_port.pause import Pause
from clusterbus.client_port.port_sockets import TLS_HANDSHAKE_TIMEOUT_S, Listener
from clusterbus.client_port.registry import Registry
from clusterbus.client_port.reply import Reply
from clusterbus.client_port.rounds import Rounds
from clusterbus.cluster.events import Event, SlotsChanged
from clusterbus.config import Config, address_text
from clusterbus.config.listening import Places
from clusterbus.config.log_levels import VERBOSE
from clusterbus.errors import ConfigError
from clusterbus.member.ports import Certificates
from clusterbus.member.refusals import RefusalLog

IDLE_CHECK_PERIOD_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 2.0
"""How long `close` waits for clients to read their last output."""

TOO_MANY: Final = b"-ERR max number of clients reached\r\n"

logger: Final = logging.getLogger("clusterbus.client_port")


class RespServer:
    """Serves the commands of `registry` on `config.port` and `config.tls_port`; every handler gets `member`.

    `greeting` returns HELLO's facts about the node: server, version, mode, role, availability_zone. Without
    `certificates` there is no TLS port. A client whose descriptor is not below `files_max()` is refused.
    """

    def __init__(
        self,
        member: object,
        config: Config,
        registry: Registry,
        *,
        greeting: Callable[[], Mapping[str, Reply]] | None = None,
        certificates: Certificates | None = None,
        files_max: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.member = member
        self.config = config
        self.registry = registry
        self._greeting = greeting or dict
        self._certificates = certificates
        self._files_max = files_max
        self._clients: dict[int, Client] = {}
        self._memory = ClientMemory(self._clients, config)
        self._client_ids = itertools.count(1)
        self._counters: Counter[str] = Counter()
        self._places = Places(lambda place: Listener(place, config), Listener.close)
        self._opening: dict[RespConnection, asyncio.Task[None]] = {}
        """Connections that are accepted and are no clients yet: their TLS handshake is under way."""
        self._incidents = RefusalLog()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_open = False
        self._at_close: list[Callable[[], None]] = []
        self.observer = Observer(config)
        self.pause = Pause()
        self.rounds = Rounds()

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Opens the ports. If one of them cannot be opened, closes all and raises ConfigError, which names port and
        address.
        """
        context = self._tls_context()
        try:
            for listener in self._places.move(self.config, self._ports()):
                self._serve(listener, context)
        except BaseException:
            self._places.close()
            raise
        self._is_open = True
        self._at_close = [
            self.config.on_change(self._on_keepalive_change, "tcp-keepalive"),
            self.config.on_change(self._on_place_change, "bind", "port", "tls-port"),
        ]
        if self._certificates is not None:
            self._at_close.append(self._certificates.on_renewed(self._on_tls_renewed))
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
        self._places.close()
        await self._end_openings()
        for client in list(self._clients.values()):
            client.connection.close_after_reply()
        try:
            await asyncio.wait_for(self._empty.wait(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            for client in list(self._clients.values()):
                client.connection.close()
            await self._empty.wait()

    async def _end_openings(self) -> None:
        """Gives up TLS handshakes. A connection without TLS is only a turn of the loop away from being a client, and is
        closed as one: half of its way there is never taken back.
        """
        await asyncio.sleep(0)  # a task that is cancelled before it has begun would never close its socket
        for connection, opening in self._opening.items():
            if connection.is_tls:
                opening.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(ip, port) of every open listener."""
        return [listener.address for listener in self._places.listeners.values()]

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
        self._opening.pop(client.connection, None)  # type: ignore[call-overload]
        self._clients[client.id] = client
        self._empty.clear()

    def remove(self, client: Client) -> None:
        """Called when a connection is gone."""
        client.unsubscribe_all()
        self.observer.monitors.remove(client)
        self._clients.pop(client.id, None)
        self._memory.forget(client)
        if not self._clients:
            self._empty.set()

    def weigh(self, client: Client) -> None:
        """Called when a client may hold more memory than before: closes those that hold most, if all together hold too
        much (evictClients).
        """
        if not self._memory.weigh(client):
            return
        for greedy in self._memory.excess():
            self.count("evicted_clients")
            held_bytes = greedy.connection.memory_bytes()
            who = greedy.address.rpartition(":")[0]  # it may come again and again, from another port each time
            self._note(who, f"closed for maxmemory-clients: a client holds {held_bytes} bytes")
            greedy.connection.close()
            self._memory.forget(greedy)

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
        for listener in self._places.listeners.values():
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
            "tls_handshakes_failed",
            "protocol_errors",
            "client_output_buffer_limit_disconnections",
            "client_query_buffer_limit_disconnections",
            "evicted_clients",
            "client_memory_errors",
        )
        clients = self._clients.values()
        watched = {key for client in clients for key in client.watched}
        return {
            "connected_clients": len(clients),
            "client_accept_paused": int(any(listener.is_paused for listener in self._places.listeners.values())),
            "client_accept_pauses": sum(listener.pauses for listener in self._places.listeners.values()),
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

    # ---------------------------------------------------------------- listeners

    def _ports(self) -> list[tuple[int, bool]]:
        """(port, TLS) of every port to listen on."""
        return [(port, tls) for port, tls in ((self.config.port, False), (self.config.tls_port, True)) if port]

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self.config.tls_port:
            return None
        context = self._certificates.port() if self._certificates is not None else None
        if context is None:
            raise ConfigError(f"tls-port {self.config.tls_port}: there are no certificates")
        return context

    def _serve(self, listener: Listener, context: ssl.SSLContext | None) -> None:
        listener.serve(self._accept, context if listener.is_tls else None)

    def _on_place_change(self, config: Config, _changed: frozenset[str]) -> None:
        """Moves the listeners at once; connections stay. Clients that come before the loop accepts wait (P41)."""
        if self._is_open:
            context = self._tls_context()
            for listener in self._places.move(config, self._ports()):
                self._serve(listener, context)

    def _on_tls_renewed(self) -> None:
        """New certificates and rules hold for connections made from now on."""
        if self._is_open and self.config.tls_port:
            context = self._tls_context()
            for listener in self._places.listeners.values():
                if listener.is_tls:
                    self._serve(listener, context)

    # ---------------------------------------------------------------- connections

    def _accept(self, raw: socket.socket, listener: Listener) -> None:
        """Lets a connection in, or refuses it before anything is spent on it: whoever is in a TLS handshake takes the
        place of a client already (acceptCommonHandler).
        """
        if len(self._clients) + len(self._opening) >= self.config.maxclients or not self._has_file_for(raw):
            self.count("rejected_connections")
            with raw, contextlib.suppress(OSError):
                if not listener.is_tls:
                    raw.send(TOO_MANY)
            return
        connection = RespConnection(self, listener.is_tls)
        self._opening[connection] = asyncio.get_running_loop().create_task(
            self._open(connection, raw, listener.context)
        )

    def _has_file_for(self, raw: socket.socket) -> bool:
        files_max = self._files_max()
        if files_max is None or raw.fileno() < files_max:
            return True
        self._note("clients", "nearly all open files are in use, and the last are kept for the bus; raise ulimit -n")
        return False

    async def _open(self, connection: RespConnection, raw: socket.socket, context: ssl.SSLContext | None) -> None:
        peer = address_text(*raw.getpeername()[:2]) if _is_connected(raw) else "?"
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                raw,
                ssl=context,
                ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT_S if context is not None else None,
            )
        except (OSError, TimeoutError) as fault:
            if context is not None:
                self.count("tls_handshakes_failed")
                self._note(peer.rpartition(":")[0], f"TLS handshake failed: {fault}")
        except BaseException:
            raw.close()
            raise
        finally:
            self._opening.pop(connection, None)

    def _note(self, who: str, text: str) -> None:
        """A line of the log about somebody who is no client, now and then."""
        line = self._incidents.line(who, "refused", text, int(self.now_s() * 1000))
        if line is not None:
            logger.warning("client port: %s", line)


def _is_connected(raw: socket.socket) -> bool:
    try:
        raw.getpeername()
    except OSError:
        return False
    return True
