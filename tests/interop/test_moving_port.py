"""A node among Valkey nodes moves to another port at run time: they find it there (P41, P34)."""

from __future__ import annotations

from collections.abc import Callable

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.ports import BUS_PORT_OFFSET, free_port
from tests.peers.server import Server

DEADLINE_S = 60.0


def test_valkey_nodes_follow_a_node_to_its_new_port_p34_p41(peers: Callable[..., Server]) -> None:
    servers = [peers("valkey"), peers("clusterbus"), peers("valkey")]
    form(servers, servers[:2], DEADLINE_S)
    moving, moving_id, port = servers[1], node_id(servers[1]), free_port()
    assert moving.call("CONFIG", "SET", "port", port, "cluster-announce-hostname", "moved.example") == "OK"
    line = next(line for line in moving.call("CLUSTER", "NODES").splitlines() if "myself" in line)
    assert line.split()[1].endswith(f":{port}@{port + BUS_PORT_OFFSET},moved.example"), "at once"
    moving.disconnect()
    moving.port = port

    def is_found() -> bool:
        return all(f":{port}@{port + BUS_PORT_OFFSET},moved.example" in s.call("CLUSTER", "NODES") for s in servers)

    wait_until(is_found, DEADLINE_S, lambda: listings(servers))
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
    assert all(cluster_nodes(server)[moving_id].is_well for server in servers)
