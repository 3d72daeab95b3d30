"""One client's connection: bytes in, requests to the registry, replies out, with back-pressure in both directions.

Owns the order of replies and the limits of both buffers. Must never run a request before the one ahead of it is
answered, nor block the event loop with one long pipeline. Runs on the event loop's thread, which is the main thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, Final, Protocol, cast

from clusterbus.client_port.client import Client, Clients
from clusterbus.client_port.observation.observer import Observer
from clusterbus.client_port.observation.slot_stats import slot_of
from clusterbus.client_port.pause import Pause
from clusterbus.client_port.registry import Call, Registry, internal_error
from clusterbus.client_port.reply import ErrorReply, Pushes, Reply, encode, error
from clusterbus.client_port.requests import RequestParser, RequestTooBigError
from clusterbus.client_port.rounds import Rounds
from clusterbus.client_port.transactions import queue, refused
from clusterbus.config import address_text
from clusterbus.config.log_levels import VERBOSE
from clusterbus.errors import PeerError

REQUESTS_PER_TURN_MAX: Final = 256
"""The most requests of one client that run in a row before other clients get their turn."""
OUTPUT_BATCH_BYTES: Final = 64 * 1024
OUTPUT_PAUSE_BYTES: Final = 1024 * 1024
"""While a client leaves more output unread than this, its further requests wait."""
OUTPUT_LEN_MAX_BYTES: Final = 64 * 1024 * 1024
"""Unread output that closes a client whose class has no hard limit in client-output-buffer-limit."""
UNAUTHENTICATED_OUTPUT_PAUSE_BYTES: Final = 8 * 1024
"""The same while a client owes the password: who does not read its errors gets no more of them."""
READ_AHEAD_BYTES: Final = 256 * 1024
"""While requests wait, reading from the socket pauses above this many bytes (one read may exceed it)."""
_REPLIES_AFTER: Final = {"skip": "on", "skip next": "skip"}
"""`Client.replies` at the end of a command -> its value for the next one; other values stay."""
_HTTP_WORDS: Final = (b"post", b"host:")
_DENIED: Final = (
    "DENIED protected-mode is yes and requirepass is not set, so this node serves only clients that connect over "
    "loopback. Set requirepass, or set protected-mode to no if the network is trusted."
)

logger: Final = logging.getLogger("clusterbus.client_port")


class Server(Clients, Protocol):
    """What a connection needs from the server that made it."""

    @property
    def member(self) -> Any:
        """The first argument of every handler."""

    @property
    def registry(self) -> Registry: ...
    @property
    def observer(self) -> Observer: ...
    @property
    def rounds(self) -> Rounds: ...
    @property
    def pause(self) -> Pause: ...
    def next_client_id(self) -> int: ...
    def add(self, client: Client) -> None:
        """Called when a connection is up."""

    def remove(self, client: Client) -> None:
        """Called when a connection is gone."""

    def weigh(self, client: Client) -> None:
        """Called when a client may hold more memory than before. It may have to be closed for it, or another one."""

    def count(self, name: str, amount: int = 1) -> None:
        """Adds `amount` to a counter of INFO."""


class RespConnection(asyncio.Protocol):
    """The socket side of a `Client`; the server's listeners make one for each connection."""

    def __init__(self, server: Server, tls: bool) -> None:
        self._server = server
        self.is_tls = tls
        self._parser = RequestParser()
        self._output = bytearray()
        self._pushed = bytearray()
        """Bytes pushed to this client while its own command runs; they are sent after the reply."""
        self._is_running = False
        self._flush_handle: asyncio.Handle | None = None
        self._over_soft_limit_since_s: float | None = None
        self._transport: asyncio.Transport | None = None
        self._client: Client | None = None
        self._reply_task: asyncio.Future[None] | None = None
        self._waits_for_turn = False
        self._in_turn = False
        self._output_is_full = False
        self._output_batch_bytes = OUTPUT_BATCH_BYTES
        self._closing = False
        self._blocking = False
        """Whether `_reply_task` waits for a blocking command."""
        self._unblocked_with: Reply = None

    # ---------------------------------------------------------------- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        is_local = _is_loopback(peer)
        config = self._server.config
        refusal: str | None = None
        if len(self._server.clients) >= config.maxclients:
            refusal = "ERR max number of clients reached"
        elif config.protected_mode and not config.requirepass and not is_local:
            refusal = _DENIED
        if refusal is not None:
            self._server.count("rejected_connections")
            transport.write(encode(ErrorReply(refusal), 2))
            transport.close()
            return
        now_s = self._server.now_s()
        self._client = Client(
            id=self._server.next_client_id(),
            address=_socket_text(peer),
            local_address=_socket_text(transport.get_extra_info("sockname")),
            is_local=is_local,
            tls=self.is_tls,
            descriptor=transport.get_extra_info("socket").fileno(),
            server=self._server,
            connection=self,
            created_s=now_s,
            last_interaction_s=now_s,
            authenticated=not config.requirepass,
        )
        self._bound(self._client)
        self._server.add(self._client)

    def _bound(self, client: Client) -> None:
        """Sets the bounds of a client's output, which are tighter while it owes the password."""
        owes = client.owes_password
        self._parser.authenticated = not owes
        self._output_batch_bytes = UNAUTHENTICATED_OUTPUT_PAUSE_BYTES if owes else OUTPUT_BATCH_BYTES
        if self._transport is not None:
            pause_bytes = UNAUTHENTICATED_OUTPUT_PAUSE_BYTES if owes else OUTPUT_PAUSE_BYTES
            self._transport.set_write_buffer_limits(high=pause_bytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._server.rounds.leave(self._serve)
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        if self._reply_task is not None:
            self._reply_task.cancel()
        if self._client is not None:
            self._server.remove(self._client)
            self._client.transaction = None
        # This and the client hold each other, so what they keep would stay until Python looks for such circles.
        self._parser = RequestParser()
        self._output = bytearray()
        self._pushed = bytearray()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._client is None:
            return
        self._client.received_bytes += len(data)
        self._client.last_interaction_s = self._server.now_s()
        self._server.count("total_net_input_bytes", len(data))
        try:
            self._parser.feed(data)
        except MemoryError:
            self._out_of_memory(self._client)
            return
        if not self._waits_for_turn and self._reply_task is None and not self._output_is_full:
            self._serve_in_time()
        else:
            self._bound_reading()
        self._server.weigh(self._client)

    def eof_received(self) -> None:
        """What came before the end gets one more turn: only TLS may tell of the end while requests wait for theirs."""
        if self._waits_for_turn and self._client is not None:
            self._server.rounds.leave(self._serve)
            self._serve(is_last=True)

    def pause_writing(self) -> None:
        self._output_is_full = True

    def resume_writing(self) -> None:
        self._output_is_full = False
        self._serve_soon()

    # ---------------------------------------------------------------- called by commands and the server

    def send(self, reply: Reply) -> None:
        """Queues a push, or a reply that answers no request; see `send_encoded`."""
        if self._client is not None:
            self.send_encoded(encode(reply, self._client.protocol))

    def send_encoded(self, data: bytes) -> None:
        """Queues bytes that answer no request. While a command of the client runs, they wait behind its reply.

        The bytes leave in batches, at the latest after this round of the event loop. A client that leaves too much
        unread is closed.
        """
        if self._client is None or self._closing:
            return
        if self._is_running:
            self._pushed += data
        else:
            self._output += data
            if len(self._output) >= OUTPUT_BATCH_BYTES:
                self._flush()
            elif not self._in_turn and self._flush_handle is None:
                self._flush_handle = asyncio.get_running_loop().call_soon(self._flush)
        self.check_output_limit()

    def check_output_limit(self) -> None:
        """Closes the client if its unread output is above the hard limit of its class, or has been above the soft limit
        for too long (closeClientOnOutputBufferLimitReached).
        """
        client = self._client
        if client is None or self._closing:
            return
        len_bytes = self.output_len_bytes()
        limits = self._server.config.client_output_buffer_limit.by_class
        limit = limits["pubsub" if client.is_subscribed else "normal"]
        is_over = len_bytes >= (limit.hard_bytes or OUTPUT_LEN_MAX_BYTES)
        if limit.soft_bytes and len_bytes >= limit.soft_bytes:
            now_s = self._server.now_s()
            if self._over_soft_limit_since_s is None:
                self._over_soft_limit_since_s = now_s
            is_over = is_over or now_s - self._over_soft_limit_since_s > limit.soft_s
        else:
            self._over_soft_limit_since_s = None
        if is_over:
            logger.warning(
                "client %s closed for overcoming of output buffer limits: it leaves %d bytes unread",
                client.address,
                len_bytes,
            )
            self._server.count("client_output_buffer_limit_disconnections")
            self.close()
        else:
            self._server.weigh(client)

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def close_after_reply(self) -> None:
        self._closing = True
        if not self._in_turn and self._reply_task is None:
            self._close_when_written()

    def unblock(self, reply: Reply) -> bool:
        if not self._blocking or self._reply_task is None:
            return False
        self._blocking = False
        self._unblocked_with = reply
        self._reply_task.cancel()
        return True

    @property
    def is_blocked(self) -> bool:
        return self._blocking

    def query_buffer_len_bytes(self) -> int:
        return self._parser.held_len_bytes()

    def output_len_bytes(self) -> int:
        written = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return len(self._output) + len(self._pushed) + written

    def memory_bytes(self) -> int:
        requests_bytes = 0 if self._closing else self._parser.memory_bytes()  # which are given up with the connection
        return requests_bytes + self.output_len_bytes()

    # ---------------------------------------------------------------- requests

    def _serve_soon(self) -> None:
        if not self._waits_for_turn and self._reply_task is None and not self._closing:
            self._waits_for_turn = True
            self._server.rounds.wait(self._serve)

    def _serve_in_time(self) -> None:
        """At once, or in the next round if all clients together have used up this one."""
        if self._closing or self._server.rounds.has_time():
            self._serve()
        else:
            self._serve_soon()
            self._flush()
            self._bound_reading()

    def _serve(self, *, is_last: bool = False) -> None:
        client = self._client
        assert client is not None
        try:
            self._take_turn(client, is_last=is_last)
        except MemoryError:
            self._out_of_memory(client)

    def _out_of_memory(self, client: Client) -> None:
        """There is none for what the client sends or asks for: it is closed, which frees what it holds."""
        self.close()
        self._server.count("client_memory_errors")
        logger.warning("client %s closed: no memory is left for it", client.address)

    def _take_turn(self, client: Client, *, is_last: bool) -> None:
        """One turn: runs requests in order until there are no more, one has to wait, REQUESTS_PER_TURN_MAX ran, or the
        round is over, which does not end a last turn.
        """
        self._waits_for_turn = False
        self._in_turn = True
        config = self._server.config
        self._parser.bulk_len_max_bytes = config.proto_max_bulk_len
        self._parser.request_len_max_bytes = config.client_query_buffer_limit
        more = True
        served = 0
        while not self._closing and not self._output_is_full and self._reply_task is None:
            if served == REQUESTS_PER_TURN_MAX or (served and not is_last and not self._server.rounds.has_time()):
                break
            if client.owes_password is self._parser.authenticated:  # since the last request
                self._bound(client)
            try:
                words = self._parser.take()
            except PeerError as fault:
                self._refuse(client, fault)
                break
            if words is None:
                more = False
                break
            served += 1
            if words:
                self._run(client, words)
            if len(self._output) >= self._output_batch_bytes:
                self._flush()
        self._in_turn = False
        self._flush()
        if self._closing:
            self._close_when_written()
        elif more and not self._output_is_full:
            self._serve_soon()
        self._bound_reading()

    def _refuse(self, client: Client, fault: PeerError) -> None:
        """What came is no request, or too long for one: the client is told, and closed."""
        if isinstance(fault, RequestTooBigError):
            self._server.count("client_query_buffer_limit_disconnections")
            logger.warning("client %s closed: its request is over client-query-buffer-limit", client.address)
        else:
            self._server.count("protocol_errors")
            logger.log(VERBOSE, "protocol error from client %s: %s", client.address, fault)
        self._write_reply(client, error(str(fault)))
        self._closing = True

    def _run(self, client: Client, words: list[bytes]) -> None:
        if words[0].lower() in _HTTP_WORDS:
            logger.warning("client %s speaks HTTP, perhaps sent by a malicious web page; closed", client.address)
            self._closing = True
            return
        server = self._server
        call = server.registry.resolve(words, client)
        server.count("total_commands_processed")
        client.commands_processed += 1
        if not isinstance(call, Call):
            client.transaction_is_spoilt = True
            server.observer.refuse(server.registry.name_of(words), call)
            self._finish(client, None, call)
            return
        client.last_command = call.name
        if server.observer.slots.is_enabled:
            call.slot = slot_of(call, client.transaction)
        asked = client.asking
        self._is_running = True
        reply: Reply | Awaitable[Reply] = server.registry.refusal(server.member, client, call)
        if isinstance(reply, ErrorReply):
            refused(client, call)
            server.observer.refuse(call.name, reply)
        elif server.pause.kind is not None and server.pause.holds(client, call, server.now_s()):
            self._is_running = False
            self._reply_task = asyncio.ensure_future(self._wait_for_pause(client, words))
            return
        else:
            reply = queue(client, call)
            if client.transaction and client.transaction_len_bytes > server.config.client_query_buffer_limit:
                self._is_running = False
                self._refuse(client, RequestTooBigError("Protocol error: too big transaction"))
                return
            if reply is None:
                reply = server.observer.run(server.member, client, call)
            elif isinstance(reply, ErrorReply):
                server.observer.refuse(call.name, reply)
        self._is_running = False
        if asked and client.transaction is None:  # ASKING before MULTI holds until EXEC
            client.asking = False
        if isawaitable(reply):
            self._release_pushed()
            self._blocking = "blocking" in call.spec.flags
            self._reply_task = asyncio.ensure_future(self._wait_for_reply(client, call, reply))
            return
        self._finish(client, call, reply)

    async def _wait_for_reply(self, client: Client, call: Call, pending: Awaitable[Reply]) -> None:
        request_len_bytes = self._parser.request_len_bytes
        try:
            reply = await pending
        except asyncio.CancelledError:
            if self._closing or self._blocking or "blocking" not in call.spec.flags:
                raise
            reply = self._unblocked_with
        self._reply_task = None
        self._blocking = False
        self._parser.request_len_bytes = request_len_bytes
        self._finish(client, call, reply)
        self._serve_in_time()

    async def _wait_for_pause(self, client: Client, words: list[bytes]) -> None:
        """CLIENT PAUSE holds a request, which is looked at anew when the pause ends."""
        await self._server.pause.wait(self._server.now_s())
        self._reply_task = None
        self._run(client, words)
        if self._reply_task is None:
            self._serve_in_time()

    # ---------------------------------------------------------------- output

    def _finish(self, client: Client, call: Call | None, reply: Reply) -> None:
        begin = len(self._output)
        if client.replies == "on" or isinstance(reply, Pushes):
            self._write_reply(client, reply)
        if call is not None:
            self._server.observer.note_sizes(client, call, self._parser.request_len_bytes, len(self._output) - begin)
        self._release_pushed()
        client.replies = _REPLIES_AFTER.get(client.replies, client.replies)

    def _write_reply(self, client: Client, reply: Reply) -> None:
        try:
            self._output += encode(reply, client.protocol)
        except Exception as fault:  # a command of the user's program put a value that cannot be encoded into its reply
            self._output += encode(internal_error(client.last_command, fault), client.protocol)

    def _release_pushed(self) -> None:
        if self._pushed:
            self._output += self._pushed
            self._pushed.clear()

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if not self._output or self._transport is None or self._transport.is_closing():
            return
        assert self._client is not None
        self._client.sent_bytes += len(self._output)
        self._server.count("total_net_output_bytes", len(self._output))
        self._transport.write(bytes(self._output))
        self._output.clear()
        self.check_output_limit()

    def _close_when_written(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _bound_reading(self) -> None:
        """Pauses reading while requests wait for their turn, whose answers an end of the connection would cut off, and
        while they wait for a reply and READ_AHEAD_BYTES are held. Below that reading goes on, so that the end of the
        connection is noticed.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        is_waiting = self._reply_task is not None or self._output_is_full
        if self._waits_for_turn or (is_waiting and self._parser.held_len_bytes() > READ_AHEAD_BYTES):
            transport.pause_reading()
        else:
            transport.resume_reading()


def _is_loopback(peer: object) -> bool:
    if not isinstance(peer, tuple):
        return False
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _socket_text(name: object) -> str:
    return address_text(name[0], name[1]) if isinstance(name, tuple) else "?:0"
