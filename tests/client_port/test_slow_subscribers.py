"""Back-pressure of pub/sub: a subscriber that does not read is closed at a limit, and all others go on (S7, H40).

The sockets of slow subscribers have small receive buffers, so that unread messages wait at the server. All messages are
small, because Valkey 9.1 shares messages of 16 KiB or more among subscribers and does not count them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.client_port.harness import Client
from tests.peers.cluster import wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

DEADLINE_S = 30.0
RECEIVE_BUFFER_BYTES = 4096
KERNEL_BUFFERS_MAX_BYTES = 16 * 1024 * 1024
MESSAGE = "x" * 8_192
PIPELINED = 64
SOFT_LIMIT_S = 4
BOTH = pytest.mark.parametrize("kind", ["clusterbus", "valkey"])


class Subscriber(Client):
    """A subscriber that reads only when the test reads."""

    def __init__(self, server: Server, channel: bytes = b"c") -> None:
        raw: socket.socket = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        raw.settimeout(DEADLINE_S)
        raw.connect(("127.0.0.1", server.port))
        if server.certificates is not None:
            raw = server.certificates.client_context().wrap_socket(raw, server_hostname="127.0.0.1")
        self.socket = raw
        self.received = b""
        self.ask(
            b"SUBSCRIBE %b\r\n" % channel, b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(channel), channel)
        )


def publish(server: Server, len_bytes: int) -> None:
    """So many bytes as fast as they go: commands in batches, every one answered."""
    count = len_bytes // len(MESSAGE)
    connection = server.connect(DEADLINE_S)
    for sent in range(0, count, PIPELINED):
        batch = min(PIPELINED, count - sent)
        connection.send_packed_command(
            connection.pack_commands([("PUBLISH", "c", MESSAGE)] * batch), check_health=False
        )
        for _ in range(batch):
            connection.read_response()
    connection.disconnect()


def disconnections(server: Server) -> int:
    return server.counter("client_output_buffer_limit_disconnections")


@BOTH
def test_a_subscriber_over_the_hard_limit_is_closed_as_valkey_does_s7_h40(peers: Peers, kind: str) -> None:
    server = peers(kind)
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 2mb 0 0") == "OK"
    with Subscriber(server), Client(server.port) as quick:
        quick.ask(b"SUBSCRIBE other\r\n", b"*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n")
        publish(server, KERNEL_BUFFERS_MAX_BYTES + 3 * 1024 * 1024)
        wait_until(lambda: disconnections(server) == 1, DEADLINE_S, "the slow one is closed")
        wait_until(lambda: server.call("PUBSUB", "NUMSUB", "c") == ["c", 0], DEADLINE_S, "its subscription is gone")
        server.call("PUBLISH", "other", "still here")
        quick.expect(b"*3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$10\r\nstill here\r\n")


def test_a_subscriber_over_tls_is_bounded_too_s7_h40(peers: Peers, certificates: Certificates) -> None:
    server = peers("clusterbus", certificates=certificates)
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 2mb 0 0") == "OK"
    with Subscriber(server):
        publish(server, KERNEL_BUFFERS_MAX_BYTES + 3 * 1024 * 1024)
        wait_until(lambda: disconnections(server) == 1, DEADLINE_S, "the slow one is closed")
        wait_until(lambda: server.call("PUBSUB", "NUMSUB", "c") == ["c", 0], DEADLINE_S, "its subscription is gone")


@BOTH
def test_a_subscriber_under_the_limit_gets_everything_when_it_reads_on_s7(peers: Peers, kind: str) -> None:
    server = peers(kind)
    with Subscriber(server) as slow:
        publish(server, 24 * 1024 * 1024 // 4)
        for _ in range(24 * 1024 * 1024 // 4 // len(MESSAGE)):
            slow.expect(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n%b\r\n" % (len(MESSAGE), MESSAGE.encode()))
    assert disconnections(server) == 0


@BOTH
def test_a_subscriber_over_the_soft_limit_for_too_long_is_closed_without_another_message_s7_h40(
    peers: Peers, kind: str
) -> None:
    server = peers(kind)
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 1mb 1") == "OK"
    begun_s = time.monotonic()
    with Subscriber(server):
        publish(server, KERNEL_BUFFERS_MAX_BYTES + 2 * 1024 * 1024)
        wait_until(lambda: disconnections(server) == 1, DEADLINE_S, "the slow one is closed")
        assert time.monotonic() - begun_s > 1
        wait_until(lambda: server.call("PUBSUB", "NUMSUB", "c") == ["c", 0], DEADLINE_S, "its subscription is gone")


@BOTH
def test_the_clock_of_the_soft_limit_starts_anew_when_the_subscriber_catches_up_s7(peers: Peers, kind: str) -> None:
    server = peers(kind)
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", f"pubsub 0 1mb {SOFT_LIMIT_S}") == "OK"
    count = (KERNEL_BUFFERS_MAX_BYTES + 2 * 1024 * 1024) // len(MESSAGE)
    one = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n%b\r\n" % (len(MESSAGE), MESSAGE.encode())
    with Subscriber(server) as slow:
        end_s = time.monotonic() + SOFT_LIMIT_S + 2
        while time.monotonic() < end_s:
            publish(server, count * len(MESSAGE))
            for _ in range(count):
                slow.expect(one)
    assert disconnections(server) == 0


def test_without_limits_of_its_own_the_built_in_one_holds_s7(peers: Peers) -> None:
    """Valkey would keep all output; clusterbus keeps 64 MiB for one client."""
    server = peers("clusterbus")
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0") == "OK"
    with Subscriber(server):
        publish(server, 48 * 1024 * 1024)
        assert disconnections(server) == 0
        publish(server, 16 * 1024 * 1024 + KERNEL_BUFFERS_MAX_BYTES)
        wait_until(lambda: disconnections(server) == 1, DEADLINE_S, "the slow one is closed")


def test_the_limit_of_other_clients_is_not_the_subscribers(peers: Peers) -> None:
    """A client that has unsubscribed from its last channel belongs to the class normal again."""
    server = peers("clusterbus")
    assert server.call("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0 pubsub 1kb 0 0") == "OK"
    with Client(server.port) as client:
        client.ask(b"SUBSCRIBE a\r\n", b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
        client.ask(b"UNSUBSCRIBE\r\n", b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n")
        text = b"y" * 1_000_000
        client.ask(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n%b\r\n" % text, b"$1000000\r\n%b\r\n" % text)
    assert disconnections(server) == 0


def test_an_idle_subscriber_is_not_closed_by_timeout_as_in_valkey(peers: Peers) -> None:
    server = peers("clusterbus", timeout=1)
    with Client(server.port) as subscriber, Client(server.port) as idle:
        subscriber.ask(b"SUBSCRIBE a\r\n", b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
        idle.ask(b"PING\r\n", b"+PONG\r\n")
        assert idle.expect_close() == b""
        server.disconnect()  # the test's own connection has been idle too
        server.call("PUBLISH", "a", "m")
        subscriber.expect(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n")


def test_too_many_subscriptions_of_one_client_are_refused_and_nothing_is_taken(peers: Peers) -> None:
    from clusterbus.client_port.commands.pubsub import SUBSCRIPTIONS_PER_CLIENT_MAX

    server = peers("clusterbus")
    connection = server.connect()
    try:
        most = [f"c{number}" for number in range(SUBSCRIPTIONS_PER_CLIENT_MAX)]
        connection.send_command("SUBSCRIBE", *most, check_health=False)
        for number in range(len(most)):
            assert connection.read_response()[2] == number + 1
        for command in ("SUBSCRIBE", "PSUBSCRIBE"):
            connection.send_command(command, "one-more", check_health=False)
            with pytest.raises(Exception, match="too many subscriptions"):
                connection.read_response()
        assert server.counter("pubsub_channels") == SUBSCRIPTIONS_PER_CLIENT_MAX
        assert server.counter("pubsub_patterns") == 0
    finally:
        connection.disconnect()
    wait_until(lambda: server.counter("pubsub_channels") == 0, DEADLINE_S, "all go with their client")
