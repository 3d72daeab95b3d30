"""examples/kv_node.py: cluster clients store data in it, and redis-cli moves keys between two such nodes (S4, S11)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.cluster
import valkey.cluster
from clusterbus.wire import key_slot

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.redis_cli import cluster
from tests.peers.server import CALL_TIMEOUT_S, START_DEADLINE_S, STOP_DEADLINE_S, Server, redis_cli_command

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "kv_node.py"
KEYS = 300
DEADLINE_S = 30.0


class KvNode(Server):
    """A process of the example. Tests talk to it as to any server."""

    def __init__(self, folder: Path) -> None:
        super().__init__("clusterbus", folder)

    def _spawn(self) -> None:
        words = ["--port", str(self.port), "--dir", str(self.folder), "--cluster-node-timeout", "2000"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLE), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Server]]:
    """Two nodes in one cluster; each owns half of the slots."""
    servers: list[Server] = [KvNode(tmp_path / name) for name in ("a", "b")]
    try:
        for server in servers:
            server.start()
        form(servers, servers, START_DEADLINE_S)
        wait_until(
            lambda: all(server.info()["cluster_state"] == "ok" for server in servers),
            DEADLINE_S,
            lambda: listings(servers),
        )
        yield servers
    finally:
        for server in servers:
            server.stop()


def owner_and_other(nodes: list[Server], key: str) -> tuple[Server, Server]:
    """The node that owns the slot of a key, and the other node."""
    first = key_slot(key.encode()) < 8192
    return (nodes[0], nodes[1]) if first else (nodes[1], nodes[0])


def refused(server: Server, *words: str | int) -> str:
    with pytest.raises(redis.ResponseError) as caught:
        server.call(*words)
    return f"{type(caught.value).__name__} {caught.value}"


CLIENTS: dict[str, Any] = {
    "redis-py": lambda port: redis.cluster.RedisCluster("127.0.0.1", port, socket_timeout=CALL_TIMEOUT_S),
    "valkey-py": lambda port: valkey.cluster.ValkeyCluster("127.0.0.1", port, socket_timeout=CALL_TIMEOUT_S),
}


@pytest.mark.parametrize("client_name", CLIENTS)
def test_cluster_clients_keep_their_data_in_it_s11(nodes: list[Server], client_name: str) -> None:
    client = CLIENTS[client_name](nodes[0].port)
    try:
        for number in range(KEYS):
            assert client.set(f"key{number}", f"value{number}")
        assert [client.get(f"key{number}") for number in range(KEYS)] == [b"value%d" % n for n in range(KEYS)]
        assert sum(int(server.call("DBSIZE")) for server in nodes) == KEYS
        assert min(int(server.call("DBSIZE")) for server in nodes) > KEYS // 4
        assert client.set("key1", "x", nx=True) is None
        assert client.set("none", "x", xx=True) is None
        assert client.mget("{t}1", "key{t}") == [None, None]
        assert (client.exists("key1", "key2"), client.delete("key1"), client.exists("key1")) == (2, 1, 0)
        with pytest.raises((redis.ResponseError, valkey.ResponseError), match="has not added a command of that name"):
            client.incr("key2")
    finally:
        client.close()


def test_requests_are_answered_by_the_rules_of_slots_on_the_move_s4(nodes: list[Server]) -> None:
    owner, other = owner_and_other(nodes, "a")
    slot = key_slot(b"a")
    assert owner.call("SET", "a", "1") == "OK"
    assert f"MovedError {slot} 127.0.0.1:{owner.port}" in refused(other, "GET", "a")
    assert "CrossSlot" in refused(owner, "MGET", "a", "b")
    assert owner.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    assert owner.call("CLUSTER", "GETKEYSINSLOT", slot, 10) == ["a"]
    assert "still hold keys" in refused(owner, "CLUSTER", "SETSLOT", slot, "NODE", node_id(other))

    assert other.call("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(owner)) == "OK"
    assert owner.call("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(other)) == "OK"
    assert owner.call("GET", "a") == "1"
    assert f"AskError {slot} 127.0.0.1:{other.port}" in refused(owner, "GET", "{a}2")
    assert "TryAgain" in refused(owner, "MGET", "a", "{a}2")
    assert "MovedError" in refused(other, "GET", "a")
    assert other.call("ASKING") == "OK"
    assert "TryAgain" in refused(other, "MGET", "a", "{a}2")
    assert other.call("ASKING") == "OK"
    assert other.call("SET", "{a}2", "2") == "OK"

    assert owner.call("MIGRATE", "127.0.0.1", other.port, "nothing{a}", 0, 1000) == "NOKEY"
    assert "IOERR" in refused(owner, "MIGRATE", "127.0.0.1", free_port(), "a", 0, 1000)
    assert owner.call("GET", "a") == "1", "what could not be handed over stays"
    assert owner.call("MIGRATE", "127.0.0.1", other.port, "", 0, 1000, "KEYS", "a") == "OK"
    assert f"AskError {slot}" in refused(owner, "GET", "a")
    assert other.call("ASKING") == "OK"
    assert other.call("MGET", "a", "{a}2") == ["1", "2"]
    for server in (other, owner):
        assert server.call("CLUSTER", "SETSLOT", slot, "NODE", node_id(other)) == "OK"
    assert other.call("MGET", "a", "{a}2") == ["1", "2"]
    assert f"MovedError {slot} 127.0.0.1:{other.port}" in refused(owner, "GET", "a")
    wait_until(
        lambda: all(cluster_nodes(s)[node_id(other)].config_epoch > 2 for s in nodes),
        DEADLINE_S,
        lambda: listings(nodes),
    )


def test_keys_are_handed_over_on_one_connection_which_is_made_anew_when_the_target_closed_it_s4(
    nodes: list[Server],
) -> None:
    """redis-cli sends one MIGRATE for ten keys, thousands in a reshard."""
    owner, other = owner_and_other(nodes, "a")
    keys = [f"{{a}}{number}" for number in range(40)]
    for key in keys:
        owner.call("SET", key, key)
    assert other.call("CLUSTER", "SETSLOT", key_slot(b"a"), "IMPORTING", node_id(owner)) == "OK"
    assert owner.call("CLUSTER", "SETSLOT", key_slot(b"a"), "MIGRATING", node_id(other)) == "OK"
    before = other.counter("total_connections_received")
    for key in keys[:20]:
        assert owner.call("MIGRATE", "127.0.0.1", other.port, "", 0, 1000, "KEYS", key) == "OK"
    assert other.counter("total_connections_received") == before + 1
    assert int(other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")) >= 1
    for key in keys[20:]:
        assert owner.call("MIGRATE", "127.0.0.1", other.port, "", 0, 1000, "KEYS", key) == "OK"
    assert other.counter("total_connections_received") == before + 2
    assert int(other.call("DBSIZE")) == len(keys)


def test_keys_of_a_slot_that_is_lost_are_dropped_and_said_so_s4(nodes: list[Server]) -> None:
    owner, other = owner_and_other(nodes, "a")
    owner.call("SET", "a", "1")
    slot = key_slot(b"a")
    assert other.call("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(owner)) == "OK"
    assert other.call("CLUSTER", "SETSLOT", slot, "NODE", node_id(other)) == "OK"
    wait_until(lambda: owner.call("DBSIZE") == 0, DEADLINE_S, lambda: listings(nodes))
    assert f"slot {slot} went to another node: 1 keys dropped" in owner.log_text()


def test_redis_cli_reshards_keys_while_a_client_writes_s4(nodes: list[Server]) -> None:
    redis_cli_command()
    source, target = nodes
    client = redis.cluster.RedisCluster("127.0.0.1", target.port, socket_timeout=CALL_TIMEOUT_S)
    keys = [f"k{number}" for number in range(3000) if key_slot(b"k%d" % number) < 120]
    assert len(keys) > 10
    for key in keys:
        client.set(key, "0")
    stop = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        round_number = 0
        try:
            while not stop.is_set():
                round_number += 1
                for key in keys:
                    client.set(key, str(round_number))
                    assert client.get(key) == b"%d" % round_number, key
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        cluster(
            "reshard", f"127.0.0.1:{source.port}", "--cluster-from", node_id(source), "--cluster-to", node_id(target),
            "--cluster-slots", "120", "--cluster-yes",
        )  # fmt: skip
    finally:
        stop.set()
        writer.join(STOP_DEADLINE_S)
    assert not failures
    assert target.call("CLUSTER", "COUNTKEYSINSLOT", key_slot(keys[0].encode())) > 0
    assert int(source.call("DBSIZE")) == 0
    assert int(target.call("DBSIZE")) == len(keys)
    assert all_know_all(nodes)
    client.close()


def test_a_node_with_keys_says_that_no_empty_replica_may_take_its_place_p2(nodes: list[Server]) -> None:
    owner, _ = owner_and_other(nodes, "some")
    assert owner.counter("master_repl_offset") == 0
    assert owner.call("SET", "some", "1") == "OK"
    wait_until(lambda: owner.counter("master_repl_offset") > 1, DEADLINE_S, owner.log_tail)


def test_numbers_that_no_program_needs_are_refused_in_one_line(nodes: list[Server]) -> None:
    endless = "9" * 5_000
    owner, _ = owner_and_other(nodes, "a")
    for words, text in (
        (("SCAN", endless), "invalid cursor"),
        (("SCAN", "0", "COUNT", endless), "syntax error"),
        (("MIGRATE", "127.0.0.1", endless, "a", "0", "1000"), "not an integer"),
    ):
        with pytest.raises(Exception, match=text):
            owner.call(*words)
    assert "Traceback" not in owner.log_text()
