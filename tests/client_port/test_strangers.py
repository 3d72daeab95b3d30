"""What a client that has not given the password can do to the port: little, and never much of it.

The limits are Valkey's before AUTH, or tighter. No process.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from clusterbus.client_port.connection import (
    READ_AHEAD_BYTES,
    REQUESTS_PER_TURN_MAX,
    UNAUTHENTICATED_OUTPUT_PAUSE_BYTES,
)
from clusterbus.client_port.requests import (
    INLINE_LEN_MAX_BYTES,
    UNAUTHENTICATED_ARGUMENTS_MAX,
    UNAUTHENTICATED_BULK_LEN_MAX_BYTES,
)

from tests.client_port.harness import ANSWER_DEADLINE_S, Client, Running, multibulk, running
from tests.loops import LOOPS
from tests.peers.tls import Certificates

PASSWORD = "sesame"
ANSWER_MAX_BYTES = 256
"""No error before the password is longer."""
RECEIVE_BUFFER_BYTES = 4096
STALLED = 8
HELD_MAX_BYTES = 4 << 20
MILLION_DEADLINE_S = 120.0


@pytest.fixture(params=sorted(LOOPS))
def locked(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A port that demands a password."""
    with running(loop_name=request.param, requirepass=PASSWORD) as server:
        yield server


def deaf(server: Running) -> socket.socket:
    """A client that reads nothing, and for which the kernel holds little."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    raw.connect(("127.0.0.1", server.config.port))
    return raw


def send_until_stuck(raw: socket.socket, data: bytes, most_bytes: int) -> int:
    """Sends `data` again and again until the other side takes no more for a while; how many bytes it took."""
    raw.settimeout(0.5)
    sent = 0
    while sent < most_bytes:
        try:
            sent += raw.send(data)
        except TimeoutError:
            break
    return sent


def held_bytes(server: Running) -> int:
    """What the server holds for all its clients, in both directions."""

    def count() -> int:
        clients = server.server.clients.values()
        return sum(one.connection.output_len_bytes() + one.connection.query_buffer_len_bytes() for one in clients)

    return int(server.call(count))


@pytest.mark.parametrize(
    "request_", [b"PING\r\n", b"HELLO 3\r\n", b"AUTH wrong\r\n", multibulk(b"nonsense", b"x" * 99)]
)
def test_who_owes_the_password_and_does_not_read_is_held_little(locked: Running, request_: bytes) -> None:
    with deaf(locked) as raw:
        send_until_stuck(raw, request_ * 1_000, 64 << 20)
        most_bytes = 2 * UNAUTHENTICATED_OUTPUT_PAUSE_BYTES + ANSWER_MAX_BYTES
        (client,) = locked.call(lambda: list(locked.server.clients.values()))
        assert locked.call(client.connection.output_len_bytes) <= most_bytes
        assert locked.call(client.connection.query_buffer_len_bytes) <= 3 * READ_AHEAD_BYTES
        with locked.connect() as good:
            good.ask(b"AUTH sesame\r\nPING\r\n", b"+OK\r\n+PONG\r\n")


def test_the_password_ends_the_tight_limits(locked: Running) -> None:
    """Also in the middle of a pipeline, whose rest would have been too long before."""
    words = [b"%d" % number for number in range(UNAUTHENTICATED_ARGUMENTS_MAX)]
    with locked.connect() as client:
        client.send(b"PING\r\n" + multibulk(b"AUTH", PASSWORD.encode()) + multibulk(b"PING", b"x" * (1 << 20)))
        client.expect(b"-NOAUTH Authentication required.\r\n+OK\r\n$%d\r\n" % (1 << 20) + b"x" * (1 << 20) + b"\r\n")
        client.ask(b"RESET\r\nPING\r\n", b"+RESET\r\n-NOAUTH Authentication required.\r\n")
        client.send(multibulk(b"ECHO", *words))
        assert client.expect_close() == b"-ERR Protocol error: unauthenticated multibulk length\r\n"


def test_what_is_too_long_before_the_password_closes_at_its_head(locked: Running) -> None:
    heads = {
        b"*%d\r\n" % (UNAUTHENTICATED_ARGUMENTS_MAX + 1): b"unauthenticated multibulk length",
        b"*1\r\n$%d\r\n" % (UNAUTHENTICATED_BULK_LEN_MAX_BYTES + 1): b"unauthenticated bulk length",
        b"x" * (INLINE_LEN_MAX_BYTES + 1): b"too big inline request",
    }
    for sent, complaint in heads.items():
        with locked.connect() as client:
            client.send(sent)
            assert client.expect_close() == b"-ERR Protocol error: %b\r\n" % complaint
    assert locked.server.stats()["protocol_errors"] == len(heads)


def test_a_request_byte_by_byte_keeps_nobody_waiting(locked: Running) -> None:
    with locked.connect() as slow, locked.connect() as good:
        slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in multibulk(b"AUTH", PASSWORD.encode()):
            slow.send(bytes([byte]))
            good.ask(b"RESET\r\n", b"+RESET\r\n")
        slow.expect(b"+OK\r\n")


@pytest.mark.parametrize("nothing", [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n"])
def test_requests_without_words_take_turns_like_others(locked: Running, nothing: bytes) -> None:
    """They get no answer, so without turns one client's flood of them would keep all others waiting."""
    takes: list[int] = []
    seen = 0

    def look() -> None:
        takes.append(seen)
        if seen < count:
            locked.loop.call_soon(look)

    count = REQUESTS_PER_TURN_MAX * 20
    with locked.connect() as busy:
        busy.ask(b"AUTH sesame\r\n", b"+OK\r\n")
        (client,) = locked.call(lambda: list(locked.server.clients.values()))
        parser = client.connection._parser
        take = parser.take

        def counted() -> list[bytes] | None:
            nonlocal seen
            words: list[bytes] | None = take()
            seen += words == []
            return words

        parser.take = counted
        locked.loop.call_soon_threadsafe(look)
        busy.ask(nothing * count + b"PING\r\n", b"+PONG\r\n")
    steps = [after - before for before, after in pairwise(takes)]
    assert max(steps) <= REQUESTS_PER_TURN_MAX


def test_stalled_tls_handshakes_take_the_places_of_clients(certificates: Certificates) -> None:
    """So they cannot take the descriptors of the process; whoever comes then is refused, and counted."""
    rules = {name.replace("-", "_"): value for name, value in certificates.directives().items()}
    with running(tls=True, maxclients=STALLED, **rules) as server:
        stalled = [
            socket.create_connection(("127.0.0.1", server.config.tls_port), ANSWER_DEADLINE_S) for _ in range(STALLED)
        ]
        server.wait_until(lambda: len(server.server._opening) == STALLED, "all of them are accepted")
        with socket.create_connection(("127.0.0.1", server.config.port), ANSWER_DEADLINE_S) as late:
            assert late.recv(100) == b"-ERR max number of clients reached\r\n"
        with socket.create_connection(("127.0.0.1", server.config.tls_port), ANSWER_DEADLINE_S) as late:
            assert late.recv(100) == b"", "no handshake is begun"
        assert server.server.stats()["rejected_connections"] == 2
        for one in stalled:
            one.close()
        server.wait_until(lambda: not server.server._opening, "their places are free")
        assert server.server.stats()["tls_handshakes_failed"] == STALLED
        with server.connect(certificates.client_context()) as client:
            client.ask(b"PING\r\n", b"+PONG\r\n")


def test_tls_without_the_right_certificate_is_refused_counted_and_told(
    certificates: Certificates, stranger_certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {name.replace("-", "_"): value for name, value in certificates.directives().items()}
    with running(tls=True, **rules) as server:
        for context in (certificates.client_context(with_certificate=False), _trusting(stranger_certificates)):
            assert not _is_served(server, context)
        for bytes_ in (b"PING\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 100):
            with socket.create_connection(("127.0.0.1", server.config.tls_port), ANSWER_DEADLINE_S) as plain:
                plain.sendall(bytes_)
                with contextlib.suppress(ConnectionError):
                    while plain.recv(1000):
                        pass
        server.wait_until(lambda: server.server.stats()["tls_handshakes_failed"] == 5, "all are counted")
        with server.connect(certificates.client_context()) as client:
            client.ask(b"PING\r\n", b"+PONG\r\n")
        assert server.server.stats()["connected_clients"] <= 1
    lines = [record.getMessage() for record in caplog.records if "TLS handshake failed" in record.getMessage()]
    assert len(lines) == 1
    assert "127.0.0.1" in lines[0]


def _is_served(server: Running, context: ssl.SSLContext) -> bool:
    """With TLS 1.3 a client hears that it was refused only when it reads."""
    try:
        with server.connect(context) as client:
            client.send(b"PING\r\n")
            return client.socket.recv(100) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def _trusting(certificates: Certificates) -> ssl.SSLContext:
    """A client with a certificate of another authority, who takes any server."""
    context = certificates.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_clients_that_come_and_go_leave_nothing(locked: Running) -> None:
    for _ in range(200):
        with Client(locked.config.port) as client:
            client.send(b"*3\r\n$9\r\nunfin")
    locked.wait_until(lambda: not locked.server.clients and not locked.server._opening, "all have gone")
    assert held_bytes(locked) == 0


def test_a_million_requests_in_one_pipeline_are_answered_within_bounds() -> None:
    """The client reads nothing until the server takes no more of them."""
    answer, request, million = b"+PONG\r\n", b"PING".ljust(18) + b"\r\n", 1_000_000  # more than the kernel holds
    with running(loop_name="uvloop") as server, deaf(server) as raw:
        sent = send_until_stuck(raw, request * 5_000, million * len(request))
        assert sent < million * len(request), "the server waits for the client to read"
        assert held_bytes(server) < HELD_MAX_BYTES
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        raw.setblocking(False)
        rest = memoryview(request * million)[sent:]
        missing_bytes, deadline_s = million * len(answer), time.monotonic() + MILLION_DEADLINE_S
        while missing_bytes:
            assert time.monotonic() < deadline_s, f"{missing_bytes} bytes are missing"
            with contextlib.suppress(BlockingIOError):
                rest = rest[raw.send(rest[: 1 << 16]) :] if rest else rest
            select.select([raw], [raw] if rest else [], [], 1)
            with contextlib.suppress(BlockingIOError):
                missing_bytes -= len(raw.recv(1 << 20))
        assert held_bytes(server) == 0
        assert server.server.stats()["total_commands_processed"] == million
