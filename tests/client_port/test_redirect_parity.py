"""Redirections, and the keys that COMMAND shows, are those of Valkey 9.1.2 (S11).

Two nodes of each kind get the same orders and questions. Ids and ports in the replies are replaced by names, then the
replies are compared. Our nodes have no data plane, so no question needs any data for its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import redis

from tests.peers.cluster import SLOT_COUNT, all_know_all, listings, meet, node_id, wait_for_state, wait_until
from tests.peers.server import Server

pytestmark = pytest.mark.processes

DEADLINE_S = 30.0
SPLIT = 10_000
"""The first node owns the slots below this one. The slot of `b` is 3300, `c` 7365, `a` 15495, `d` 11298."""

GETKEYS = (
    "GET a", "GET", "MSET a 1 b 2", "MSET a 1 b", "EVAL x 0", "EVAL x 2 a b", "EVAL x 3 a b", "EVAL x z a",
    "XREAD COUNT 1 STREAMS a b 0 0", "XREAD STREAMS a", "XREAD COUNT 2", "MIGRATE h 1 k 0 5",
    "MIGRATE h 1 {empty} 0 5 KEYS a b", "ZUNIONSTORE d 2 a b", "ZUNIONSTORE d 9 a b", "BLPOP a b 0",
    "OBJECT ENCODING a", "OBJECT ENCODING", "PING", "CLUSTER KEYSLOT a", "NOPE a", "BITOP AND d a b", "SORT a",
    "GEORADIUS a 0 0 1 m STORE b", "MSETEX 1 a b", "XREADGROUP GROUP g c STREAMS a >", "LMPOP 2 a b LEFT",
    "COPY a b", "ZINTER 1 a WEIGHTS 1", "XINFO STREAM a", "SSUBSCRIBE a", "LCS a b", "PFMERGE a b c",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two nodes of one kind in one cluster. The first owns the slots below SPLIT."""

    first: Server
    second: Server

    def ask(self, commands: str) -> list[Any]:
        """The replies of the first node to commands that are separated by `;`, on one connection."""
        names = {"{first}": node_id(self.first), "{second}": node_id(self.second), "{empty}": ""}
        connection = self.first.connect()
        replies = []
        try:
            for command in commands.split(";"):
                words = [names.get(word, word) for word in command.split()]
                connection.send_command(*words, check_health=False)
                try:
                    replies.append(self.plain_reply(connection.read_response()))
                except redis.ResponseError as error:
                    replies.append(self.plain(f"{type(error).__name__} {error}"))
        finally:
            connection.disconnect()
        return replies

    def plain_reply(self, reply: Any) -> Any:
        """The reply with every error in it turned into text."""
        if isinstance(reply, list):
            return [self.plain_reply(item) for item in reply]
        return self.plain(f"{type(reply).__name__} {reply}") if isinstance(reply, Exception) else reply

    def plain(self, text: str) -> str:
        for name, server in (("FIRST", self.first), ("SECOND", self.second)):
            text = text.replace(str(server.port), name).replace(node_id(server), name)
        return text


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, Pair]]:
    servers = [
        Server(kind, tmp_path_factory.mktemp(kind), directives={"cluster-require-full-coverage": "no"})
        for kind in ("clusterbus", "clusterbus", "valkey", "valkey")
    ]
    try:
        for server in servers:
            server.start()
        made = Pair(*servers[:2]), Pair(*servers[2:])
        for pair in made:
            pair.first.call("CLUSTER", "ADDSLOTSRANGE", 0, SPLIT - 1)
            pair.second.call("CLUSTER", "ADDSLOTSRANGE", SPLIT, SLOT_COUNT - 2)
            both = [pair.first, pair.second]
            meet(both)
            wait_until(partial(all_know_all, both), DEADLINE_S, partial(listings, both))
            for server in both:
                wait_for_state(server, "ok", DEADLINE_S)
        yield made
    finally:
        for server in servers:
            server.stop()


QUESTIONS = (
    "GET a", "SET a 1", "DEL a {x}1", "MGET {x}1 {x}2", "MSET a 1 b 2", "EVAL x 2 a b", "GET", "BLPOP a d 0",
    "OBJECT ENCODING a", "XREAD STREAMS a 0", "MIGRATE 127.0.0.1 1 a 0 5",
    "READONLY;GET a;READWRITE", "MULTI;CLUSTER KEYSLOT a;PING;EXEC", "EXEC", "DISCARD", "MULTI;MULTI;EXEC",
    "MULTI;GET a;EXEC", "MULTI;PING;DISCARD;PING", "MULTI;NOPE;PING;EXEC", "MULTI;GET;EXEC", "MULTI extra",
    "MULTI;CLUSTER SETSLOT word STABLE;PING;EXEC", "MULTI;EXEC", "MULTI;PING;RESET;EXEC",
    # What is queued is one request: keys and shard channels of two slots are refused together (P36).
    "MULTI;GET b;GET c;EXEC;EXEC", "MULTI;GET b;SPUBLISH c x;EXEC", "MULTI;SPUBLISH b x;SPUBLISH c x;EXEC",
    "MULTI;GET b;PING;NOPE;GET c;EXEC", "MULTI;SPUBLISH b x;SPUBLISH b y;PUBLISH c z;EXEC",
    "CLUSTER SETSLOT 3300 MIGRATING {second};MULTI;GET b;GET {b}2;EXEC;EXEC;CLUSTER SETSLOT 3300 STABLE",
    "CLUSTER SETSLOT 15495 IMPORTING {second};MULTI;GET a;EXEC;ASKING;MULTI;GET a;GET {a}2;EXEC;"
    "CLUSTER SETSLOT 15495 STABLE",
    "ASKING;GET a", "SINTER a d", "SORT a", "SSUBSCRIBE a", "SPUBLISH a x",
    # The first node owns slot 3300 (`b`) and migrates it to the second: missing keys are answered with ASK.
    "CLUSTER SETSLOT 3300 MIGRATING {second};GET b;SET b 1;MGET b {b}2;EVAL x 1 b;ASKING;GET b;"
    "MIGRATE 127.0.0.1 1 b 0 5 nonsense;CLUSTER SETSLOT 3300 STABLE",
    # The second node owns slot 15495 (`a`), and the first imports it.
    "CLUSTER SETSLOT 15495 IMPORTING {second};GET a;ASKING;MGET a {a}2;MGET a {a}2;CLUSTER SETSLOT 15495 STABLE",
    # Slot 16383 has no owner; the tag `{6ZJ}` is in it.
    "GET {6ZJ}", "MGET {6ZJ} a",
)  # fmt: skip


@pytest.mark.parametrize("commands", QUESTIONS)
def test_a_request_is_sent_where_valkey_sends_it_s11(pairs: tuple[Pair, Pair], commands: str) -> None:
    ours, theirs = (pair.ask(commands) for pair in pairs)
    if "nonsense" in commands:  # MIGRATE of a moving slot is never redirected, and our node has no data plane for it
        position = [command.split()[0] for command in commands.split(";")].index("MIGRATE")
        assert "keeps no data" in ours.pop(position)
        assert "syntax" in theirs.pop(position)
    assert ours == theirs


def test_the_tags_hit_the_slots_they_are_said_to_hit(pairs: tuple[Pair, Pair]) -> None:
    for key, slot in (("a", 15495), ("b", 3300), ("c", 7365), ("d", 11298), ("{6ZJ}", 16383)):
        assert pairs[1].first.call("CLUSTER", "KEYSLOT", key) == slot


def described(pair: Pair) -> Any:
    """How CLUSTER SLOTS and SHARDS of the first node name the nodes and their ports."""
    slots = [
        [*row[:2], *([node[0], node[1], *node[3]] for node in row[2:])] for row in pair.first.call("CLUSTER", "SLOTS")
    ]
    shards = [dict(zip(shard[::2], shard[1::2], strict=True)) for shard in pair.first.call("CLUSTER", "SHARDS")]
    nodes = [dict(zip(node[::2], node[1::2], strict=True)) for shard in shards for node in shard["nodes"]]
    names: list[tuple[Any, ...]] = [
        (node["ip"], node["endpoint"], node.get("hostname"), node["port"]) for node in nodes
    ]
    for port, name in ((pair.first.port, "FIRST"), (pair.second.port, "SECOND")):
        slots = [
            [[name if item == port else item for item in part] if isinstance(part, list) else part for part in row]
            for row in slots
        ]
        names = [tuple(name if item == port else item for item in row) for row in names]
    return slots, sorted(names, key=str)


@pytest.mark.parametrize("preferred", ["unknown-endpoint", "hostname", "ip"])
def test_nodes_are_named_as_valkey_names_them_p22_p30_p37(pairs: tuple[Pair, Pair], preferred: str) -> None:
    for pair in pairs:
        pair.second.call(
            "CONFIG", "SET", "cluster-announce-client-port", 7100, "cluster-announce-hostname", "two.example"
        )
        pair.first.call("CONFIG", "SET", "cluster-preferred-endpoint-type", preferred)
    try:
        for pair in pairs:
            wait_until(lambda pair=pair: "two.example" in pair.first.call("CLUSTER", "NODES"), DEADLINE_S, "gossip")  # type: ignore[misc]
        ours, theirs = (pair.ask("GET a;SSUBSCRIBE a;READONLY;GET a") for pair in pairs)
        address = {"unknown-endpoint": "", "hostname": "two.example", "ip": "127.0.0.1"}[preferred]
        assert theirs[0] == f"MovedError 15495 {address}:7100"
        assert ours == theirs
        assert described(pairs[0]) == described(pairs[1])
    finally:
        for pair in pairs:
            pair.second.call("CONFIG", "SET", "cluster-announce-client-port", 0, "cluster-announce-hostname", "")
            pair.first.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
            wait_until(lambda pair=pair: "two.example" not in pair.first.call("CLUSTER", "NODES"), DEADLINE_S, "gossip")  # type: ignore[misc]


def test_a_cluster_that_is_down_serves_no_keys_s11(pairs: tuple[Pair, Pair]) -> None:
    answers = []
    for pair in pairs:
        pair.first.call("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        pair.first.call("CLUSTER", "DELSLOTS", 9999)  # makes the node check the state of the cluster
        wait_for_state(pair.first, "fail", DEADLINE_S)
        replies = pair.ask("GET a;SET a 1;MGET a d;CONFIG SET cluster-allow-reads-when-down yes;GET a;SET a 1")
        pair.ask(
            "CLUSTER ADDSLOTS 9999;CONFIG SET cluster-allow-reads-when-down no;"
            "CONFIG SET cluster-require-full-coverage no"
        )
        wait_for_state(pair.first, "ok", DEADLINE_S)
        answers.append(replies)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("command", GETKEYS)
def test_command_getkeys_finds_the_keys_valkey_finds_s11(pairs: tuple[Pair, Pair], command: str) -> None:
    ours, theirs = (pair.ask(f"COMMAND GETKEYS {command}") for pair in pairs)
    assert ours == theirs


def rows(server: Server, names: list[str]) -> dict[str, Any]:
    """COMMAND INFO by name, without tips and notes, which we do not copy."""

    def plain(row: list[Any]) -> Any:
        name, arity, flags, first, last, step, categories, _tips, specs, subcommands = row
        tables = [dict(zip(spec[::2], spec[1::2], strict=True)) for spec in specs]
        for table in tables:
            table.pop("notes", None)
            table["flags"] = sorted(table["flags"])
        subs = sorted(sub[0] for sub in subcommands if not sub[0].endswith("|help"))
        return name, arity, sorted(flags), first, last, step, sorted(categories), tables, subs

    return {row[0]: plain(row) for row in server.call("COMMAND", "INFO", *names) if row is not None}


def test_command_info_of_every_data_command_is_valkeys_s11(pairs: tuple[Pair, Pair]) -> None:
    from clusterbus.client_port.commands.data import data_commands

    specs = data_commands()
    names = [spec.name for spec in specs if not spec.subcommands]
    names += [f"{spec.name}|{sub.name}" for spec in specs for sub in spec.subcommands]
    assert len(names) > 190
    assert rows(pairs[0].first, names) == rows(pairs[1].first, names)


def test_every_command_of_valkey_with_keys_is_known_s11(pairs: tuple[Pair, Pair]) -> None:
    ours = {row[0] for row in pairs[0].first.call("COMMAND")}
    theirs = {row[0] for row in pairs[1].first.call("COMMAND") if row[3] or "movablekeys" in row[2]}
    assert theirs <= ours
