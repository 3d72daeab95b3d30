"""A network that loses packets without a word, one way or both ways, between the node and one or all others (H32)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.faults.mixed import DEADLINE_S, PRIMARIES, Mixed
from tests.interop.faults.network import Network
from tests.peers.cluster import cluster_nodes, hold_failed, listings, node_id, wait_until

NODE, OTHER = PRIMARIES, PRIMARIES + 1
HOSTS = PRIMARIES + 2


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    network = Network(HOSTS)
    try:
        yield network
    finally:
        network.close()


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[Mixed]:
    """In place of the cluster on loopback."""
    cluster = Mixed(tmp_path_factory.mktemp("mixed"), [network.surroundings(host) for host in range(HOSTS)])
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def test_packets_of_one_way_alone_are_lost_and_nobody_fails_h32(mixed: Mixed, network: Network) -> None:
    """The node hears nothing of one other. Everybody else hears both, so neither is FAIL."""
    node, other_id = mixed.node, node_id(mixed.other)
    redialled = node.counter("cluster_dials_failed") if "cluster_dials_failed" in node.info() else 0
    with network.cut((OTHER, NODE)):
        wait_until(
            lambda: cluster_nodes(node)[other_id].is_suspected,
            DEADLINE_S,
            lambda: f"the node suspects the other\n{listings([node])}",
        )
        mixed.wait_info("cluster_nodes_pfail", 1)
        mixed.wait_info("cluster_dials_failed", lambda text: int(text or 0) > redialled)
        assert not any(hold_failed([server], other_id) for server in mixed.servers)
        assert not any(line.is_suspected for line in cluster_nodes(mixed.primaries[1]).values())
    mixed.wait_info("cluster_nodes_pfail", 0)


def test_a_node_that_nobody_hears_is_failed_and_comes_back_on_new_links_h32(mixed: Mixed, network: Network) -> None:
    """Half-open links: no end of any of them is told that the other is gone."""
    node, others = mixed.node, [server for server in mixed.servers if server is not mixed.node]
    ways = [way for host in range(HOSTS) if host != NODE for way in ((host, NODE), (NODE, host))]
    with network.cut(*ways):
        wait_until(lambda: hold_failed(others, mixed.node_id), DEADLINE_S, lambda: listings(others))
        mixed.wait_info("cluster_state", "fail")
        assert not any(line.is_failed for line in cluster_nodes(node).values()), "alone it can fail nobody"
    mixed.wait_info("cluster_state", "ok")
