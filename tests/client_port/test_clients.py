"""Independent programs talk to a clusterbus node: redis-cli, redis-py and valkey-py (S11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.cluster
import valkey
import valkey.cluster

from tests.peers.cluster import all_know_all, form, listings, wait_until
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server

Peers = Callable[..., Server]
DEADLINE_S = 30.0


def test_redis_cli_creates_checks_and_extends_a_mixed_cluster(peers: Peers) -> None:
    servers = [peers(kind) for kind in ("clusterbus", "valkey", "clusterbus")]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    assert "All 16384 slots covered" in redis_cli("--cluster", "create", *addresses, "--cluster-yes")
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
    late = peers("clusterbus")
    redis_cli("--cluster", "add-node", f"127.0.0.1:{late.port}", addresses[0])
    wait_until(lambda: all_know_all([*servers, late]), DEADLINE_S, lambda: listings([*servers, late]))
    assert "All nodes agree about slots configuration" in redis_cli("--cluster", "check", addresses[0])
    assert "0 keys in 4 masters" in redis_cli("--cluster", "info", addresses[2])
    answer = redis_cli("--cluster", "call", addresses[0], "cluster", "myshardid")
    assert all(address in answer for address in addresses)


def test_redis_cli_sets_the_node_timeout_of_a_whole_cluster(peers: Peers) -> None:
    servers = [peers("clusterbus") for _ in range(2)]
    form(servers, servers)
    address = f"127.0.0.1:{servers[0].port}"
    redis_cli("--cluster", "call", address, "config", "set", "cluster-node-timeout", "3000")
    for server in servers:
        assert server.call("CONFIG", "GET", "cluster-node-timeout") == ["cluster-node-timeout", "3000"]


CLIENTS: dict[str, Callable[[int], Any]] = {
    "redis-py RESP2": lambda port: redis.cluster.RedisCluster("127.0.0.1", port, protocol=2),
    "redis-py RESP3": lambda port: redis.cluster.RedisCluster("127.0.0.1", port, protocol=3),
    "valkey-py": lambda port: valkey.cluster.ValkeyCluster("127.0.0.1", port),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_cluster_client_starts_at_a_clusterbus_node_and_reaches_the_data(peers: Peers, client: str) -> None:
    """A cluster client may start at a member without slots, because it knows the owners of all slots."""
    ours = peers("clusterbus")
    theirs = [peers("valkey") for _ in range(2)]
    form([ours, *theirs], theirs)
    wait_until(lambda: all(server.info()["cluster_state"] == "ok" for server in (ours, *theirs)), DEADLINE_S, "ok")
    connected = CLIENTS[client](ours.port)
    try:
        assert {node.port for node in connected.get_nodes()} >= {server.port for server in theirs}
        for number in range(20):
            assert connected.set(f"key{number}", str(number))
            assert connected.get(f"key{number}") == str(number).encode()
    finally:
        connected.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_plain_client_asks_a_node_about_the_cluster(peers: Peers, protocol: int) -> None:
    node = peers("clusterbus")
    with redis.Redis("127.0.0.1", node.port, protocol=protocol, decode_responses=True) as client:
        assert client.ping()
        assert client.info()["redis_mode"] == "cluster"
        assert client.execute_command("CLUSTER MYID") == node.call("CLUSTER", "MYID")
        assert client.config_get("port") == {"port": str(node.port)}
        assert client.dbsize() == 0
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.execute_command("NONSENSE")
