"""The same requests to a real Valkey and to our client port: the answers are the same bytes (S11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import Reply
from clusterbus.client_port.requests import INLINE_LEN_MAX_BYTES

from tests.client_port.harness import Client, multibulk, running
from tests.peers.server import Server

pytestmark = pytest.mark.processes

PASSWORD = "secret word"


def never(_node: object, _client: object, _arguments: list[bytes]) -> Reply:
    raise AssertionError("a refused request reached its handler")


# Containers with Valkey's names and arities, to compare how wrong requests are refused.
CONTAINERS = (
    CommandSpec(
        "cluster",
        None,
        -2,
        subcommands=(CommandSpec("info", never, 2), CommandSpec("meet", never, -4)),
    ),
    CommandSpec("config", None, -2, subcommands=(CommandSpec("set", never, -4),)),
)

REQUESTS = [
    b"PING\r\n",
    b"PING\n",
    b"ping hello\r\n",
    b'PING "a b" c\r\n',
    b"PING a b\r\n",
    multibulk(b"PING"),
    multibulk(b"PiNg", b"\x00\r\n\xff"),
    b"*0\r\nPING\r\n",
    b"*-1\r\nPING\r\n",
    b"\r\n\r\nPING\r\n",
    b'PING "a\r\n',
    *(
        b"ECHO %b\r\n" % word
        for word in (
            b"'a'b",
            b'x"a b"y',
            b"\"a\"'b'c",
            b"'a'b'",
            b"''a",
            rb"'it\'s'",
            rb"'x\'",
            rb'"\"',
            rb"'x\' 'y'",
            rb"'\\'",
            rb'"\xzz\x41\n\q"',
            b'"a\rb"',
            b"a\x0bb",
            b"\x0ba",
            b"a\x0c",
            b'"a\\',
            b"a\\ b",
            b"a\rb",
        )
    ),
    b"*x\r\n",
    b"*01\r\n",
    b"*99999999999\r\n",
    b"*2147483648\r\n",
    b"*1\r\n+PING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$4\r\nPINGxxPING\r\n",
    b"PING\r\n*x\r\n",
    b"FOO\r\n",
    b"FOO a b\r\n",
    b"FOO \"a\\nb\" 'x y' " + b"z" * 200 + b"\r\n",
    b"F" * 300 + b" a\r\n",
    multibulk(b"", b"a"),
    multibulk(b"FOO|BAR"),
    multibulk(b"client|id"),
    b"CLUSTER\r\n",
    b"CLUSTER FOO\r\n",
    b"CLUSTER " + b"x" * 200 + b"\r\n",
    b'cluster "a\\nb"\r\n',
    b"CLUSTER MEET\r\n",
    b"CLUSTER INFO x\r\n",
    b"CONFIG SET a\r\n",
    b"ECHO\r\n",
    b"ECHO a\r\n",
    b"QUIT\r\nPING\r\n",
    b"QUIT now\r\n",
    b"RESET\r\n",
    b"SELECT\r\n",
    b"SELECT 0\r\n",
    b"SELECT 1\r\n",
    b"SELECT -1\r\n",
    b"SELECT 00\r\n",
    b"SELECT x\r\n",
    b"SELECT 99999999999\r\n",
    b"SELECT -2147483649\r\n",
    b"SELECT 2147483647\r\n",
    b"SELECT 99999999999999999999\r\n",
    b"READONLY\r\nREADWRITE\r\nASKING\r\n",
    b"AUTH\r\n",
    b"AUTH x\r\n",
    b"AUTH default x\r\n",
    b"AUTH foo x\r\n",
    b"AUTH a b c\r\n",
    b"HELLO x\r\n",
    b"HELLO 1\r\n",
    b"HELLO 4\r\n",
    b"HELLO 3 FOO\r\n",
    b"HELLO 3 AUTH a\r\n",
    b"HELLO 3 AUTH foo bar\r\n",
    b"HELLO 3 SETNAME\r\n",
    b'HELLO 3 SETNAME "a b"\r\n',
    b"CLIENT\r\n",
    b"CLIENT FOO\r\n",
    b"CLIENT MAINT_NOTIFICATIONS ON\r\n",
    b"CLIENT ID x\r\n",
    b"CLIENT GETNAME\r\n",
    b"CLIENT SETNAME\r\n",
    b'CLIENT SETNAME "a b"\r\n',
    b"CLIENT SETNAME abc\r\nCLIENT GETNAME\r\n",
    b'CLIENT SETNAME abc\r\nCLIENT SETNAME ""\r\nCLIENT GETNAME\r\n',
    b"CLIENT SETINFO LIB-NAME x\r\n",
    b"CLIENT SETINFO FOO x\r\n",
    b'CLIENT SETINFO lib-name "a b"\r\n',
    b'CLIENT SETINFO LIB-ver "a b"\r\n',
    b"CLIENT NO-EVICT on\r\n",
    b"CLIENT NO-EVICT x\r\n",
    b"CLIENT NO-TOUCH on\r\n",
    b"CLIENT REPLY ON\r\n",
    b"CLIENT REPLY x\r\n",
    b"CLIENT REPLY SKIP\r\nECHO 1\r\nECHO 2\r\n",
    b"CLIENT REPLY OFF\r\nECHO 1\r\nCLIENT REPLY ON\r\nECHO 2\r\n",
    b"CLIENT KILL\r\n",
    b"CLIENT KILL FOO\r\n",
    b"CLIENT KILL 1.1.1.1:1\r\n",
    b"CLIENT KILL ID 99999\r\n",
    b"CLIENT KILL ID 0\r\n",
    b"CLIENT KILL ID x\r\n",
    b"CLIENT KILL ID\r\n",
    b"CLIENT KILL ADDR a SKIPME foo\r\n",
    b"CLIENT KILL TYPE foo\r\n",
    b"CLIENT KILL USER nobody\r\n",
    b"CLIENT LIST ID 99999\r\n",
    b"CLIENT LIST TYPE foo\r\n",
    b"CLIENT LIST FOO\r\n",
    b"CLIENT CAPA redirect\r\n",
    b"CLIENT GETREDIR\r\n",
    b"CLIENT TRACKINGINFO\r\n",
    b"COMMAND FOO\r\n",
    b"COMMAND INFO foo\r\n",
    b"COMMAND INFO ping\r\n",
    b"COMMAND GETKEYS\r\n",
    b"COMMAND GETKEYS ping\r\n",
    b"COMMAND GETKEYS foo\r\n",
    b"COMMAND LIST FOO\r\n",
    b"COMMAND LIST FILTERBY ACLCAT foo\r\n",
    b"COMMAND LIST FILTERBY PATTERN ech?\r\n",
    b"COMMAND DOCS foo\r\n",
    b"POST / HTTP/1.1\r\n",
]
"""Each is sent on a connection of its own."""

TOO_LONG = [
    (b"A" * (INLINE_LEN_MAX_BYTES + 1000)),
    (b"*" + b"1" * (INLINE_LEN_MAX_BYTES + 1000)),
    (b"*1\r\n$" + b"1" * (INLINE_LEN_MAX_BYTES + 1000)),
]

BEFORE_THE_PASSWORD = [
    b"PING\r\n",
    b"FOO\r\n",
    b"ECHO\r\n",
    b"CLUSTER FOO\r\n",
    b"CLIENT SETNAME x\r\n",
    b"COMMAND COUNT\r\n",
    b"HELLO\r\n",
    b"HELLO 3\r\n",
    b"HELLO 3 SETNAME x\r\n",
    b"HELLO 4\r\n",
    b"HELLO 3 AUTH default wrong\r\n",
    b"AUTH wrong\r\n",
    b"AUTH default wrong\r\n",
    b"AUTH\r\n",
    b'AUTH "secret word"\r\nPING\r\n',
    b'AUTH default "secret word"\r\nPING\r\n',
    b'AUTH "secret word"\r\nRESET\r\nPING\r\n',
    b'AUTH "secret word"\r\nAUTH wrong\r\nPING\r\n',
    b'HELLO 3 AUTH default "secret word" SETNAME "a b"\r\nPING\r\n',
    b"QUIT\r\n",
    b"RESET\r\n",
    b"*11\r\n$1\r\n",
    b"*2\r\n$4\r\nPING\r\n$16385\r\n",
]

IN_RESP3 = [
    b"CLIENT GETNAME\r\n",
    b"COMMAND INFO foo ping\r\n",
    b"CLIENT TRACKINGINFO\r\n",
    b"COMMAND DOCS foo\r\n",
]

END = b"QUIT\r\n"


def answer(port: int, request: bytes, before: bytes = b"") -> bytes:
    """Everything that the server sends after a request and a QUIT, until it closes the connection."""
    with Client(port) as client:
        if before:
            client.send(before + b"ECHO the-end\r\n")
            client.read_until(b"the-end\r\n")
        client.send(request + END)
        return client.expect_close()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """Starts Valkeys in cluster mode and stops them."""
    started: list[Server] = []

    def start() -> Server:
        started.append(Server("valkey", tmp_path_factory.mktemp("valkey")))
        return started[-1].start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def ports(valkey: Callable[[], Server]) -> Iterator[tuple[int, int]]:
    """The ports of a Valkey in cluster mode and of our server."""
    theirs = valkey()
    with running(*CONTAINERS) as ours:
        yield theirs.port, ours.config.port


@pytest.fixture(scope="module")
def locked_ports(valkey: Callable[[], Server]) -> Iterator[tuple[int, int]]:
    """The ports of two such servers that demand a password."""
    theirs = valkey()
    with running(*CONTAINERS, requirepass=PASSWORD) as ours:
        with Client(theirs.port) as client:
            client.ask(f'CONFIG SET requirepass "{PASSWORD}"\r\n'.encode(), b"+OK\r\n")
        yield theirs.port, ours.config.port


@pytest.mark.parametrize("request_", REQUESTS)
def test_answers_are_valkeys(ports: tuple[int, int], request_: bytes) -> None:
    theirs, ours = (answer(port, request_) for port in ports)
    assert ours == theirs


@pytest.mark.parametrize("request_", TOO_LONG, ids=["inline", "count", "length"])
def test_complaints_about_endless_lines_are_valkeys(ports: tuple[int, int], request_: bytes) -> None:
    """Only the first line is compared: what follows depends on when the socket is reset."""
    answers = []
    for port in ports:
        with Client(port) as client:
            client.send(request_)
            answers.append(client.read_until(b"\r\n"))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("request_", IN_RESP3)
def test_answers_in_resp3_are_valkeys(ports: tuple[int, int], request_: bytes) -> None:
    theirs, ours = (answer(port, request_, b"HELLO 3\r\n") for port in ports)
    assert ours == theirs


@pytest.mark.parametrize("request_", BEFORE_THE_PASSWORD)
def test_answers_before_the_password_are_valkeys(locked_ports: tuple[int, int], request_: bytes) -> None:
    theirs, ours = (answer(port, request_) for port in locked_ports)
    assert ours == theirs
