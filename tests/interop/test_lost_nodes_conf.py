"""A primary that comes back without its nodes.conf: another id at a known address, and an election by its replica (P6).

The node timeout is long, so that silence cannot be what starts the election.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.test_failover import SETTLE_DEADLINE_S, primary_of, replicate, slots_of
from tests.peers.cluster import cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 60_000
ELECTION_DEADLINE_S = 20.0


@pytest.mark.parametrize(
    ("kind", "kind_of_replica"), [("redis", "redis"), ("valkey", "valkey"), ("valkey", "clusterbus")]
)
def test_a_primary_that_lost_its_nodes_conf_is_replaced_by_its_replica_p6(
    peers: Peers, kind: str, kind_of_replica: str
) -> None:
    """Redis 7.0 lacks the rule: there our FAIL is the only one. Our two primaries are the majority."""
    doomed = peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS)
    keeps_data = kind_of_replica == kind
    no_data = {} if keeps_data else {"cluster_replica_no_failover": "no"}
    replica = peers(kind_of_replica, cluster_node_timeout=NODE_TIMEOUT_MS, **no_data)
    ours = [peers("clusterbus", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    form([doomed, replica, *ours], [doomed, *ours])
    replicate([doomed, replica, *ours], replica, doomed)
    slots, doomed_id, replica_id = slots_of(doomed), node_id(doomed), node_id(replica)
    if keeps_data:
        assert doomed.call("SET", "{06S}", "kept") == "OK"  # slot 0
        assert doomed.call("WAIT", 1, 10_000) == 1

    doomed.kill()
    (doomed.folder / "nodes.conf").unlink()
    doomed.start()
    assert node_id(doomed) != doomed_id

    living = [replica, *ours]
    wait_until(
        lambda: all(
            primary_of(cluster_nodes(server)[replica_id]) and cluster_nodes(server)[replica_id].slots == slots
            for server in living
        ),
        ELECTION_DEADLINE_S,
        lambda: f"{replica} has the slots of the lost node\n{listings(living)}",
    )
    for server in living:
        assert cluster_nodes(server)[doomed_id].is_failed, listings([server])
    if keeps_data:
        assert replica.call("GET", "{06S}") == "kept"
    wait_until(
        lambda: all(server.info()["cluster_state"] == "ok" for server in living),
        SETTLE_DEADLINE_S,
        lambda: listings(living),
    )
