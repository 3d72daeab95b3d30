"""A node keeps its id, epochs and known nodes, no matter how its process ended.

SIGTERM and SIGINT save nodes.conf and end the process with 0.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import pytest

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import STOP_DEADLINE_S, Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

RESTARTS = 3
DEADLINE_S = 30.0


def memory(node: Server) -> tuple[object, ...]:
    """What a node must know right after a restart, before another node tells it anything."""
    info = node.info()
    members = frozenset(
        (line.node_id, line.port, line.config_epoch, line.slots) for line in cluster_nodes(node).values()
    )
    return node_id(node), info["cluster_current_epoch"], info["cluster_my_epoch"], members


def settle(servers: Sequence[Server]) -> None:
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_node_keeps_id_epochs_and_known_nodes_over_restarts_s10_r25(
    peers: Peers, certificates: Certificates, end: str
) -> None:
    nodes = [peers("clusterbus", certificates=certificates, io_threads=3) for _ in range(3)]
    form(nodes, nodes)
    wait_until(
        lambda: len({node.info()["cluster_current_epoch"] for node in nodes}) == 1,
        DEADLINE_S,
        lambda: listings(nodes),
    )
    first, *others = nodes
    for _ in range(RESTARTS):
        settle(nodes)
        before = memory(first)
        assert getattr(first, end)() in (0, None)
        first.start()
        assert memory(first) == before
    settle(nodes)
    assert all(node.counter("cluster_known_nodes") == len(nodes) for node in others)


def test_a_node_alone_after_a_restart_still_knows_the_others_s10(peers: Peers) -> None:
    nodes = [peers("clusterbus") for _ in range(2)] + [peers("valkey")]
    form(nodes, nodes)
    before = memory(nodes[0])
    for node in nodes:
        assert node.stop() == 0
    nodes[0].start()
    assert memory(nodes[0]) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("io_threads", [1, 3])
def test_a_signal_saves_nodes_conf_and_ends_with_0_s10(peers: Peers, number: signal.Signals, io_threads: int) -> None:
    node = peers("clusterbus", io_threads=io_threads)
    own_id = node_id(node)
    file = node.folder / "nodes.conf"
    file.unlink()
    node.disconnect()
    node.signal(number)
    assert node.process is not None
    assert node.process.wait(STOP_DEADLINE_S) == 0
    assert own_id in file.read_text()


def test_a_node_that_hangs_still_ends_on_a_signal(peers: Peers) -> None:
    node = peers("clusterbus")
    sleeper = node.connect()
    sleeper.send_command("DEBUG", "SLEEP", 2, check_health=False)
    node.signal(signal.SIGTERM)
    assert node.process is not None
    assert node.process.wait(STOP_DEADLINE_S) == 0
    sleeper.disconnect()


def test_nodes_conf_of_a_node_is_read_by_valkey_and_the_other_way_round_s10(peers: Peers) -> None:
    """Each server starts in the folder of the other kind, and is the same member as before."""
    ours, theirs = peers("clusterbus"), peers("valkey")
    form([ours, theirs], [ours, theirs])
    ids = node_id(ours), node_id(theirs)
    for server in (ours, theirs):
        assert server.stop() == 0
    ours.kind, theirs.kind = theirs.kind, ours.kind
    ours.start()
    theirs.start()
    assert (node_id(ours), node_id(theirs)) == ids
    settle([ours, theirs])
    assert sorted(line.slots for line in cluster_nodes(ours).values()) == [("0-8191",), ("8192-16383",)]
