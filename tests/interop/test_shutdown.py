"""A clusterbus primary among Valkey ones goes: its replica takes over first, and no slot is ever unserved (P29)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from redis import RedisError

from tests.peers.cluster import cluster_nodes, form, listings, node_id, wait_agreed, wait_until
from tests.peers.server import STOP_DEADLINE_S, Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 2_000
DEADLINE_S = 30.0


@pytest.fixture
def shard(peers: Peers) -> tuple[Server, Server, list[Server]]:
    """Our primary, our replica of it, and two Valkey primaries."""
    common = {"cluster_node_timeout": NODE_TIMEOUT_MS}
    others = [peers("valkey", **common) for _ in range(2)]
    ours = {"cluster_replica_no_failover": "no", "shutdown_on_sigterm": "failover safe"} | common
    primary, replica = (peers("clusterbus", **ours) for _ in range(2))
    servers = [*others, primary, replica]
    form(servers, [*others, primary])
    assert replica.call("CLUSTER", "REPLICATE", node_id(primary)) == "OK"
    wait_agreed(servers, DEADLINE_S)
    wait_until(lambda: replica.info()["master_link_status"] == "up", DEADLINE_S, lambda: listings(servers))
    return primary, replica, others


def is_primary(server: Server, of: Server) -> bool:
    return "master" in cluster_nodes(of)[node_id(server)].flags


@pytest.mark.parametrize("how", ["SHUTDOWN FAILOVER", "SIGTERM"])
def test_a_primary_that_goes_hands_its_slots_over_first_p29(
    shard: tuple[Server, Server, list[Server]], how: str
) -> None:
    primary, replica, others = shard
    slots = cluster_nodes(primary)[node_id(primary)].slots
    assert primary.process is not None
    if how == "SIGTERM":
        primary.signal(signal.SIGTERM)
    else:
        going = primary.connect()
        going.send_command("SHUTDOWN", "FAILOVER", check_health=False)
        with pytest.raises(RedisError):
            going.read_response()
    assert primary.process.wait(STOP_DEADLINE_S) == 0, primary.log_tail()
    assert "took over" in primary.log_text()
    living = [*others, replica]
    wait_until(
        lambda: all(cluster_nodes(server)[node_id(replica)].slots == slots for server in living),
        DEADLINE_S,
        lambda: listings(living),
    )
    for server in others:
        assert "Cluster state changed: fail" not in server.log_text(), "every slot was served all the time"


def test_safe_keeps_a_primary_whose_replica_does_not_take_over_p29(
    shard: tuple[Server, Server, list[Server]],
) -> None:
    primary, replica, others = shard
    assert replica.call("CONFIG", "SET", "cluster-replica-no-failover", "yes") == "OK"
    with pytest.raises(RedisError, match=r"Errors trying to SHUTDOWN: This primary serves \d+ slots"):
        primary.call("SHUTDOWN", "SAFE", "FAILOVER")
    assert primary.call("PING") == "PONG"
    assert is_primary(primary, others[0])
    with pytest.raises(RedisError, match="No shutdown in progress"):
        primary.call("SHUTDOWN", "ABORT")
