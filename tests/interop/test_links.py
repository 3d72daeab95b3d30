"""Links of a whole cluster under stress: links that are killed again and again, and a peer that stopped reading.

Each test creates the condition that it checks, and compares with a baseline that it took just before, in the calm
cluster.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusterbus import BlockingBus

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

KILLS = 10
DEADLINE_S = 30.0
LIMIT_BYTES = 4 << 20
MESSAGE_BYTES = 512 << 10
# More than the limit plus everything that the kernel may buffer on both sides.
MESSAGES_MAX = 100


def open_files(node: Server) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def links_with(node: Server, peer_id: str) -> set[tuple[str, str]]:
    """(direction, creation time) of every link with one peer, from CLUSTER LINKS."""
    tables = [dict(zip(row[::2], row[1::2], strict=True)) for row in node.call("CLUSTER", "LINKS")]
    return {(table["direction"], table["create-time"]) for table in tables if table["node"] == peer_id}


def kill_links(node: Server, peer_id: str) -> None:
    """Kills both links with a peer and waits for two others."""
    before = links_with(node, peer_id)
    assert node.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", peer_id) == "OK"
    wait_until(
        lambda: len(now := links_with(node, peer_id)) == 2 and not now & before,
        DEADLINE_S,
        lambda: f"both links are new: {links_with(node, peer_id)}",
    )


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("io_threads", [1, 3])
def test_links_killed_again_and_again_come_back_and_leave_nothing_behind_r15_r25(
    peers: Peers, certificates: Certificates, with_tls: bool, io_threads: int
) -> None:
    tls = certificates if with_tls else None
    nodes = [peers("clusterbus", certificates=tls, io_threads=io_threads) for _ in range(3)]
    form(nodes, nodes)
    node, peer = nodes[:2]
    peer_id = node_id(peer)
    wait_until(lambda: len(links_with(node, peer_id)) == 2, DEADLINE_S, "a link each way")
    files, accepts = open_files(node), node.counter("cluster_threaded_accepts_processed")

    for _ in range(KILLS):
        kill_links(node, peer_id)
    wait_until(lambda: all_know_all(nodes), DEADLINE_S, lambda: listings(nodes))
    wait_until(
        lambda: open_files(node) == files,
        DEADLINE_S,
        lambda: f"every socket is closed again: {open_files(node)}, {files} at first",
    )
    handshakes = node.counter("cluster_threaded_accepts_processed") - accepts
    assert handshakes >= KILLS if with_tls and io_threads > 1 else handshakes == 0


@pytest.mark.parametrize("io_threads", [1, 3])
def test_a_peer_that_stops_reading_costs_its_link_and_no_more_than_the_limit_r18_r25(
    peers: Peers, tmp_path: Path, io_threads: int
) -> None:
    stopped, reader = (peers("valkey", cluster_node_timeout=15_000) for _ in range(2))
    stopped_id, reader_id = node_id(stopped), node_id(reader)
    directives: dict[str, Any] = {"bind": "127.0.0.1", "dir": str(tmp_path), "cluster_node_timeout": 15_000}
    with BlockingBus(
        port=free_port(), io_threads=io_threads, cluster_link_sendbuf_limit=LIMIT_BYTES, **directives
    ) as bus:
        for peer in (stopped, reader):
            bus.meet("127.0.0.1", peer.port)
        bus.wait_until(lambda: well_connected(bus) == 3, DEADLINE_S)
        assert exceeded(bus) == 0

        stopped.signal(signal.SIGSTOP)
        try:
            most = 0
            for _ in range(MESSAGES_MAX):
                bus.publish(b"news", b"x" * MESSAGE_BYTES)
                # The peer that reads receives each message before the next one is sent.
                bus.wait_until(lambda: queued(bus, reader_id) == 0, DEADLINE_S)
                most = max(most, queued(bus, stopped_id))
                if exceeded(bus):
                    break
        finally:
            stopped.signal(signal.SIGCONT)
        assert exceeded(bus) == 1
        assert LIMIT_BYTES // 2 < most <= LIMIT_BYTES + 2 * MESSAGE_BYTES
        # The link to the stopped peer is dialled again; the peer that read never lost its link.
        bus.wait_until(lambda: well_connected(bus) == 3, DEADLINE_S)
        assert exceeded(bus) == 1
        own_id = bus.node_id

        def reader_is_sure() -> bool:
            line = cluster_nodes(reader).get(own_id)
            return line is not None and line.is_well

        # The bus has to be driven: the reader may be dialling it still, to end the handshake from its side.
        bus.wait_until(reader_is_sure, DEADLINE_S)


def well_connected(bus: BlockingBus) -> int:
    return sum(node.connected and not node.flags & {"fail", "fail?"} for node in bus.nodes.values())


def exceeded(bus: BlockingBus) -> int:
    return int(bus.cluster_info()["total_cluster_links_buffer_limit_exceeded"])


def queued(bus: BlockingBus, peer_id: str) -> int:
    """Bytes queued on our own link to one peer."""
    return sum(link.queued_bytes for link in bus.links() if link.node_id == peer_id and not link.inbound)


def test_a_link_on_which_no_pong_comes_is_dialled_anew_p7(peers: Peers) -> None:
    """Our node throws PONGs away. Its peer's PINGs keep coming, so the peer is well all the time."""
    ours, peer = servers = [peers(kind, cluster_node_timeout=1_000) for kind in ("clusterbus", "valkey")]
    form(servers, servers)
    peer_id = node_id(peer)
    before = links_with(ours, peer_id)
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "1") == "OK"

    def is_dialled_anew() -> bool:
        assert cluster_nodes(ours)[peer_id].flags == {"master"}
        return int(ours.info().get("cluster_links_lost_no_pong", 0)) >= 2

    wait_until(is_dialled_anew, DEADLINE_S, lambda: f"{ours.info()}")
    now = links_with(ours, peer_id)
    assert {link for link in before if link[0] == "from"} <= now, "the peer's own link stays"
    assert not {link for link in before if link[0] == "to"} & now
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-1") == "OK"
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
