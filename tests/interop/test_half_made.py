"""An acquaintance that only one side has made heals by itself, among Valkey and clusterbus nodes in every role (P40).

A node that is cut off by its own packet filter meets a new node. The new one hears of a third by that MEET, which takes
no MEET at the time. All handshakes end in vain; then all packets pass again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 2000
DEADLINE_S = 60.0
EVERYTHING, NOTHING, MEET = "-2", "-1", "2"


@pytest.mark.parametrize(
    "kinds",
    [
        ("clusterbus", "valkey", "valkey"),
        ("valkey", "clusterbus", "clusterbus"),
        ("clusterbus", "clusterbus", "valkey"),
    ],
    ids=["ours-new", "theirs-new", "mixed"],
)
def test_nodes_whose_handshakes_timed_out_know_each_other_in_the_end_p40(
    peers: Peers, kinds: tuple[str, str, str]
) -> None:
    new, meeter, third = servers = [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in kinds]
    form([meeter, third], [meeter, third])
    new_id, third_id = node_id(new), node_id(third)
    meeter.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", EVERYTHING)
    third.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", MEET)

    def has_heard() -> bool:
        if third_id in cluster_nodes(new):
            return True
        if not any("handshake" in line.flags for line in cluster_nodes(meeter).values()):
            meeter.call("CLUSTER", "MEET", "127.0.0.1", new.port)
        return False

    wait_until(has_heard, DEADLINE_S, lambda: f"{new} hears of {third}\n{listings(servers)}")
    wait_until(
        lambda: not any("handshake" in line.flags for one in servers for line in cluster_nodes(one).values()),
        DEADLINE_S,
        lambda: f"all handshakes end\n{listings(servers)}",
    )
    assert all(new_id not in cluster_nodes(one) for one in (meeter, third)), listings(servers)
    for one in (meeter, third):
        one.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", NOTHING)
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))


def test_a_node_that_is_forgotten_while_it_is_up_stays_out_p9_p40(peers: Peers) -> None:
    """FORGET lasts two seconds at the others; our node could have pushed itself upon them again long since."""
    ours, *others = servers = [
        peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS, cluster_blacklist_ttl=2)
        for kind in ("clusterbus", "valkey", "valkey")
    ]
    form(servers, servers)
    our_id = node_id(ours)
    received = "cluster_stats_messages_ping_received"
    wait_until(lambda: ours.counter(received) >= 8, DEADLINE_S, "both know our node")
    assert others[0].call("CLUSTER", "FORGET", our_id) == "OK"
    wait_until(
        lambda: not any(our_id in cluster_nodes(other) for other in others), DEADLINE_S, lambda: listings(servers)
    )
    assert set(cluster_nodes(ours)) == {our_id, *map(node_id, others)}
    least = others[0].counter(received) + 30
    wait_until(lambda: others[0].counter(received) >= least, DEADLINE_S, "our node goes on to PING them")
    assert not any(our_id in cluster_nodes(other) for other in others), listings(servers)
