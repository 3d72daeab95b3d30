"""CLIENT PAUSE and CLIENT UNBLOCK: who waits, for how long, and what ends it (S11)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from clusterbus.client_port.pause import Pause, PauseKind
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, Reply

from tests.client_port.harness import Client, Running, running


def note(node: Any, _client: object, arguments: list[bytes]) -> Reply:
    node.seen.append(arguments)
    return OK


async def wait_at_gate(node: Any, _client: object, _arguments: list[bytes]) -> Reply:
    node.gate = asyncio.get_running_loop().create_future()
    answer: bytes = await node.gate
    return answer


WRITE = CommandSpec("put", note, -1, ("write",))
PUBLISH = CommandSpec("tell", note, -1, ("may_replicate",))
READ = CommandSpec("look", note, -1, ("readonly",))
BLOCK = CommandSpec("wait", wait_at_gate, -1, ("blocking",))
SLOW = CommandSpec("slow", wait_at_gate, -1)


@pytest.fixture
def server() -> Any:
    with running(WRITE, PUBLISH, READ, BLOCK, SLOW) as started:
        yield started


def waiting_clients(server: Running, *requests: bytes) -> list[Client]:
    """Clients whose requests wait. Each sends one."""
    expected = server.call(lambda: server.server.stats()["total_net_input_bytes"]) + sum(map(len, requests))
    clients = [server.connect() for _ in requests]
    for client, request in zip(clients, requests, strict=True):
        client.send(request)
    server.wait_until(lambda: server.server.stats()["total_net_input_bytes"] >= expected, "the requests came")
    return clients


def test_writes_wait_and_reads_do_not_s11(server: Running) -> None:
    with server.connect() as operator:
        operator.ask(b"CLIENT PAUSE 600000 WRITE\r\n", b"+OK\r\n")
        waiting = waiting_clients(server, b"PUT 1\r\n", b"TELL 2\r\n")
        operator.ask(b"LOOK 3\r\n", b"+OK\r\n")
        assert server.call(lambda: list(server.node.seen)) == [[b"3"]]
        operator.ask(b"MULTI\r\nPUT 4\r\n", b"+OK\r\n")
        assert dict(server.call(lambda: server.server.section("paused")))["paused_actions"] == "write"
        with server.connect() as other:
            other.ask(b"CLIENT UNPAUSE\r\n", b"+OK\r\n")
        for client in waiting:
            client.expect(b"+OK\r\n")
            client.socket.close()
        operator.expect(b"+QUEUED\r\n")
        assert sorted(server.call(lambda: list(server.node.seen))) == [[b"1"], [b"2"], [b"3"]]
        assert dict(server.call(lambda: server.server.section("paused")))["paused_reason"] == "none"


def test_a_transaction_that_writes_waits_at_exec_s11(server: Running) -> None:
    with server.connect() as client, server.connect() as operator:
        client.ask(b"MULTI\r\n", b"+OK\r\n")
        client.ask(b"PUT 1\r\n", b"+QUEUED\r\n")
        operator.ask(b"CLIENT PAUSE 600000 WRITE\r\n", b"+OK\r\n")
        client.send(b"EXEC\r\n")
        operator.ask(b"LOOK\r\n", b"+OK\r\n")
        operator.ask(b"CLIENT UNPAUSE\r\n", b"+OK\r\n")
        client.expect(b"*1\r\n+OK\r\n")


def test_a_pause_of_all_holds_everything_and_ends_by_itself_in_order_s11(server: Running) -> None:
    with server.connect() as client:
        begun_s = server.call(server.server.now_s)
        client.ask(b"CLIENT PAUSE 300\r\n", b"+OK\r\n")
        client.send(b"LOOK 1\r\nPUT 2\r\nPING\r\nCLIENT UNPAUSE\r\n")
        client.expect(b"+OK\r\n+OK\r\n+PONG\r\n+OK\r\n")
        assert server.call(server.server.now_s) - begun_s >= 0.3
        assert server.call(lambda: list(server.node.seen)) == [[b"1"], [b"2"]]


def test_a_client_that_goes_while_it_waits_leaves_nothing_behind_s11(server: Running) -> None:
    with server.connect() as operator:
        operator.ask(b"CLIENT PAUSE 600000 WRITE\r\n", b"+OK\r\n")
        (waiting,) = waiting_clients(server, b"PUT 1\r\n")
        waiting.socket.close()
        server.wait_until(lambda: len(server.server.clients) == 1, "the client is gone")
        operator.ask(b"CLIENT UNPAUSE\r\n", b"+OK\r\n")
        operator.ask(b"PUT 2\r\n", b"+OK\r\n")
        assert server.call(lambda: list(server.node.seen)) == [[b"2"]]


def test_the_later_end_and_the_wider_kind_hold_s11() -> None:
    async def run() -> None:
        pause = Pause()
        pause.begin(PauseKind.ALL, 10, now_s=0)
        pause.begin(PauseKind.WRITE, 5, now_s=1)
        assert (pause.kind, pause.remaining_s(1)) == (PauseKind.ALL, 9)
        pause.begin(PauseKind.WRITE, 20, now_s=2)
        assert (pause.kind, pause.remaining_s(2)) == (PauseKind.ALL, 20)
        assert pause.remaining_s(22) == 0
        pause.begin(PauseKind.WRITE, 5, now_s=30)
        assert (pause.kind, pause.remaining_s(30)) == (PauseKind.WRITE, 5), "an old pause does not widen a new one"

    asyncio.run(run())


def passed(server: Running, until_s: float) -> bool:
    return server.server.now_s() > until_s


# ---------------------------------------------------------------- UNBLOCK


@pytest.mark.parametrize(
    ("how", "answer"), [(b"", b"*-1\r\n"), (b" TIMEOUT", b"*-1\r\n"), (b" ERROR", b"-UNBLOCKED client unblocked")]
)
def test_a_blocked_client_is_let_go_s11(server: Running, how: bytes, answer: bytes) -> None:
    with server.connect() as client, server.connect() as operator:
        client.send(b"WAIT\r\nPING\r\n")
        server.wait_until(lambda: server.server.stats()["blocked_clients"] == 1, "blocked")
        assert b" flags=b " in operator_list(operator)
        operator.ask(b"CLIENT UNBLOCK 1%b\r\n" % how, b":1\r\n")
        client.expect(answer)
        assert client.read_until(b"+PONG\r\n")
        operator.ask(b"CLIENT UNBLOCK 1\r\n", b":0\r\n")
        assert server.call(lambda: server.server.stats()["blocked_clients"]) == 0
        client.ask(b"PING\r\n", b"+PONG\r\n")


def operator_list(client: Client) -> bytes:
    client.send(b"CLIENT LIST\r\nPING\r\n")
    return client.read_until(b"+PONG\r\n")


def test_only_a_blocking_command_can_be_let_go_s11(server: Running) -> None:
    with server.connect() as client, server.connect() as operator:
        client.send(b"SLOW\r\n")
        server.wait_until(lambda: server.node.gate is not None, "it waits")
        operator.ask(b"CLIENT UNBLOCK 1\r\n", b":0\r\n")
        server.call(lambda: server.node.open_gate(b"done"))
        client.expect(b"$4\r\ndone\r\n")


def test_the_waiting_of_a_blocking_command_is_not_its_time_s11(server: Running) -> None:
    with server.connect() as client:
        for request in (b"WAIT\r\n", b"SLOW\r\n"):
            server.call(lambda: setattr(server.node, "gate", None))
            client.send(request)
            server.wait_until(lambda: server.node.gate is not None, "it waits")
            until_s = server.call(server.server.now_s) + 0.06
            server.wait_until(partial(passed, server, until_s), "some time")
            server.call(lambda: server.node.open_gate(b"x"))
            client.expect(b"$1\r\nx\r\n")
        rows = server.call(lambda: dict(server.server.observer.stats.rows))
        assert rows["wait"].time_ns < 50_000_000 <= rows["slow"].time_ns
