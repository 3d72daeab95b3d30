"""Links of a whole cluster under stress: killed again and again, over TCP and TLS.

Each test makes the condition it checks and measures against a baseline of its own, taken in the calm
cluster just before.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.peers.cluster import all_know_all, form, node_id, views, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

KILLS = 10
DEADLINE_S = 15.0


def open_files(node: Server) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def links_with(node: Server, peer_id: str) -> set[tuple[str, str]]:
    """(direction, create time) of every link with one peer, as CLUSTER LINKS tells."""
    tables = [dict(zip(row[::2], row[1::2], strict=True)) for row in node.call("CLUSTER", "LINKS")]
    return {(table["direction"], table["create-time"]) for table in tables if table["node"] == peer_id}


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
        before = links_with(node, peer_id)
        assert node.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", peer_id) == "OK"
        wait_until(
            lambda before=before: (  # type: ignore[misc]
                len(now := links_with(node, peer_id)) == 2 and not now & before
            ),
            DEADLINE_S,
            lambda: f"both links are new: {links_with(node, peer_id)}",
        )
    wait_until(lambda: all_know_all(nodes), DEADLINE_S, lambda: views(nodes))
    wait_until(
        lambda: open_files(node) == files,
        DEADLINE_S,
        lambda: f"every socket is closed again: {open_files(node)}, {files} at first",
    )
    handshakes = node.counter("cluster_threaded_accepts_processed") - accepts
    assert handshakes >= KILLS if with_tls and io_threads > 1 else handshakes == 0
