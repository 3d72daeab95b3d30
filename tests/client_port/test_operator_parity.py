"""What an operator types in the first five minutes is answered as by Valkey 9.1.2, in RESP2 and in RESP3 (S11).

Both servers get the same requests. Errors and fixed answers are compared word by word, numbers and texts for people by
their place in the reply.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client_port.harness import multibulk
from tests.peers.cluster import wait_for_state
from tests.peers.server import Server

pytestmark = pytest.mark.processes

Peers = Callable[..., Server]
DEADLINE_S = 30.0

WORD_BY_WORD = (
    "SLOWLOG", "SLOWLOG NOPE", "SLOWLOG GET -1 x", "SLOWLOG GET -2", "SLOWLOG GET abc", "SLOWLOG RESET",
    "SLOWLOG LEN x",    "COMMANDLOG GET", "COMMANDLOG GET 1 nope", "COMMANDLOG GET x slow", "COMMANDLOG LEN nope",
    "COMMANDLOG RESET large-reply", "COMMANDLOG LEN large-reply",
    "LATENCY LATEST", "LATENCY HISTORY command", "LATENCY RESET", "LATENCY RESET command foo", "LATENCY NOPE",
    "LATENCY GRAPH command", "LATENCY HISTOGRAM nope", "LATENCY HISTORY",
    "MEMORY", "MEMORY USAGE nokey", "MEMORY USAGE nokey SAMPLES -1", "MEMORY USAGE nokey SAMPLES x",
    "MEMORY USAGE nokey NOPE", "MEMORY USAGE nokey SAMPLES 5", "MEMORY PURGE", "MEMORY MALLOC-STATS", "MEMORY NOPE",
    "ACL", "ACL WHOAMI", "ACL LIST", "ACL USERS", "ACL GETUSER default", "ACL GETUSER nobody", "ACL CAT",
    "ACL CAT nope",    "ACL LOG", "ACL LOG RESET", "ACL LOG x", "ACL GENPASS x", "ACL GENPASS 5000", "ACL GENPASS 0",
    "ACL DRYRUN default GET foo", "ACL DRYRUN default NOPE foo", "ACL DRYRUN default GET", "ACL DRYRUN nobody GET foo",
    "ACL DRYRUN default CONFIG GET", "ACL DRYRUN default CONFIG NOPE x", "ACL DELUSER nobody", "ACL DELUSER default",
    "CLIENT PAUSE", "CLIENT PAUSE x", "CLIENT PAUSE 9223372036854775807",
    "CLIENT PAUSE -1", "CLIENT PAUSE 0", "CLIENT PAUSE 1 NOPE", "CLIENT UNPAUSE",
    "CLIENT UNPAUSE x", "CLIENT UNBLOCK 99999", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 99999 NOPE",
    "CLIENT UNBLOCK 99999 ERROR", "CLIENT TRACKING", "CLIENT TRACKING off", "CLIENT TRACKING nope",
    "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT CACHING yes", "CLIENT CACHING", "CLIENT IMPORT-SOURCE on",
    "WATCH", "UNWATCH", "UNWATCH x", "WATCH foo hello", "MULTI", "WATCH foo", "UNWATCH", "EXEC", "MULTI", "UNWATCH",
    "EXEC", "MODULE LIST x", "MODULE NOPE", "LASTSAVE x", "MONITOR x", "INFO nosuchsection",
    "FAILOVER", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "SWAPDB 0 1",
    "COMMAND GETKEYSANDFLAGS GET foo", "COMMAND GETKEYSANDFLAGS PING", "COMMAND GETKEYSANDFLAGS MSET a 1 b 2",
)  # fmt: skip
"""The replies are the same bytes."""

BY_PLACE = (
    "SLOWLOG GET 1", "COMMANDLOG GET 1 slow", "SLOWLOG LEN", "COMMANDLOG LEN slow", "LATENCY DOCTOR",
    "LATENCY HISTOGRAM client|id", "MEMORY STATS", "MEMORY DOCTOR", "ACL GENPASS", "ACL GENPASS 5", "LASTSAVE",
    "LOLWUT", "CLIENT INFO", "CLIENT LIST", "INFO errorstats", "INFO commandstats", "INFO latencystats",
)  # fmt: skip
"""The replies have the same types and the same lengths of arrays; maps have the same keys."""


class Raw:
    """A connection whose replies stay bytes."""

    def __init__(self, server: Server, protocol: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
        self._file = self._socket.makefile("rb")
        if protocol == 3:
            self("HELLO 3")

    def __call__(self, line: str) -> bytes:
        self._socket.sendall(multibulk(*(word.encode() for word in line.split())))
        return self.read()

    def read(self) -> bytes:
        """One whole reply."""
        line = self._file.readline()
        mark, data = line[:1], line
        if mark in b"$=" and int(line[1:]) >= 0:
            data += self._file.read(int(line[1:]) + 2)
        if mark in b"*~>%":
            for _ in range(int(line[1:]) * (2 if mark == b"%" else 1)):
                data += self.read()
        return data

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def shape(data: bytes) -> tuple[Any, bytes]:
    """The types in a reply, with the keys of maps, and the bytes behind it."""
    line, _, rest = data.partition(b"\r\n")
    mark, count = line[:1], line[1:]
    if mark in b"$=":
        return mark, rest[max(int(count) + 2, 0) :]
    if mark not in b"*~>%":
        return (line if mark == b"-" else mark), rest
    found: list[Any] = []
    for index in range(int(count) * (2 if mark == b"%" else 1)):
        begin = rest
        one, rest = shape(rest)
        is_key = mark == b"%" and index % 2 == 0
        found.append(begin[: len(begin) - len(rest)] if is_key and one != b":" else one)
    return (mark, found), rest


@pytest.fixture(scope="module", params=[2, 3])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Raw, Raw]]:
    servers = [Server(kind, tmp_path_factory.mktemp(kind)) for kind in ("clusterbus", "valkey")]
    connections: list[Raw] = []
    try:
        for server in servers:
            server.start()
            server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_for_state(server, "ok", DEADLINE_S)
            server.call("CONFIG", "SET", "slowlog-log-slower-than", 0, "latency-monitor-threshold", 1_000)
        connections += [Raw(server, request.param) for server in servers]
        for connection in connections:
            connection("CLIENT ID")
            connection("CLIENT NOPE")
        yield connections[0], connections[1]
    finally:
        for connection in connections:
            connection.close()
        for server in servers:
            server.stop()


def test_fixed_answers_are_the_same_bytes_s11(pair: tuple[Raw, Raw]) -> None:
    ours, theirs = pair
    wrong = {line: both for line in WORD_BY_WORD if (both := (ours(line), theirs(line)))[0] != both[1]}
    assert not wrong


@pytest.mark.parametrize("line", BY_PLACE)
def test_numbers_and_texts_stand_where_valkeys_do_s11(pair: tuple[Raw, Raw], line: str) -> None:
    ours, theirs = (str(shape(connection(line))) for connection in pair)
    assert ours == theirs


def test_slow_commands_are_spikes_s11(pair: tuple[Raw, Raw]) -> None:
    for connection in pair:
        connection("CONFIG SET latency-monitor-threshold 200")
        connection("LATENCY RESET")
    for line in ("DEBUG SLEEP 0.3", "LATENCY LATEST", "LATENCY HISTORY command", "LATENCY DOCTOR"):
        ours, theirs = (shape(connection(line)) for connection in pair)
        assert ours == theirs, line
    assert [connection("LATENCY RESET command") for connection in pair] == [b":1\r\n", b":1\r\n"]


def test_slowlog_shows_what_was_slow_s11(pair: tuple[Raw, Raw]) -> None:
    for connection in pair:
        connection("SLOWLOG RESET")
        connection("ECHO " + "x" * 200)
        connection("AUTH default secret")
        connection("EXISTS " + " ".join(f"{{a}}{number}" for number in range(40)))
    ours, theirs = (connection("SLOWLOG GET 3") for connection in pair)

    def words(reply: bytes) -> list[bytes]:
        return [line for line in reply.split(b"\r\n") if line and not line.startswith((b":", b"$", b"127."))]

    assert words(ours) == words(theirs)
    assert b"(redacted)" in ours
    assert b"... (72 more bytes)" in ours
    assert b"... (10 more arguments)" in ours


def rows(server: Server) -> dict[str, Any]:
    """COMMAND as name -> arity, flags, categories, subcommands included."""
    table: dict[str, Any] = {}

    def add(row: list[Any]) -> None:
        table[row[0]] = row[1], sorted(row[2]), sorted(row[6])
        for sub in row[9]:
            add(sub)

    for row in server.call("COMMAND"):
        add(row)
    return table


COMMANDS_OF_OUR_OWN = {"cluster|topology", "clusterlog"}


def test_every_command_of_valkey_is_known_with_its_arity_flags_and_categories_s11(peers: Peers) -> None:
    ours, theirs = (rows(peers(kind)) for kind in ("clusterbus", "valkey"))
    more = {name for name in ours if {name, name.partition("|")[0]} & COMMANDS_OF_OUR_OWN}
    assert set(ours) - more == set(theirs), "none is unknown, and none is made up"
    differ = {name: (ours[name], theirs[name]) for name in theirs if ours[name] != theirs[name]}
    # The table makes HELP itself, and knows no categories of its container.
    assert {name for name in differ if not name.endswith("|help")} == set(), differ
