"""Labels and lists beside real servers: Valkey and Redis join and stay as before, and skip the extension of a label."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.peers.cluster import all_know_all, assign_slots, cluster_nodes, form, listings, meet, node_id, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 2000
UNKNOWN_EXTENSION = "Received unknown extension type 51969"


@pytest.mark.parametrize(("kind", "with_tls"), [("valkey", False), ("redis", True)])
def test_servers_of_other_kinds_join_a_cluster_with_a_label_and_lists(
    peers: Peers, certificates: Certificates, kind: str, with_tls: bool
) -> None:
    tls = certificates if with_tls else None
    guarded = {"cluster_label": "blue", "cluster_allow_networks": "127.0.0.0/8"}
    if tls is not None:
        guarded |= {
            "cluster_allow_certificate_names": "localhost",
            "cluster_pin_certificates": "key",
            "cluster_bus_port_protected_mode": "yes",
        }
    primaries = [peers(kind, certificates=tls, cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    ours = [peers("clusterbus", certificates=tls, cluster_node_timeout=NODE_TIMEOUT_MS, **guarded) for _ in range(2)]
    servers = [ours[0], *primaries, ours[1]]
    form(servers, primaries, DEADLINE_S)
    ours[1].kill()
    ours[1].start()
    primaries[1].kill()
    primaries[1].start()
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))
    lines = [server.log_text().count(UNKNOWN_EXTENSION) for server in primaries]
    assert all(count < 20 for count in lines), f"few heartbeats have the label: {lines}"
    refused = [name for server in ours for name in server.info() if name.startswith("cluster_refused_not_allowed")]
    assert refused == []
    for server in ours:
        assert server.info().get("cluster_refused_label", "0") == "0"
        assert server.info().get("cluster_refused_pin", "0") == "0"


def test_a_meet_between_two_labels_comes_to_nothing(peers: Peers) -> None:
    blue = [peers("clusterbus", cluster_label="blue", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    green = [peers("clusterbus", cluster_label="green", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    for cluster in (blue, green):
        assign_slots(cluster[:1])
        meet(cluster)
        wait_until(lambda cluster=cluster: all_know_all(cluster), DEADLINE_S, lambda: listings(blue + green))  # type: ignore[misc]
    blue[0].call("CLUSTER", "MEET", "127.0.0.1", green[0].port)
    wait_until(lambda: "cluster-label is 'green'" in blue[0].log_text(), DEADLINE_S, lambda: listings(blue + green))
    assert green[0].counter("cluster_refused_label") >= 1
    assert set(cluster_nodes(blue[0])) == {node_id(server) for server in blue}
    assert set(cluster_nodes(green[0])) == {node_id(server) for server in green}


def owned(server: Server) -> dict[str, tuple[str, ...]]:
    """The slots of each node, by node id, as a server sees it."""
    return {node_id: line.slots for node_id, line in cluster_nodes(server).items()}


def test_a_valkey_that_has_met_two_labels_gives_neither_cluster_the_slots_of_the_other(peers: Peers) -> None:
    """It skips labels, names the nodes of each cluster to the other, and says that the greater epoch has the slot."""
    blue = peers("clusterbus", cluster_label="blue", cluster_node_timeout=NODE_TIMEOUT_MS)
    middle = peers("valkey", cluster_node_timeout=NODE_TIMEOUT_MS)
    green = peers("clusterbus", cluster_label="green", cluster_node_timeout=NODE_TIMEOUT_MS)
    for server, epoch, first in ((blue, 1, 0), (green, 1_000, 8_000)):
        assert server.call("CLUSTER", "SET-CONFIG-EPOCH", epoch) == "OK"
        assert server.call("CLUSTER", "ADDSLOTSRANGE", first, 16383) == "OK"
    meet([middle, blue])
    wait_until(lambda: all_know_all([middle, blue]), DEADLINE_S, lambda: listings([middle, blue]))
    meet([middle, green])
    contested, told = ("8000-16383",), f"tells of slots of node {node_id(green)}, of another cluster"
    wait_until(
        lambda: owned(middle).get(node_id(green)) == contested and told in blue.log_text(),
        DEADLINE_S,
        lambda: f"an UPDATE says whose slots they are\n{listings([blue, middle, green])}\n{blue.log_text()}",
    )
    for server in (blue, green):
        wait_until(lambda server=server: server.info().get("cluster_refused_label"), DEADLINE_S, server.log_text)  # type: ignore[misc]
    assert owned(blue) == {node_id(blue): ("0-16383",), node_id(middle): (), node_id(green): ()}
    assert owned(green)[node_id(green)] == contested
    assert owned(green).get(node_id(blue), ()) == ()


@pytest.mark.parametrize(
    ("guard", "reason"),
    [({"cluster_allow_networks": "192.0.2.0/24"}, "address"), ({"cluster_allow_node_ids": "a" * 40}, "id")],
)
def test_a_valkey_that_is_not_listed_comes_to_nothing_with_its_meet(
    peers: Peers, guard: dict[str, str], reason: str
) -> None:
    ours = peers("clusterbus", cluster_node_timeout=NODE_TIMEOUT_MS, **guard)
    theirs = peers("valkey", cluster_node_timeout=NODE_TIMEOUT_MS)
    counter = f"cluster_refused_not_allowed_{reason}"
    assert theirs.call("CLUSTER", "MEET", "127.0.0.1", ours.port) == "OK"
    wait_until(lambda: ours.info().get(counter, "0") != "0", DEADLINE_S, lambda: f"{counter}\n{ours.log_text()}")
    assert set(cluster_nodes(ours)) == {node_id(ours)}
    (line, *_) = [line for line in ours.log_text().splitlines() if "cluster-allow-" in line]
    assert "127.0.0.1" in line
    if reason == "id":
        assert node_id(theirs) in line
