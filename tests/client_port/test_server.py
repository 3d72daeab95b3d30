"""The client port over real sockets: order, limits, back-pressure, passwords, TLS, closing (S11)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from clusterbus.client_port import rounds
from clusterbus.client_port.commands.introspection import standard_registry
from clusterbus.client_port.connection import OUTPUT_LEN_MAX_BYTES, READ_AHEAD_BYTES, REQUESTS_PER_TURN_MAX
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import Push, Reply, error
from clusterbus.client_port.requests import RequestParser
from clusterbus.client_port.server import RespServer
from clusterbus.config import Config
from clusterbus.errors import ConfigError, StateError
from clusterbus.runtime.live_certificates import LiveCertificates

from tests.client_port.harness import ANSWER_DEADLINE_S, Client, Node, Running, multibulk, running
from tests.loops import LOOPS
from tests.peers.ports import free_port
from tests.peers.tls import Certificates


def seen(node: Node, _client: object, arguments: list[bytes]) -> Reply:
    node.seen.append(arguments)
    return len(arguments)


async def gated(node: Node, _client: object, _arguments: list[bytes]) -> Reply:
    node.gate = asyncio.get_running_loop().create_future()
    return await node.gate


def big(_node: Node, _client: object, arguments: list[bytes]) -> Reply:
    return bytes(int(arguments[0]))


def refuse(_node: Node, _client: object, _arguments: list[bytes]) -> Reply:
    raise StateError("slot 7 is taken")


async def refuse_later(_node: Node, _client: object, _arguments: list[bytes]) -> Reply:
    raise StateError("slot 8 is taken")


def broken(_node: Node, _client: object, _arguments: list[bytes]) -> Reply:
    raise ZeroDivisionError


COMMANDS = (
    CommandSpec("seen", seen, -1),
    CommandSpec("gated", gated, 1),
    CommandSpec("big", big, 2),
    CommandSpec("refuse", refuse, 1),
    CommandSpec("refuselater", refuse_later, 1),
    CommandSpec("broken", broken, 1),
)


@pytest.fixture(params=sorted(LOOPS))
def running_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(*COMMANDS, loop_name=request.param) as server:
        yield server


@pytest.fixture
def client(running_server: Running) -> Iterator[Client]:
    with running_server.connect() as one:
        yield one


# ---------------------------------------------------------------- requests and replies


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    count = REQUESTS_PER_TURN_MAX * 3 + 1
    client.send(b"".join(multibulk(b"ECHO", b"%d" % i) for i in range(count)))
    client.expect(b"".join(b"$%d\r\n%d\r\n" % (len(str(i)), i) for i in range(count)))


def test_one_long_pipeline_does_not_keep_others_waiting(running_server: Running) -> None:
    """A turn ends after REQUESTS_PER_TURN_MAX requests, even if more are waiting."""
    with running_server.connect() as busy, running_server.connect() as other:
        other.ask(b"PING\r\n", b"+PONG\r\n")
        count = REQUESTS_PER_TURN_MAX * 20
        turns: list[int] = []

        def look() -> None:
            turns.append(len(running_server.node.seen))
            if len(running_server.node.seen) < count:
                running_server.loop.call_soon(look)

        running_server.loop.call_soon_threadsafe(look)
        busy.ask(b"seen\r\n" * count, b":0\r\n" * count)
        steps = [after - before for before, after in pairwise(turns)]
        assert max(steps) <= REQUESTS_PER_TURN_MAX


def test_many_clients_do_not_keep_the_loop_from_everything_else(
    running_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a round has time for one request, of whichever client."""
    monkeypatch.setattr(rounds, "ROUND_MAX_S", 0.0)
    clients, each = 8, 20
    turns: list[int] = []

    def look() -> None:
        turns.append(len(running_server.node.seen))
        if len(running_server.node.seen) < clients * each:
            running_server.loop.call_soon(look)

    with contextlib.ExitStack() as stack:
        all_of_them = [stack.enter_context(running_server.connect()) for _ in range(clients)]
        running_server.loop.call_soon_threadsafe(look)
        for one in all_of_them:
            one.send(b"seen\r\n" * each)
        for one in all_of_them:
            one.expect(b":0\r\n" * each)
        assert max(after - before for before, after in pairwise(turns)) == 1


def test_requests_before_the_end_of_a_connection_are_answered(
    running_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`echo PING | nc` gets its answer, be the loop ever so busy."""
    monkeypatch.setattr(rounds, "ROUND_MAX_S", 0.0)
    with running_server.connect() as client:
        client.send(b"seen\r\n" * 50)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.expect_close() == b":0\r\n" * 50


def test_telnet_works(client: Client) -> None:
    client.ask(b"ping\r\n", b"+PONG\r\n")
    client.ask(b'echo "a\\x41 b"\n', b"$4\r\naA b\r\n")


def test_sixteen_thousand_arguments_reach_the_handler(running_server: Running, client: Client) -> None:
    words = [b"%d" % slot for slot in range(16_384)]
    client.ask(multibulk(b"SEEN", *words), b":16384\r\n")
    assert running_server.node.seen == [words]


def test_a_handler_that_waits_holds_back_its_own_client_only(running_server: Running, client: Client) -> None:
    client.send(b"GATED\r\nPING\r\n")
    running_server.wait_until(lambda: running_server.node.gate is not None, "the handler runs")
    with running_server.connect() as other:
        other.ask(b"PING\r\n", b"+PONG\r\n")
    running_server.call(lambda: running_server.node.open_gate(b"now"))
    client.expect(b"$3\r\nnow\r\n+PONG\r\n")


def test_a_client_that_leaves_while_its_handler_waits_leaves_nothing_behind(running_server: Running) -> None:
    with running_server.connect() as one:
        one.send(b"GATED\r\n")
        running_server.wait_until(lambda: running_server.node.gate is not None, "the handler runs")
    running_server.wait_until(lambda: not running_server.server.clients, "the client is forgotten")
    gate = running_server.node.gate
    assert gate is not None
    running_server.wait_until(gate.cancelled, "the waiting handler is cancelled")


def test_errors_of_handlers_are_replies(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.ask(b"REFUSE\r\n", b"-ERR slot 7 is taken\r\n")
    client.ask(b"REFUSELATER\r\n", b"-ERR slot 8 is taken\r\n")
    client.ask(b"BROKEN\r\n", b"-ERR internal error in 'broken', see the log\r\n")
    client.ask(b"PING\r\n", b"+PONG\r\n")
    assert "ZeroDivisionError" in caplog.text


def test_a_protocol_error_is_told_after_the_good_requests_then_closed(running_server: Running, client: Client) -> None:
    """H34 for the client port: the requests before the error are still answered."""
    client.send(b"PING\r\n*x\r\nPING\r\n")
    assert client.expect_close() == b"+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"
    assert running_server.server.stats()["protocol_errors"] == 1


def test_a_web_page_gets_no_answer(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.expect_close() == b""


def test_quit_answers_and_runs_nothing_more(running_server: Running, client: Client) -> None:
    client.send(b"QUIT\r\nSEEN\r\n")
    assert client.expect_close() == b"+OK\r\n"
    assert running_server.node.seen == []


# ---------------------------------------------------------------- back-pressure


def test_a_client_that_does_not_read_is_not_served_further(running_server: Running, client: Client) -> None:
    """Requests wait while the output buffer is full. When the client reads again, nothing was lost."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.ask(b"PING\r\n", b"+PONG\r\n")
    size, count = 512 * 1024, 60
    client.send(b"".join(b"BIG %d\r\n" % size for _ in range(count)) + b"SEEN\r\n")
    running_server.wait_until(
        lambda: next(iter(running_server.server.clients.values())).connection.output_len_bytes() > 2**20,
        "the output buffer fills",
    )
    one = next(iter(running_server.server.clients.values()))
    assert running_server.node.seen == []
    assert one.commands_processed < count
    assert one.connection.output_len_bytes() < 4 * 2**20
    for _ in range(count):
        client.expect(b"$%d\r\n" % size)
        client.expect(bytes(size) + b"\r\n")
    client.expect(b":0\r\n")


def send_until_full(client: Client, data: bytes) -> int:
    """Sends `data` again and again until the socket accepts nothing for half a second; returns the bytes sent."""
    sent = 0
    client.socket.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while sent < 200 * 2**20:
            sent += client.socket.send(data)
    client.socket.settimeout(ANSWER_DEADLINE_S)
    assert sent < 200 * 2**20, "the server takes whatever it is sent"
    return sent


def test_requests_behind_a_waiting_one_are_bounded(running_server: Running, client: Client) -> None:
    """While a request waits, the server reads only READ_AHEAD_BYTES ahead; it reads the rest afterwards."""
    client.send(b"GATED\r\n")
    running_server.wait_until(lambda: running_server.node.gate is not None, "the handler runs")
    line = b"SEEN " + b"x" * 1000 + b"\r\n"
    sent = send_until_full(client, line * 100)
    client.socket.shutdown(socket.SHUT_WR)
    one = next(iter(running_server.server.clients.values()))
    held = running_server.call(one.connection.query_buffer_len_bytes)
    assert READ_AHEAD_BYTES < held < 2 * READ_AHEAD_BYTES + 2**18
    running_server.call(lambda: running_server.node.open_gate(b"now"))
    client.expect(b"$3\r\nnow\r\n")
    client.expect(b":1\r\n" * (sent // len(line)))


def test_pushes_nobody_reads_close_the_client_at_the_limit(running_server: Running, client: Client) -> None:
    """H40 for the client port."""
    client.ask(b"PING\r\n", b"+PONG\r\n")
    one = next(iter(running_server.server.clients.values()))
    chunk = bytes(1024 * 1024)

    def push_until_closed() -> int:
        pushes = 0
        while running_server.server.stats()["client_output_buffer_limit_disconnections"] == 0:
            one.connection.send(Push([chunk]))
            pushes += 1
            assert pushes < 200
        return pushes

    assert running_server.call(push_until_closed) > OUTPUT_LEN_MAX_BYTES // len(chunk)
    client.expect_close()
    running_server.wait_until(lambda: not running_server.server.clients, "the client is gone")


def test_a_push_reaches_the_client_out_of_turn(running_server: Running, client: Client) -> None:
    client.ask(b"CLIENT ID\r\n", b":1\r\n")
    one = running_server.server.clients[1]
    running_server.call(lambda: one.connection.send(Push(["hello"])))
    client.expect(b"*1\r\n$5\r\nhello\r\n")


# ---------------------------------------------------------------- who may connect


def test_clients_beyond_maxclients_are_told_and_closed(running_server: Running, client: Client) -> None:
    """H43: the table of clients has a limit."""
    client.ask(b"PING\r\n", b"+PONG\r\n")
    running_server.call(lambda: running_server.config.set("maxclients", "1"))
    with running_server.connect() as late:
        assert late.expect_close() == b"-ERR max number of clients reached\r\n"
    assert running_server.server.stats()["rejected_connections"] == 1
    client.ask(b"PING\r\n", b"+PONG\r\n")


def own_address() -> str | None:
    """An address of this machine that is not loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address


@pytest.mark.parametrize(
    ("keywords", "served"), [({}, False), ({"protected_mode": False}, True), ({"requirepass": "x"}, True)]
)
def test_protected_mode_serves_this_machine_only(keywords: dict[str, Any], served: bool) -> None:
    address = own_address()
    if address is None:
        pytest.skip("needs an address besides loopback")
    with running(bind=[address, "127.0.0.1"], **keywords) as server:
        with server.connect() as local:
            local.ask(b"QUIT\r\n", b"+OK\r\n")
        with Client(server.config.port, host=address) as foreign:
            if served:
                foreign.ask(b"QUIT\r\n", b"+OK\r\n")
            else:
                assert foreign.expect_close().startswith(b"-DENIED protected-mode is yes")


def test_idle_clients_are_closed_after_timeout(running_server: Running, client: Client) -> None:
    client.ask(b"PING\r\n", b"+PONG\r\n")
    one = next(iter(running_server.server.clients.values()))
    running_server.call(lambda: running_server.config.set("timeout", "5"))
    running_server.call(lambda: setattr(one, "last_interaction_s", one.last_interaction_s - 6))
    assert client.expect_close() == b""


def test_a_password_set_at_run_time_asks_new_clients_only(running_server: Running, client: Client) -> None:
    client.ask(b"PING\r\n", b"+PONG\r\n")
    running_server.call(lambda: running_server.config.set("requirepass", "secret"))
    client.ask(b"PING\r\n", b"+PONG\r\n")
    with running_server.connect() as new:
        new.ask(b"PING\r\n", b"-NOAUTH Authentication required.\r\n")
        new.ask(b"AUTH secret\r\nPING\r\n", b"+OK\r\n+PONG\r\n")
        new.ask(b"RESET\r\nPING\r\n", b"+RESET\r\n-NOAUTH Authentication required.\r\n")


def test_reset_undoes_what_the_client_set(running_server: Running, client: Client) -> None:
    client.ask(b"CLIENT SETNAME me\r\nREADONLY\r\nCLIENT NO-EVICT on\r\n", b"+OK\r\n" * 3)
    client.send(b"HELLO 3\r\nECHO the-end\r\n")
    client.read_until(b"the-end\r\n")
    client.ask(b"RESET\r\nCLIENT GETNAME\r\n", b"+RESET\r\n$-1\r\n")
    one = next(iter(running_server.server.clients.values()))
    assert (one.protocol, one.readonly, one.no_evict, one.name) == (2, False, False, "")


def test_a_failed_hello_changes_nothing(running_server: Running, client: Client) -> None:
    client.ask(b"CLIENT SETNAME me\r\n", b"+OK\r\n")
    client.send(b"HELLO 3 SETNAME you BAD\r\nCLIENT GETNAME\r\n")
    client.expect(b"-ERR Syntax error in HELLO option 'BAD'\r\n$2\r\nme\r\n")
    assert next(iter(running_server.server.clients.values())).protocol == 2


def test_hello_tells_about_the_node(client: Client) -> None:
    client.ask(
        b"HELLO 3 SETNAME me\r\n",
        b"%7\r\n$6\r\nserver\r\n$4\r\ntest\r\n$7\r\nversion\r\n$5\r\n1.2.3\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n"
        b"$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
    )
    client.ask(b"CLIENT GETNAME\r\n", b"$2\r\nme\r\n")


# ---------------------------------------------------------------- CLIENT


def fields(line: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.decode().split())


def client_line(client: Client, request: bytes) -> dict[str, str]:
    client.send(request)
    length = int(client.read_until(b"\r\n")[1:])
    line = client.read_until(b"\r\n")
    assert len(line) == length + 2
    return fields(line)


def test_client_info_describes_the_connection(running_server: Running, client: Client) -> None:
    request = b"CLIENT SETNAME me\r\nCLIENT SETINFO LIB-NAME lib\r\nCLIENT SETINFO lib-ver 7\r\n"
    client.ask(request, b"+OK\r\n" * 3)
    info = client_line(client, b"CLIENT INFO\r\n")
    host, port = client.socket.getsockname()
    assert info["addr"] == f"{host}:{port}"
    assert info["laddr"] == f"127.0.0.1:{running_server.config.port}"
    expected = {"id": "1", "name": "me", "lib-name": "lib", "lib-ver": "7", "cmd": "client|info", "resp": "2"}
    assert expected.items() <= info.items()
    assert int(info["tot-net-in"]) == len(request) + len(b"CLIENT INFO\r\n")
    assert int(info["tot-net-out"]) == len(b"+OK\r\n" * 3)
    assert info["tot-cmds"] == "4"


def test_client_list_and_kill_take_filters(running_server: Running) -> None:
    with running_server.connect() as a, running_server.connect() as b:
        a.ask(b"CLIENT SETNAME a\r\n", b"+OK\r\n")
        b.ask(b"CLIENT SETNAME b\r\n", b"+OK\r\n")
        assert client_line(a, b"CLIENT LIST ID 2\r\n")["name"] == "b"
        assert client_line(a, b"CLIENT LIST NAME a TYPE normal USER default\r\n")["name"] == "a"
        a.ask(b"CLIENT LIST TYPE replica\r\n", b"$0\r\n\r\n")
        a.ask(b"CLIENT LIST MAXAGE 1000\r\n", b"$0\r\n\r\n")
        a.ask(b"CLIENT KILL NAME a\r\n", b":0\r\n")
        a.ask(b"CLIENT KILL ID 2\r\n", b":1\r\n")
        assert b.expect_close() == b""
        a.send(b"CLIENT KILL NAME a SKIPME no\r\nPING\r\n")
        assert a.expect_close() == b":1\r\n"


def test_client_kill_by_address(running_server: Running) -> None:
    with running_server.connect() as a, running_server.connect() as b:
        b.ask(b"PING\r\n", b"+PONG\r\n")
        host, port = b.socket.getsockname()
        a.ask(f"CLIENT KILL {host}:{port}\r\n".encode(), b"+OK\r\n")
        assert b.expect_close() == b""


def test_client_reply_off_and_skip(client: Client) -> None:
    client.ask(b"CLIENT REPLY SKIP\r\nECHO 1\r\nECHO 2\r\n", b"$1\r\n2\r\n")
    client.ask(b"CLIENT REPLY OFF\r\nECHO 3\r\nCLIENT REPLY ON\r\nECHO 4\r\n", b"+OK\r\n$1\r\n4\r\n")


def test_command_describes_the_table(client: Client) -> None:
    client.ask(
        b"COMMAND INFO echo none\r\n",
        b"*2\r\n*10\r\n$4\r\necho\r\n:2\r\n*3\r\n+loading\r\n+stale\r\n+fast\r\n:0\r\n:0\r\n:0\r\n"
        b"*2\r\n+@fast\r\n+@connection\r\n*0\r\n*0\r\n*0\r\n$-1\r\n",
    )
    client.ask(b"COMMAND GETKEYS ping\r\n", b"-ERR The command has no key arguments\r\n")
    client.ask(b"COMMAND LIST FILTERBY PATTERN e?ho\r\n", b"*1\r\n$4\r\necho\r\n")


def test_command_getkeys_finds_keys() -> None:
    with running(CommandSpec("copyall", seen, -3, keys=(1, -2, 2))) as server, server.connect() as client:
        client.ask(b"COMMAND GETKEYS copyall a 1 b 2 end\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n")
        client.ask(b"COMMAND GETKEYS copyall a\r\n", b"-ERR Invalid number of arguments specified for command\r\n")


# ---------------------------------------------------------------- ports


def test_several_addresses_and_missing_optional_ones() -> None:
    with running(bind=["127.0.0.1", "127.0.0.2", "-192.0.2.1", "-::1"]) as server:
        hosts = [host for host, _ in server.server.addresses]
        assert hosts[:2] == ["127.0.0.1", "127.0.0.2"]
        assert "192.0.2.1" not in hosts
        with Client(server.config.port, host="127.0.0.2") as client:
            client.ask(b"PING\r\n", b"+PONG\r\n")


@pytest.mark.parametrize("loop_name", LOOPS)
def test_the_port_moves_and_connections_stay_p41(loop_name: str) -> None:
    with running(loop_name=loop_name) as server, server.connect() as client:
        client.ask(b"PING\r\n", b"+PONG\r\n")
        old, new = server.config.port, free_port()
        server.call(lambda: server.config.set_many([("port", str(new)), ("bind", "127.0.0.1 127.0.0.2")]))
        client.ask(b"PING\r\n", b"+PONG\r\n")
        for host in ("127.0.0.1", "127.0.0.2"):
            with Client(new, host=host) as other:
                other.ask(b"PING\r\n", b"+PONG\r\n")
        with pytest.raises(ConnectionRefusedError):
            Client(old)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"can't listen on 127.0.0.1:{port}: Address already in use"):
                server.call(lambda: server.config.set("port", str(port)))
        assert server.config.port == new
        with Client(new) as other:
            other.ask(b"PING\r\n", b"+PONG\r\n")


def test_a_tls_port_opens_and_closes_p41(certificates: Certificates) -> None:
    files: dict[str, Any] = {
        name.replace("-", "_"): value for name, value in certificates.directives().items() if "file" in name
    }
    with running(**files) as server:
        port = free_port()
        server.call(lambda: server.config.set("tls-port", str(port)))
        with Client(port, certificates.client_context()) as client:
            client.ask(b"PING\r\n", b"+PONG\r\n")
            server.call(lambda: server.config.set("tls-port", "0"))
            client.ask(b"PING\r\n", b"+PONG\r\n")
        with pytest.raises(ConnectionRefusedError):
            Client(port, certificates.client_context())


def start_failure(**keywords: Any) -> str:
    async def start() -> None:
        config = Config.from_keywords(**{"bind": "127.0.0.1", **keywords})
        await RespServer(None, config, standard_registry(), certificates=LiveCertificates(config)).start()

    with pytest.raises(ConfigError) as caught:
        asyncio.run(start())
    return str(caught.value)


def test_a_port_in_use_is_one_clear_error_and_nothing_stays_open() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.listen()
        port = other.getsockname()[1]
        keywords = {"bind": ["127.0.0.1", "127.0.0.2"], "port": port, "cluster_port": 1}
        before = len(os.listdir("/proc/self/fd"))
        assert start_failure(**keywords) == f"can't listen on 127.0.0.2:{port}: Address already in use"
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_a_tls_port_in_use_closes_the_plain_port_again(certificates: Certificates) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        port = free_port()
        before = len(os.listdir("/proc/self/fd"))
        failure = start_failure(port=port, tls_port=taken, **tls_keywords(certificates, "yes"))
        assert failure == f"can't listen on 127.0.0.1:{taken}: Address already in use"
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_a_missing_address_is_an_error_unless_optional() -> None:
    port = free_port()
    assert start_failure(bind=["127.0.0.1", "192.0.2.1"], port=port) == (
        f"can't listen on 192.0.2.1:{port}: Cannot assign requested address"
    )
    assert start_failure(bind=["-192.0.2.1"], port=port) == (
        f"port {port}: no address of 'bind -192.0.2.1' can be listened on"
    )


def test_close_lets_queued_replies_out_then_ends_every_client(running_server: Running) -> None:
    with running_server.connect() as one:
        one.ask(b"PING\r\n", b"+PONG\r\n")
        asyncio.run_coroutine_threadsafe(running_server.server.close(), running_server.loop).result(ANSWER_DEADLINE_S)
        assert one.expect_close() == b""
    with pytest.raises(ConnectionRefusedError):
        running_server.connect()


def test_counters_count_and_reset(running_server: Running, client: Client) -> None:
    """R24: CONFIG RESETSTAT sets these counters back."""
    answer = b"+PONG\r\n-ERR unknown command 'NONE', with args beginning with: \r\n"
    client.ask(b"PING\r\nNONE\r\n", answer)
    stats = running_server.server.stats()
    assert stats["connected_clients"] == 1
    assert stats["total_connections_received"] == 1
    assert stats["total_commands_processed"] == 2
    assert stats["total_error_replies"] == 1
    assert stats["total_net_input_bytes"] == 12
    assert stats["total_net_output_bytes"] == len(answer)
    running_server.call(running_server.server.reset_stats)
    assert running_server.server.stats()["total_commands_processed"] == 0
    assert running_server.server.stats()["connected_clients"] == 1


def test_keepalive_is_on_for_clients(running_server: Running, client: Client) -> None:
    """H32 for the client port: the kernel ends half-open connections."""
    client.ask(b"PING\r\n", b"+PONG\r\n")
    descriptor = next(iter(running_server.server.clients.values())).descriptor
    with socket.socket(fileno=os.dup(descriptor)) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 300


# ---------------------------------------------------------------- TLS


def tls_keywords(certificates: Certificates, auth_clients: str) -> dict[str, Any]:
    return {
        "tls_cert_file": certificates.cert_file,
        "tls_key_file": certificates.key_file,
        "tls_ca_cert_file": certificates.ca_cert_file,
        "tls_auth_clients": auth_clients,
    }


def is_served(server: Running, context: ssl.SSLContext) -> bool:
    """Whether a TLS client gets an answer. In TLS 1.3 the client learns of a refusal at its first read."""
    try:
        with server.connect(context) as client:
            client.send(b"PING\r\n")
            return client.read_until(b"\r\n") == b"+PONG\r\n"
    except (ssl.SSLError, AssertionError, ConnectionError):
        return False


@pytest.mark.parametrize("loop_name", sorted(LOOPS))
@pytest.mark.parametrize(
    ("auth_clients", "bare", "stranger"),
    [("yes", False, False), ("optional", True, False), ("no", True, True)],
)
def test_tls_clients_show_certificates_as_asked(
    certificates: Certificates,
    stranger_certificates: Certificates,
    loop_name: str,
    auth_clients: str,
    bare: bool,
    stranger: bool,
) -> None:
    """H36 for the client port."""
    keywords = tls_keywords(certificates, auth_clients)
    foreign = certificates.client_context(with_certificate=False)
    foreign.load_cert_chain(str(stranger_certificates.cert_file), str(stranger_certificates.key_file))
    with running(tls=True, loop_name=loop_name, **keywords) as server:
        assert is_served(server, certificates.client_context())
        assert is_served(server, certificates.client_context(with_certificate=False)) is bare
        assert is_served(server, foreign) is stranger
        with server.connect() as plain:
            plain.ask(b"PING\r\n", b"+PONG\r\n")


@pytest.mark.parametrize("loop_name", sorted(LOOPS))
def test_requests_that_come_together_with_the_end_of_tls_are_answered(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, loop_name: str
) -> None:
    monkeypatch.setattr(rounds, "ROUND_MAX_S", 0.0)
    count, keywords = 50, tls_keywords(certificates, "yes")
    with running(*COMMANDS, tls=True, loop_name=loop_name, **keywords) as server, Client(server.config.tls_port) as raw:
        to_us, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificates.client_context().wrap_bio(to_us, to_server, server_hostname="127.0.0.1")

        def until_done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    raw.send(to_server.read())
                    data = raw.socket.recv(1 << 16)
                    assert data, received
                    to_us.write(data)

        received = b""
        until_done(tls.do_handshake)
        tls.write(b"seen\r\n" * count)
        with contextlib.suppress(ssl.SSLError):
            tls.unwrap()  # tells of the end at once, and does not wait for the server's
        while len(received) < 4 * count:
            received += until_done(tls.read)
        assert received == b":0\r\n" * count


def test_plain_bytes_on_the_tls_port_are_refused(certificates: Certificates) -> None:
    """H35 for the client port."""
    with running(tls=True, **tls_keywords(certificates, "no")) as server:
        with Client(server.config.tls_port) as plain:
            plain.send(b"PING\r\n")
            assert b"PONG" not in plain.expect_close()
        assert is_served(server, certificates.client_context())


def test_new_certificates_serve_new_connections(
    certificates: Certificates, stranger_certificates: Certificates
) -> None:
    with running(tls=True, **tls_keywords(certificates, "yes")) as server:
        ours, theirs = certificates.client_context(), stranger_certificates.client_context()
        with server.connect(ours) as old:
            old.ask(b"PING\r\n", b"+PONG\r\n")
            assert not is_served(server, theirs)
            pairs = [
                (name.replace("_", "-"), str(value))
                for name, value in tls_keywords(stranger_certificates, "yes").items()
            ]
            server.call(lambda: server.config.set_many(pairs))
            deadline = server.loop.time() + 10
            while not is_served(server, theirs):
                assert server.loop.time() < deadline, "the new certificate never came into force"
            assert not is_served(server, ours)
            old.ask(b"PING\r\n", b"+PONG\r\n")


def test_a_bad_certificate_is_refused_and_the_old_one_stays(certificates: Certificates) -> None:
    with running(tls=True, **tls_keywords(certificates, "no")) as server:
        with pytest.raises(ConfigError, match="tls-cert-file"):
            server.call(lambda: server.config.set("tls-cert-file", str(certificates.key_file)))
        assert server.config.tls_cert_file == str(certificates.cert_file)
        assert is_served(server, certificates.client_context())


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_client_on_its_way_in_does_not_hold_up_the_end(
    loop_name: str, turns: int, tls: bool, certificates: Certificates
) -> None:
    keywords = tls_keywords(certificates, "no") if tls else {}
    with running(loop_name=loop_name, tls=tls, **keywords) as server:

        async def end() -> None:
            while not server.server._opening:
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.server.close()

        ended = asyncio.run_coroutine_threadsafe(end(), server.loop)
        port = server.config.tls_port if tls else server.config.port
        with socket.create_connection(("127.0.0.1", port)) as raw:
            ended.result(ANSWER_DEADLINE_S)
            raw.settimeout(ANSWER_DEADLINE_S)
            with contextlib.suppress(ConnectionError):
                assert raw.recv(1) == b"", "it is closed"
        assert not server.server.clients


def test_error_helper_has_a_code() -> None:
    assert error("x") == "ERR x"


@pytest.mark.parametrize("step", ["feed", "take"])
def test_a_client_for_which_no_memory_is_left_is_closed_and_counted(
    running_server: Running, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def no_memory(parser: RequestParser, *_data: bytes) -> None:
        if parser is greedy_parser:
            raise MemoryError

    server = running_server.server
    with running_server.connect() as other, running_server.connect() as greedy:
        other.ask(b"PING\r\n", b"+PONG\r\n")
        greedy.ask(b"PING\r\n", b"+PONG\r\n")
        greedy_parser = max(server.clients.values(), key=lambda one: one.id).connection._parser  # type: ignore[attr-defined]
        with monkeypatch.context() as patched:
            patched.setattr(RequestParser, step, no_memory)
            greedy.send(b"much\r\n")
            assert greedy.expect_close() == b""
        assert server.stats()["client_memory_errors"] == 1
        other.ask(b"PING\r\n", b"+PONG\r\n")
