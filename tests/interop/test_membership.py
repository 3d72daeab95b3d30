"""Clusters of clusterbus nodes and real servers: all members list all members, and agree on failed nodes.

Every member is asked with the same commands. The figures of the I/O threads come from INFO of our nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.interop.bus_peer import PeerGroup, ask_once
from tests.peers.cluster import cluster_nodes, form, hold_failed, listings, node_id, wait_agreed, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

JOIN_DEADLINE_S = 30.0
FAIL_DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 2000
IO_THREADS = 3
CALM_PACKETS = 20
GOOD_ID = "a" * 40


@pytest.mark.parametrize(("kind", "with_tls"), [("valkey", False), ("redis", True)])
def test_three_primaries_and_three_nodes_join_and_agree_on_the_dead_r1_r25_s3_s12(
    peers: Peers, certificates: Certificates, kind: str, with_tls: bool
) -> None:
    tls = certificates if with_tls else None
    primaries = [peers(kind, certificates=tls, cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(3)]
    ours = [start_node(peers, tls) for _ in range(3)]
    servers = primaries + ours
    form(servers, primaries, JOIN_DEADLINE_S)
    check_work_ran_on_workers(ours, with_tls=with_tls)

    dead_id = node_id(ours[-1])
    ours.pop().kill()
    servers = primaries + ours
    wait_until(lambda: hold_failed(servers, dead_id), FAIL_DEADLINE_S, lambda: listings(servers))

    dead_id = node_id(primaries[-1])
    primaries.pop().kill()
    servers = primaries + ours
    wait_until(lambda: hold_failed(servers, dead_id), FAIL_DEADLINE_S, lambda: listings(servers))
    # The slots of the dead primary are not served, so the state is fail on every member.
    wait_until(
        lambda: all(server.info()["cluster_state"] == "fail" for server in servers),
        FAIL_DEADLINE_S,
        lambda: listings(servers),
    )


def start_node(peers: Peers, tls: Certificates | None, **directives: object) -> Server:
    directives = {"cluster_node_timeout": NODE_TIMEOUT_MS, "io_threads": IO_THREADS} | directives
    return peers("clusterbus", certificates=tls, **directives)


def wait_for_packets(nodes: Sequence[Server], count: int) -> None:
    """Waits until each of them has got so many more."""
    least = {node: node.counter("cluster_stats_messages_received") + count for node in nodes}
    wait_until(
        lambda: all(node.counter("cluster_stats_messages_received") >= least[node] for node in nodes),
        JOIN_DEADLINE_S,
        f"{nodes} receive {count} more packets each",
    )


def check_work_ran_on_workers(nodes: Sequence[Server], *, with_tls: bool) -> None:
    """R1, R4, R16, R24, R30: workers handled packets and handshakes; in a calm cluster the main thread handled none."""
    wait_for_packets(nodes, CALM_PACKETS)
    for node in nodes:
        assert node.counter("cluster_threaded_reads_processed") > 0
        assert node.counter("cluster_threaded_writes_processed") > 0
        assert node.counter("cluster_io_main_thread_fallbacks") == 0
        accepts = node.counter("cluster_threaded_accepts_processed")
        assert accepts > 0 if with_tls else accepts == 0


def test_counters_of_the_offload_stand_in_info_and_in_cluster_info_r24(peers: Peers) -> None:
    node = start_node(peers, None)
    for text in (node.call("INFO"), node.call("CLUSTER", "INFO")):
        for name in ("reads", "writes", "accepts"):
            assert f"cluster_threaded_{name}_processed:" in text
        assert "cluster_io_main_thread_fallbacks:" in text
    info = node.call("INFO")
    assert "io_threads_active:" in info
    assert "used_active_time_main_thread:" in info
    assert "used_active_time_io_thread_1:" in info
    assert "used_active_time_io_thread_2:" in info


def test_with_one_io_thread_everything_runs_on_the_main_thread_r4(peers: Peers, certificates: Certificates) -> None:
    nodes = [start_node(peers, certificates, io_threads=1) for _ in range(3)]
    form(nodes, nodes)
    for node in nodes:
        assert node.counter("cluster_stats_messages_received") > 0
        assert node.counter("cluster_threaded_reads_processed") == 0
        assert node.counter("cluster_threaded_writes_processed") == 0
        assert node.counter("cluster_threaded_accepts_processed") == 0
        assert node.counter("cluster_io_main_thread_fallbacks") == 0


def test_valkey_redis_and_clusterbus_agree_on_members_slots_and_epochs_s12(peers: Peers) -> None:
    kinds = ("valkey", "redis", "valkey", "redis")
    theirs = [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in kinds]
    ours = [start_node(peers, None) for _ in range(2)]
    servers = theirs + ours
    form(servers, [theirs[0], theirs[1], ours[0]], JOIN_DEADLINE_S)
    wait_agreed(servers, JOIN_DEADLINE_S)
    assert {server.counter("cluster_slots_assigned") for server in servers} == {16_384}
    assert {server.counter("cluster_size") for server in servers} == {3}
    assert len({server.counter("cluster_current_epoch") for server in servers}) == 1


def wait_for_refusal(node: Server, before: int) -> None:
    wait_until(lambda: accepts_refused(node) > before, JOIN_DEADLINE_S, lambda: f"a refusal is counted: {node.info()}")


@pytest.mark.parametrize("io_threads", [1, 3])
def test_a_client_the_authority_does_not_vouch_for_is_refused_on_the_bus_h35_h36(
    peers: Peers,
    bus: PeerGroup,
    certificates: Certificates,
    stranger_certificates: Certificates,
    io_threads: int,
) -> None:
    node = start_node(peers, certificates, io_threads=io_threads)
    good = bus.peer(GOOD_ID, node)
    wait_until(lambda: knows_well(node, GOOD_ID), JOIN_DEADLINE_S, lambda: listings([node]))

    without = certificates.client_context(with_certificate=False)
    stranger = stranger_certificates.client_context()
    stranger.load_verify_locations(certificates.ca_cert_file)
    for context in (without, stranger, None):  # None: plain bytes on a TLS port
        before = accepts_refused(node)
        assert bus.loop.run(ask_once(node, context, good.heartbeat())) is None
        wait_for_refusal(node, before)
    # The good peer is still served, on its old link and on a new one.
    assert bus.loop.run(good.ping()) is not None
    assert bus.loop.run(ask_once(node, certificates.client_context(), good.heartbeat())) is not None
    assert set(cluster_nodes(node)) == {node_id(node), GOOD_ID}


def accepts_refused(node: Server) -> int:
    """The number of connections that ended before they became links, for any reason."""
    table = node.info()
    return sum(int(value) for name, value in table.items() if name.startswith("cluster_accepts_refused_"))


def knows_well(node: Server, peer_id: str) -> bool:
    line = cluster_nodes(node).get(peer_id)
    return line is not None and line.is_well
