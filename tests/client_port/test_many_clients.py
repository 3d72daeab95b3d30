"""Ten thousand clients at once: they are served, the next one is refused, and nothing of them stays when they go."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client_port.harness import Client, multibulk
from tests.peers.cluster import wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

pytestmark = pytest.mark.processes

CLIENTS = 10_000
OWN_DESCRIPTORS = 200
GROWTH_MAX_BYTES = 128 << 20
DEADLINE_S = 60.0
SLOW_WRITERS = 50
LEAST_FILES = 3


def resident_bytes(server: Server) -> int:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def test_ten_thousand_clients_are_served_and_the_next_is_refused(peers: Peers) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < CLIENTS + OWN_DESCRIPTORS:
        pytest.skip(f"needs {CLIENTS + OWN_DESCRIPTORS} open files (ulimit -n)")
    server = peers("clusterbus")
    assert server.call("CONFIG", "GET", "maxclients") == ["maxclients", str(CLIENTS)]
    before_bytes, before = resident_bytes(server), descriptors(server)
    with contextlib.ExitStack() as stack:
        raw = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(CLIENTS - 1)]
        wait_until(lambda: server.counter("connected_clients") == CLIENTS, DEADLINE_S, "all are clients")
        with socket.create_connection(("127.0.0.1", server.port)) as late:
            assert late.recv(100) == b"-ERR max number of clients reached\r\n"
        for number, one in enumerate(raw):  # some leave a request unfinished
            one.sendall(b"PING\r\n" if number % SLOW_WRITERS else b"*2\r\n$4\r\nPI")
        for number, one in enumerate(raw):
            assert not number % SLOW_WRITERS or one.recv(7) == b"+PONG\r\n"
        assert server.counter("rejected_connections") == 1
        assert resident_bytes(server) - before_bytes < GROWTH_MAX_BYTES
    wait_until(lambda: server.counter("connected_clients") == 1, DEADLINE_S, "all have gone")
    assert descriptors(server) == before
    with Client(server.port) as client:
        client.ask(b"PING\r\n", b"+PONG\r\n")


def test_a_request_over_the_query_buffer_limit_ends_its_client(peers: Peers) -> None:
    server = peers("clusterbus")
    assert server.call("CONFIG", "SET", "client-query-buffer-limit", "2mb", "proto-max-bulk-len", "1mb") == "OK"
    megabyte = b"$%d\r\n%b\r\n" % (1 << 20, bytes(1 << 20))
    with Client(server.port) as client:
        client.ask(b"*2\r\n$4\r\nECHO\r\n" + megabyte, megabyte)
        client.send(b"*4\r\n$4\r\nECHO\r\n" + megabyte + megabyte + b"$1\r\n")
        assert client.expect_close().endswith(b"-ERR Protocol error: too big request\r\n")
    with Client(server.port) as client:
        client.send(b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % ((1 << 20) + 1))
        assert client.expect_close() == b"-ERR Protocol error: invalid bulk length\r\n"
    with Client(server.port) as client:  # each is short enough, all together are not
        client.ask(b"MULTI\r\n", b"+OK\r\n")
        client.ask((b"*2\r\n$4\r\nECHO\r\n" + megabyte), b"+QUEUED\r\n")
        client.send((b"*2\r\n$4\r\nECHO\r\n" + megabyte) * 2)
        assert client.expect_close() == b"-ERR Protocol error: too big transaction\r\n"
    assert server.counter("client_query_buffer_limit_disconnections") == 2
    lines = [line for line in server.log_text().splitlines() if "client-query-buffer-limit" in line]
    assert len(lines) == 2
    assert all("127.0.0.1:" in line for line in lines)
    assert server.call("PING") == "PONG"


@pytest.mark.parametrize("kind", ["clusterbus", "valkey"])
def test_who_holds_most_is_closed_when_all_together_hold_too_much(peers: Peers, kind: str) -> None:
    """Unfinished requests, queued transactions and unread output count; CLIENT NO-EVICT excepts."""
    server = peers(kind)
    assert server.call("CONFIG", "SET", "maxmemory-clients", "8mb") == "OK"

    def part_of_echo(len_bytes: int) -> bytes:
        """All of a request but its last ten bytes and the end of its line."""
        return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b" % (len_bytes, bytes(len_bytes - 10))

    with contextlib.ExitStack() as stack:
        kept, waits, queues, greedy = (stack.enter_context(Client(server.port)) for _ in range(4))
        kept.ask(b"CLIENT NO-EVICT ON\r\n", b"+OK\r\n")
        kept.send(part_of_echo(3_000_000))
        waits.send(part_of_echo(1_000_000))
        queues.ask(b"MULTI\r\n", b"+OK\r\n")
        queues.ask(multibulk(b"PUBLISH", b"c", bytes(1_000_000)), b"+QUEUED\r\n")
        assert server.counter("evicted_clients") == 0
        greedy.send(part_of_echo(4_000_000))
        greedy.expect_close()
        assert server.counter("evicted_clients") == 1
        queues.ask(b"EXEC\r\n", b"*1\r\n:0\r\n")
        for client, len_bytes in ((kept, 3_000_000), (waits, 1_000_000)):
            client.send(bytes(10) + b"\r\n")
            client.expect(b"$%d\r\n" % len_bytes + bytes(len_bytes) + b"\r\n")
    assert server.call("PING") == "PONG"


def test_without_a_descriptor_left_accepting_rests_and_goes_on(peers: Peers) -> None:
    server = peers("clusterbus")
    assert server.call("PING") == "PONG"
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (LEAST_FILES, hard))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in range(10)]
        for client in clients:
            client.send(b"PING\r\n")
        wait_until(
            lambda: "accepting clients rests for 1 s: Too many open files" in server.log_text(), DEADLINE_S, "it rests"
        )
        assert server.call("PING") == "PONG", "who is in is served"
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            client.expect(b"+PONG\r\n")
    assert "Traceback" not in server.log_text()
