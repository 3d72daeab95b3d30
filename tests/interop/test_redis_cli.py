"""redis-cli --cluster, an independent program, creates and manages a cluster of clusterbus nodes (S11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis.cluster
import valkey.cluster

from tests.peers.cluster import SLOT_COUNT, all_know_all, cluster_nodes, listings, node_id, wait_until
from tests.peers.redis_cli import cluster, redis_cli
from tests.peers.server import Server, redis_cli_command

Peers = Callable[..., Server]

DEADLINE_S = 30.0
SIX = 6
WITHOUT_DATA: dict[str, Any] = {"cluster_replica_no_failover": "no"}
"""By default a node without data is neither elected nor moved (P2, P4)."""
COVERED = "All 16384 slots covered"
AGREED = "All nodes agree about slots configuration"


def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def slot_count(server: Server, of: str) -> int:
    """The number of slots that a node owns, according to a server."""
    ranges = [words.split("-") for words in cluster_nodes(server)[of].slots if not words.startswith("[")]
    return sum(int(bounds[-1]) - int(bounds[0]) + 1 for bounds in ranges)


def wait_for_checks(servers: list[Server]) -> None:
    """Waits until the cluster is ok on every server, and redis-cli --cluster check finds no fault at any of them."""
    wait_until(
        lambda: all(
            server.info()["cluster_state"] == "ok" and AGREED in (text := checked(server)) and COVERED in text
            for server in servers
        ),
        DEADLINE_S,
        lambda: "\n".join(map(checked, servers)),
    )


def checked(server: Server) -> str:
    return redis_cli("--cluster", "check", address(server), may_fail=True)


def create_six(peers: Peers) -> list[Server]:
    """Lets redis-cli create three primaries with one replica each."""
    redis_cli_command()
    servers = [peers("clusterbus", config_file=True, **WITHOUT_DATA) for _ in range(SIX)]
    output = cluster("create", *map(address, servers), "--cluster-replicas", "1", "--cluster-yes")
    assert AGREED in output
    assert COVERED in output
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
    return servers


def test_a_cluster_is_created_with_replicas_and_lived_with_s11_s4(peers: Peers) -> None:
    servers = create_six(peers)
    wait_for_checks(servers)
    nodes = cluster_nodes(servers[0]).values()
    assert sorted(len([n for n in nodes if n.primary == p.node_id]) for p in nodes if p.slots) == [1, 1, 1]
    assert "0 keys in 3 masters" in cluster("info", address(servers[3]))

    new = peers("clusterbus", config_file=True, **WITHOUT_DATA)
    output = cluster("add-node", address(new), address(servers[0]))
    assert "New node added correctly" in output
    assert "Failed retrieving Functions" not in output
    servers.append(new)
    new_id = node_id(new)
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))

    cluster(
        "reshard", address(servers[0]), "--cluster-from", "all", "--cluster-to", new_id, "--cluster-slots", "30",
        "--cluster-yes",
    )  # fmt: skip
    wait_for_checks(servers)
    moved = slot_count(servers[1], new_id)
    assert 27 <= moved <= 30  # redis-cli rounds the share of each source
    weights = [f"{node_id(server)}=1" for server in servers if slot_count(servers[0], node_id(server)) > moved]
    cluster("rebalance", address(servers[0]), "--cluster-weight", *weights, f"{new_id}=0.05")
    wait_for_checks(servers)
    assert slot_count(servers[2], new_id) > 2 * moved

    empty_by_reshard(servers, new)
    wait_for_checks(servers)
    cluster("del-node", address(servers[0]), new_id)
    servers.remove(new)
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
    lone = cluster_nodes(new)
    # After RESET SOFT the node knows no other node, keeps its id, and is a primary without slots.
    assert list(lone) == [new_id]
    assert "master" in lone[new_id].flags
    assert not lone[new_id].slots
    wait_for_checks(servers)


def empty_by_reshard(servers: list[Server], victim: Server) -> None:
    """Moves all slots of a node to another, which the node then follows as a replica."""
    source, target = node_id(victim), next(n.node_id for n in cluster_nodes(servers[0]).values() if n.slots)
    if target == source:
        target = next(n.node_id for n in cluster_nodes(servers[0]).values() if n.slots and n.node_id != source)
    cluster(
        "reshard", address(servers[0]), "--cluster-from", source, "--cluster-to", target, "--cluster-slots",
        str(slot_count(servers[0], source)), "--cluster-yes",
    )  # fmt: skip
    wait_until(
        lambda: cluster_nodes(servers[0])[source].primary == target, DEADLINE_S, lambda: listings([servers[0], victim])
    )


def test_call_and_set_timeout_reach_every_node_and_its_file_s11(peers: Peers) -> None:
    servers = create_six(peers)
    output = cluster("call", address(servers[0]), "ping")
    assert all(f"{address(server)}: PONG" in output for server in servers)
    assert f"{SIX} OK, 0 ERR" in cluster("set-timeout", address(servers[0]), "3500")
    for server in servers:
        assert server.config_file is not None
        assert "cluster-node-timeout 3500" in server.config_file.read_text().splitlines()
    servers[0].restart()
    assert servers[0].call("CONFIG", "GET", "cluster-node-timeout") == ["cluster-node-timeout", "3500"]


def test_fix_closes_open_slots_and_covers_lost_ones_s4(peers: Peers) -> None:
    servers = create_six(peers)
    wait_for_checks(servers)
    source, target = servers[0], servers[1]
    assert source.call("CLUSTER", "SETSLOT", 7, "MIGRATING", node_id(target)) == "OK"
    assert target.call("CLUSTER", "SETSLOT", 7, "IMPORTING", node_id(source)) == "OK"
    open_slots = checked(source)
    assert "in migrating state" in open_slots
    assert "in importing state" in open_slots
    redis_cli("--cluster", "fix", address(source))
    wait_for_checks(servers)
    assert not any("[" in server.call("CLUSTER", "NODES") for server in servers)

    for server in servers:
        assert server.call("CLUSTER", "DELSLOTSRANGE", 100, 109) == "OK"
    assert COVERED not in checked(source)
    redis_cli("--cluster", "fix", address(source))
    wait_for_checks(servers)


CLIENTS: dict[str, Callable[[int], Any]] = {
    "redis-py RESP2": lambda port: redis.cluster.RedisCluster("127.0.0.1", port, protocol=2),
    "redis-py RESP3": lambda port: redis.cluster.RedisCluster("127.0.0.1", port, protocol=3),
    "valkey-py": lambda port: valkey.cluster.ValkeyCluster("127.0.0.1", port),
}


def test_cluster_clients_see_six_nodes_and_all_slots_s11(peers: Peers) -> None:
    servers = create_six(peers)
    wait_for_checks(servers)
    for name, connect in CLIENTS.items():
        client = connect(servers[5].port)
        try:
            assert {node.port for node in client.get_nodes()} == {server.port for server in servers}, name
            slots = client.nodes_manager.slots_cache
            assert len(slots) == SLOT_COUNT, name
            assert all(len(members) == 2 for members in slots.values()), name
            # The request is redirected to the owner of its slot, which answers that it keeps no data.
            for key in ("a", "b", "c", "d"):
                with pytest.raises((redis.ResponseError, valkey.ResponseError), match="keeps no data"):
                    client.execute_command("GET", key)
        finally:
            client.close()
