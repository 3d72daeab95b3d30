"""Two nodes meet, learn each other, and keep pinging (S1, S2, S8)."""

from __future__ import annotations

from tests.cluster.harness import Network, all_connected, joined


def test_s1_two_nodes_meet_both_ways_and_agree() -> None:
    network = Network()
    first, second = network.add("first"), network.add("second")
    network.meet(first, second)
    network.run_until(lambda: all_connected([first, second]), 2_000)
    for one, other in ((first, second), (second, first)):
        known = one.node(other)
        assert (known.ip, known.port, known.cport) == (other.ip, other.config.port, other.state.myself.cport)
        assert known.shard_id == other.state.myself.shard_id
        assert known.is_primary
        assert not known.in_handshake


def test_s2_an_idle_cluster_keeps_pinging() -> None:
    network = Network()
    first, second = joined(network, 2)
    network.run(10_000)
    for one, other in ((first, second), (second, first)):
        assert network.now_ms - one.node(other).pong_received_ms <= one.config.cluster_node_timeout
