"""Pub/sub on the client port sends byte for byte what Valkey 9.1.2 sends (S7, S11).

A scenario is a list of requests by several clients. They are made to both servers, and after each request everything
that any client received is compared. Each client then sends a PING: its answer marks the end of what the client got.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest

from tests.client_port.harness import Client, multibulk
from tests.peers.cluster import wait_for_state, wait_until
from tests.peers.server import Server

pytestmark = pytest.mark.processes

DEADLINE_S = 30.0
Step = tuple[str, bytes]

SCENARIOS: dict[str, list[Step]] = {
    "subscribe": [
        ("a", b"SUBSCRIBE x y x"),
        ("a", b"SUBSCRIBE"),
        ("a", b'SUBSCRIBE ""'),
        ("b", b"PUBLISH x hello"),
        ("b", b'PUBLISH x ""'),
        ("b", b'PUBLISH "" empty'),
        ("b", b"PUBLISH nobody there"),
        ("b", b"PUBLISH x"),
        ("b", b"PUBLISH x y z"),
        ("b", b'PUBLISH x "\\x00\\r\\n\\xff"'),
        ("a", b"UNSUBSCRIBE x z"),
        ("b", b"PUBLISH x gone"),
        ("a", b'UNSUBSCRIBE y ""'),
        ("a", b"UNSUBSCRIBE"),
        ("a", b"ECHO free"),
    ],
    "patterns": [
        ("a", b"PSUBSCRIBE n?ws.* sport.*"),
        ("a", b"SUBSCRIBE news.art"),
        ("b", b"PUBLISH news.art hello"),
        ("b", b"PUBLISH nows.x hello"),
        ("b", b'PUBLISH "" hello'),
        ("a", b"PSUBSCRIBE"),
        ("a", b"PUNSUBSCRIBE n?ws.* other"),
        ("a", b"UNSUBSCRIBE"),
        ("b", b"PUBLISH news.art hello"),
        ("a", b"PUNSUBSCRIBE"),
        ("a", b"PUNSUBSCRIBE"),
        ("a", b"ECHO free"),
    ],
    "nothing to leave": [
        ("a", b"UNSUBSCRIBE"),
        ("a", b"UNSUBSCRIBE x y"),
        ("a", b"PUNSUBSCRIBE"),
        ("a", b"PUNSUBSCRIBE x y"),
        ("a", b"SUNSUBSCRIBE"),
        ("a", b"SUNSUBSCRIBE {x}1 {x}2"),
    ],
    "while subscribed": [
        ("a", b"SUBSCRIBE x"),
        *(
            ("a", request)
            for request in (
                b"PING",
                b"PING hello",
                b"PING a b",
                b"ECHO x",
                b"HELLO 3",
                b"AUTH x",
                b"SELECT 0",
                b"CLIENT ID",
                b"CLIENT",
                b"CLIENT FOO",
                b"COMMAND COUNT",
                b"PUBSUB CHANNELS",
                b"PUBSUB",
                b"PUBLISH x y",
                b"PUBLISH x",
                b"SPUBLISH x y",
                b"CLUSTER INFO",
                b"CONFIG GET port",
                b"ASKING",
                b"FOO",
                b"SSUBSCRIBE a b",
                b"SSUBSCRIBE x",
            )
        ),
        ("b", b"SPUBLISH x hello"),
        ("a", b"SUNSUBSCRIBE"),
        ("a", b"UNSUBSCRIBE"),
        ("a", b"ECHO free"),
    ],
    "while subscribed in RESP3": [
        ("3", b"SUBSCRIBE x"),
        ("3", b"ECHO x"),
        ("3", b"PUBSUB NUMSUB x y"),
        ("3", b"PUBLISH x to-myself"),
        ("3", b"PSUBSCRIBE x*"),
        ("3", b"SSUBSCRIBE x"),
        ("3", b"PUBLISH x to-myself-twice"),
        ("3", b"SPUBLISH x to-my-shard"),
        ("a", b"SUBSCRIBE x"),
        ("3", b"PUBLISH x to-both"),
        ("a", b"ECHO x"),
        ("3", b"UNSUBSCRIBE"),
        ("3", b"PUNSUBSCRIBE x*"),
        ("3", b"PUNSUBSCRIBE"),
        ("3", b"SUNSUBSCRIBE"),
        ("3", b"SUNSUBSCRIBE"),
    ],
    "pipelines": [
        ("a", b"SUBSCRIBE x\r\nPING\r\nUNSUBSCRIBE\r\nPUBLISH x nobody\r\nSUBSCRIBE y"),
        ("3", b"SUBSCRIBE x\r\nPUBLISH x 1\r\nPUBLISH x 2\r\nECHO between\r\nPUBLISH x 3\r\nUNSUBSCRIBE"),
        ("b", b"PUBLISH y 1\r\nPUBLISH y 2\r\nPUBLISH y 3"),
    ],
    "reset": [
        ("3", b"SUBSCRIBE x"),
        ("3", b"PSUBSCRIBE x"),
        ("3", b"SSUBSCRIBE x"),
        ("b", b"PUBSUB NUMSUB x"),
        ("3", b"RESET"),
        ("b", b"PUBLISH x nobody"),
        ("b", b"SPUBLISH x nobody"),
        ("b", b"PUBSUB NUMPAT"),
        ("b", b"PUBSUB SHARDNUMSUB x"),
        ("a", b"SUBSCRIBE x"),
        ("a", b"RESET"),
        ("a", b"ECHO free"),
    ],
    "replies off": [
        ("a", b"CLIENT REPLY SKIP\r\nSUBSCRIBE x"),
        ("a", b"UNSUBSCRIBE"),
        ("3", b"CLIENT REPLY OFF\r\nSUBSCRIBE x\r\nPUBLISH x hello\r\nUNSUBSCRIBE\r\nCLIENT REPLY ON"),
        ("3", b"CLIENT REPLY OFF\r\nSUBSCRIBE x\r\nECHO silence\r\nCLIENT REPLY ON"),
        ("b", b"PUBLISH x hello"),
    ],
    "shards": [
        ("a", b"SSUBSCRIBE {t}1 {t}2"),
        ("a", b"SSUBSCRIBE {t}1"),
        ("a", b"SSUBSCRIBE x y"),
        ("a", b"SUNSUBSCRIBE x y"),
        ("a", b"SSUBSCRIBE"),
        ("b", b"SPUBLISH {t}1 hello"),
        ("b", b"PUBLISH {t}1 not-the-same"),
        ("b", b"SPUBLISH {t}3 nobody"),
        ("b", b"SPUBLISH {t}1"),
        ("b", b"PUBSUB SHARDNUMSUB {t}1 {t}3 x"),
        ("b", b"PUBSUB SHARDNUMSUB"),
        ("b", b"PUBSUB NUMSUB {t}1"),
        ("a", b"SUNSUBSCRIBE {t}1"),
        ("b", b"PUBSUB SHARDCHANNELS"),
        ("b", b"PUBSUB SHARDCHANNELS {t}*"),
        ("b", b"PUBSUB SHARDCHANNELS x*"),
        ("a", b"SUNSUBSCRIBE"),
        ("b", b"PUBSUB SHARDCHANNELS"),
    ],
    "a slot goes": [
        ("a", b"SSUBSCRIBE t"),
        ("3", b"SSUBSCRIBE t"),
        ("a", b"SUBSCRIBE t"),
        ("3", b"CLUSTER DELSLOTS 15891"),
        ("b", b"SPUBLISH t nobody"),
        ("b", b"SSUBSCRIBE t"),
        ("b", b"SUNSUBSCRIBE t"),
        ("b", b"PUBSUB SHARDNUMSUB t"),
        ("b", b"PUBLISH t still-here"),
        ("a", b"UNSUBSCRIBE"),
        ("a", b"ECHO free"),
        ("3", b"SUNSUBSCRIBE"),
        ("b", b"CLUSTER ADDSLOTS 15891"),
        ("b", b"SPUBLISH t nobody"),
    ],
    "transactions": [
        ("b", b"SUBSCRIBE x"),
        ("a", b"MULTI\r\nPUBLISH x 1\r\nSUBSCRIBE x\r\nPUBLISH x 2\r\nEXEC"),
        ("a", b"UNSUBSCRIBE"),
        ("3", b"MULTI\r\nSUBSCRIBE x\r\nPUBLISH x 3\r\nUNSUBSCRIBE\r\nECHO between\r\nEXEC\r\nECHO after"),
        ("3", b"SUBSCRIBE y"),
        ("3", b"MULTI\r\nPUBLISH y 4\r\nECHO between\r\nPUBLISH y 5\r\nEXEC"),
        ("3", b"MULTI\r\nSSUBSCRIBE x\r\nPSUBSCRIBE\r\nEXEC"),
    ],
    "questions": [
        ("a", b"SUBSCRIBE news"),
        ("3", b"SUBSCRIBE news"),
        ("3", b"PSUBSCRIBE n* m*"),
        *(
            ("b", request)
            for request in (
                b"PUBSUB",
                b"PUBSUB FOO",
                b"PUBSUB CHANNELS",
                b"PUBSUB CHANNELS *",
                b"PUBSUB CHANNELS n[a-f]ws",
                b"PUBSUB CHANNELS x",
                b"PUBSUB CHANNELS a b",
                b"pubsub channels a b",
                b"PUBSUB SHARDCHANNELS a b",
                b"PUBSUB NUMSUB",
                b"PUBSUB NUMSUB news other",
                b"PUBSUB NUMPAT",
                b"PUBSUB NUMPAT x",
                b"PUBSUB HELP x",
                b"COMMAND INFO subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe publish spublish",
                b"COMMAND GETKEYS ssubscribe a b",
                b"COMMAND GETKEYS spublish a b",
                b"COMMAND GETKEYS publish a b",
                b"CLIENT KILL TYPE pubsub ID 999999",
                b"CONFIG GET client-output-buffer-limit",
                b'CONFIG SET client-output-buffer-limit "pubsub 1 2"',
                b'CONFIG SET client-output-buffer-limit "master 1mb 2kb 10"',
                b'CONFIG SET client-output-buffer-limit "foo 1mb 2kb 10"',
                b'CONFIG SET client-output-buffer-limit "normal 1x 2kb 10"',
                b'CONFIG SET client-output-buffer-limit "normal 1 2kb -1"',
                b'CONFIG SET client-output-buffer-limit "normal 1 2kb 0x1"',
                b'CONFIG SET client-output-buffer-limit "pubsub -1 2 3"',
                b'CONFIG SET client-output-buffer-limit ""',
                b"CONFIG GET client-output-buffer-limit",
                b'CONFIG SET client-output-buffer-limit "PubSub 32mb 8mb +60 replica 1gb 2k 3"',
                b"CONFIG GET client-output-buffer-limit",
                b"CONFIG GET cluster-allow-pubsubshard-when-down",
            )
        ),
        ("3", b"COMMAND INFO ssubscribe spublish"),
    ],
}


class Side:
    """One of the two servers, with its clients in a scenario. The client named `3` speaks RESP3."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.clients: dict[str, Client] = {}
        self._pings = 0

    def open(self, names: set[str]) -> None:
        for name in sorted(names):
            self.clients[name] = client = Client(self.server.port)
            if name == "3":
                client.send(b"HELLO 3\r\nECHO hello-is-over\r\n")
                client.read_until(b"hello-is-over\r\n")

    def close(self) -> None:
        for client in self.clients.values():
            client.socket.close()
        self.clients.clear()
        wait_until(self._is_alone, DEADLINE_S, f"{self.server} has no subscriber any more")

    def _is_alone(self) -> bool:
        return bool(self.server.call("CLIENT", "LIST", "TYPE", "pubsub") == "")

    def run(self, name: str, request: bytes) -> dict[str, bytes]:
        """One client makes a request; returns what each client receives after it."""
        self.clients[name].send(request + b"\r\n")
        others = [other for other in self.clients if other != name]
        return {one: self._read(self.clients[one]) for one in (name, *others)}

    def _read(self, client: Client) -> bytes:
        self._pings += 1
        token = b"ping-%d" % self._pings
        client.send(multibulk(b"PING", token))
        data = client.read_until(token + b"\r\n")
        return re.sub(rb"(\*2\r\n\$4\r\npong\r\n)?\$\d+\r\nping-\d+\r\n$", b"", data)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """A clusterbus node and a Valkey node; each is alone and owns all slots."""
    servers = [Server(kind, tmp_path_factory.mktemp(kind)) for kind in ("clusterbus", "valkey")]
    try:
        for server in servers:
            server.start()
            assert server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16_383) == "OK"
        for server in servers:
            wait_for_state(server, "ok", DEADLINE_S)
        yield Side(servers[0]), Side(servers[1])
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_clients_are_sent_is_valkeys_s7_s11(sides: tuple[Side, Side], name: str) -> None:
    steps = SCENARIOS[name]
    try:
        for side in sides:
            side.open({client for client, _ in steps})
        for client, request in steps:
            ours, theirs = (side.run(client, request) for side in sides)
            assert ours == theirs, request
    finally:
        for side in sides:
            side.close()


def test_client_list_shows_what_a_client_is_subscribed_to_s11(sides: tuple[Side, Side]) -> None:
    shown = []
    for side in sides:
        side.open({"3", "b"})
        try:
            for request in (b"SUBSCRIBE x y", b"PSUBSCRIBE a b c", b"SSUBSCRIBE z"):
                side.run("3", request)
            lists = {kind: side.server.call("CLIENT", "LIST", "TYPE", kind) for kind in ("pubsub", "normal")}
            shown.append([re.findall(r" (?:flags|sub|psub|ssub)=\S*", lists[kind]) for kind in lists])
            info = side.server.info()
            shown[-1].append(
                [info[f"pubsub{name}"] for name in ("_clients", "_channels", "_patterns", "shard_channels")]
            )
        finally:
            side.close()
    assert shown[0] == shown[1]
    assert shown[0][0] == [" flags=P", " sub=2", " psub=3", " ssub=1"]
    assert shown[0][2] == ["1", "2", "3", "1"]


def test_a_subscriber_is_killed_by_its_type_s11(sides: tuple[Side, Side]) -> None:
    for side in sides:
        side.open({"a", "b"})
        try:
            side.run("a", b"SUBSCRIBE x")
            assert side.server.call("CLIENT", "KILL", "TYPE", "pubsub") == 1
            assert side.clients["a"].expect_close() == b""
            assert side.server.call("PUBSUB", "NUMSUB", "x") == ["x", 0]
        finally:
            side.close()


def test_help_names_what_valkeys_help_names_s11(sides: tuple[Side, Side]) -> None:
    """The lines with subcommands and arguments are the same; the explanations between them may differ."""
    ours, theirs = ([line for line in side.server.call("PUBSUB", "HELP") if not line.startswith(" ")] for side in sides)
    assert ours == theirs


LETTERS = (b"a", b"b", b"c", b"-", b"]", b"[", b"^", b"*", b"?", b"\\", b"\xff", b"\x80", b"\x00", b"\n")
PATTERNS = (
    b"", b"*", b"**", b"?", b"[", b"[^", b"[]", b"[^]", b"[a", b"[a-", b"[a-]", b"[]-a]", b"[z-a]", b"[\\]]", b"[\\",
    b"[a\\-c]", b"[^a-c]", b"[\xff-a]", b"[a-\x80]", b"\\", b"\\*", b"a\\", b"*a", b"a*", b"*a*b*", b"a**b", b"a*?",
    b"h[ae]llo", b"h?llo", b"h*llo",
)  # fmt: skip
TEXTS = (
    b"",
    b"a",
    b"b",
    b"aa",
    b"ab",
    b"-",
    b"]",
    b"[",
    b"\\",
    b"*",
    b"\xff",
    b"\x80",
    b"\x00",
    b"\n",
    b"hello",
    b"hallo",
)


@pytest.mark.parametrize("seed", range(3))
def test_patterns_match_what_valkeys_match_s7(sides: tuple[Side, Side], seed: int) -> None:
    """Tries odd patterns from a list, and random patterns of the characters that have a meaning in a pattern."""
    random = Random(seed)
    drawn = {b"".join(random.choices(LETTERS, k=random.randint(1, 7))) for _ in range(200)}
    patterns = sorted(drawn | set(PATTERNS))
    texts = [*TEXTS, *(b"".join(random.choices(LETTERS, k=random.randint(1, 5))) for _ in range(60))]
    matched = []
    for side in sides:
        side.open({"a", "b"})
        try:
            side.clients["a"].send(multibulk(b"PSUBSCRIBE", *patterns))
            side._read(side.clients["a"])
            found = []
            for text in texts:
                answers = side.run("b", multibulk(b"PUBLISH", text, b"m")[:-2])
                hits = answers["a"].split(b"*4\r\n$8\r\npmessage\r\n")
                found.append((text, answers["b"], sorted(hits)))
            matched.append(found)
        finally:
            side.close()
    for ours, theirs in zip(*matched, strict=True):
        assert ours == theirs
