"""Three Valkey primaries full of keys and three clusterbus replicas without any: no key is lost through us (P1-P4).

`redis-cli --cluster create ... --cluster-replicas 1` sets up just that. The Valkey servers log every write, so a killed
one comes back with its keys.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from redis import RedisError
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster

from tests.peers.cluster import (
    all_know_all,
    cluster_nodes,
    form,
    listings,
    node_id,
    wait_agreed,
    wait_for_state,
    wait_until,
)
from tests.peers.redis_cli import cluster as redis_cli_cluster
from tests.peers.server import Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 2_000
UNSERVED_S = 4 * NODE_TIMEOUT_MS / 1000
"""Long enough for two elections, had there been one."""
DEADLINE_S = 60.0
KEYS = 600


@dataclass
class Cluster:
    """Three Valkey primaries with keys, and the clusterbus replica of each."""

    primaries: list[Server]
    replicas: list[Server]

    @property
    def servers(self) -> list[Server]:
        return self.primaries + self.replicas

    def owners(self) -> dict[str, tuple[str, ...]]:
        """The slots of each primary, by its id."""
        return {node_id(server): cluster_nodes(server)[node_id(server)].slots for server in self.primaries}

    def replica_of(self, primary: Server) -> Server:
        primary_id = node_id(primary)
        return next(peer for peer in self.replicas if cluster_nodes(peer)[node_id(peer)].primary == primary_id)

    def client(self) -> RedisCluster:
        nodes = [ClusterNode("127.0.0.1", server.port) for server in self.primaries]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)

    def load(self) -> None:
        client = self.client()
        for number in range(KEYS):
            client.set(f"key:{number}", number)
        client.close()

    def lost_keys(self) -> int:
        client = self.client()
        try:
            return sum(client.get(f"key:{number}") != str(number).encode() for number in range(KEYS))
        finally:
            client.close()


@pytest.fixture
def full(peers: Peers) -> Cluster:
    """A cluster made by redis-cli, and its keys."""
    common = {"cluster_node_timeout": NODE_TIMEOUT_MS}
    primaries = [peers("valkey", appendonly="yes", appendfsync="always", **common) for _ in range(3)]
    replicas = [peers("clusterbus", **common) for _ in range(3)]
    addresses = [f"127.0.0.1:{server.port}" for server in [*primaries, *replicas]]
    redis_cli_cluster("create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
    made = Cluster(primaries, replicas)
    wait_until(lambda: all_know_all(made.servers), DEADLINE_S, lambda: listings(made.servers))
    wait_agreed(made.servers, DEADLINE_S)
    made.load()
    return made


def still_owned_by(servers: Sequence[Server], owners: dict[str, tuple[str, ...]]) -> bool:
    return all(
        {peer: line.slots for peer, line in cluster_nodes(server).items() if "master" in line.flags} == owners
        for server in servers
    )


def knows_three_that_stand_back(server: Server) -> bool:
    return sum("nofailover" in line.flags for line in cluster_nodes(server).values()) == 3


def test_create_over_three_and_three_gives_replicas_that_no_client_reads_from_p3_p24(full: Cluster) -> None:
    for replica in full.replicas:
        info = replica.info()
        assert (info["role"], info["master_link_status"], info["slave_repl_offset"]) == ("slave", "down", "0")
        assert replica.call("ROLE")[3:] == ["connect", 0]
        assert "keeps no copy of the data" in replica.log_text()
    for server in full.servers:
        rows = server.call("CLUSTER", "SLOTS")
        assert [len(row) for row in rows] == [3, 3, 3], "each range has its primary and nobody else"
    wait_until(lambda: all(map(knows_three_that_stand_back, full.servers)), DEADLINE_S, lambda: listings(full.servers))
    healths = _healths(full.primaries[0])
    assert {healths[node_id(replica)] for replica in full.replicas} == {"loading"}
    assert _healths(full.replicas[0]) == healths
    assert full.lost_keys() == 0


def test_a_killed_primary_keeps_its_slots_and_every_key_reads_when_it_is_back_p1(full: Cluster) -> None:
    doomed, *living = full.primaries
    replica, owners, doomed_id = full.replica_of(doomed), full.owners(), node_id(doomed)
    asked = living + full.replicas
    epoch = replica.counter("cluster_current_epoch")
    doomed.kill()
    wait_until(
        lambda: all(cluster_nodes(server)[doomed_id].is_failed for server in asked),
        DEADLINE_S,
        lambda: listings(asked),
    )
    for server in asked:
        wait_for_state(server, "fail", DEADLINE_S)
    # No election begins, however long we wait. The only thing to be awaited is our own word that we stand back.
    wait_until(lambda: "this replica is empty" in replica.log_text(), UNSERVED_S, replica.log_tail)
    for how in ((), ("FORCE",), ("TAKEOVER",)):
        with pytest.raises(RedisError, match=r"Master is down|would be lost"):
            replica.call("CLUSTER", "FAILOVER", *how)
    assert {server.counter("cluster_current_epoch") for server in asked} == {epoch}, "nobody stood for election"
    assert replica.info()["role"] == "slave"
    assert still_owned_by(asked, owners), listings(asked)

    doomed.start()
    wait_agreed(full.servers, DEADLINE_S)
    for server in full.servers:
        wait_for_state(server, "ok", DEADLINE_S)
    assert still_owned_by(full.servers, owners), listings(full.servers)
    assert full.lost_keys() == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_rolling_restart_of_the_primaries_loses_no_slot_and_no_key_p1(full: Cluster, end: signal.Signals) -> None:
    owners = full.owners()
    for primary in full.primaries:
        primary_id = node_id(primary)
        asked = [server for server in full.servers if server is not primary]
        if end == signal.SIGKILL:
            primary.kill()
        else:
            primary.stop()
        wait_until(
            lambda primary_id=primary_id, asked=asked: all(  # type: ignore[misc]
                cluster_nodes(server)[primary_id].is_failed for server in asked
            ),
            DEADLINE_S,
            lambda asked=asked: listings(asked),  # type: ignore[misc]
        )
        primary.start()
        wait_agreed(full.servers, DEADLINE_S)
    assert still_owned_by(full.servers, owners), listings(full.servers)
    assert full.lost_keys() == 0


def test_failover_among_nodes_without_data_stays_possible_when_the_operator_says_so_p2(peers: Peers) -> None:
    common = {"cluster_node_timeout": NODE_TIMEOUT_MS}
    others = [peers("valkey", **common) for _ in range(2)]
    doomed, replica = (peers("clusterbus", cluster_replica_no_failover="no", **common) for _ in range(2))
    servers = [*others, doomed, replica]
    form(servers, [*others, doomed])
    assert replica.call("CLUSTER", "REPLICATE", node_id(doomed)) == "OK"
    wait_until(lambda: replica.info()["master_link_status"] == "up", DEADLINE_S, lambda: listings(servers))
    wait_agreed(servers, DEADLINE_S)
    wait_until(
        lambda: [len(row) for row in others[0].call("CLUSTER", "SLOTS")] == [3, 3, 4],
        DEADLINE_S,
        "Valkey shows the replica to clients",
    )
    assert _healths(others[0])[node_id(replica)] == "online"
    heir = node_id(replica)
    doomed.kill()
    living = [*others, replica]
    wait_until(
        lambda: all("master" in cluster_nodes(server)[heir].flags for server in living),
        DEADLINE_S,
        lambda: listings(living),
    )
    for server in living:
        wait_for_state(server, "ok", DEADLINE_S)


def _healths(server: Server) -> dict[str, str]:
    """The health of each node in CLUSTER SHARDS, by id."""
    found = {}
    for shard in server.call("CLUSTER", "SHARDS"):
        for node in _pairs(shard)["nodes"]:
            fields = _pairs(node)
            found[str(fields["id"])] = str(fields["health"])
    return found


def _pairs(flat: list[object]) -> dict[str, list[list[object]]]:
    return dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]
