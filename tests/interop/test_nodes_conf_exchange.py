"""nodes.conf both ways: a server starts with the file that another kind wrote, and is the same member (S10, S12).

In a cluster with everything that a line can contain (names, a replica, moving slots, a failed node, gaps) one member is
stopped and comes back as the other kind of server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers.cluster import NodeLine, all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

DEADLINE_S = 30.0
CHANGES = [("clusterbus", "valkey"), ("valkey", "clusterbus")]


def facts(line: NodeLine) -> tuple[object, ...]:
    """The facts about every node that a restart must not change."""
    return (
        line.node_id, line.ip, line.port, line.cport, line.flags - {"myself"}, line.primary, line.config_epoch,
        line.slots,
    )  # fmt: skip


def told(server: Server) -> dict[str, tuple[object, ...]]:
    return {line.node_id: facts(line) for line in cluster_nodes(server).values()}


def expected_of(replica: NodeLine, kind: str) -> tuple[object, ...]:
    """What a replica says of itself when it comes back as that kind. Ours has no data and so stands back (P1)."""
    stands_back = {"nofailover"} if kind == "clusterbus" else set[str]()
    return facts(replace(replica, flags=replica.flags - {"nofailover"} | stands_back))


def epochs(server: Server) -> str:
    return server.info()["cluster_current_epoch"]


def reborn(server: Server, kind: str) -> Server:
    """Stops the server and starts one of another kind in its folder, on its port, with its directives."""
    assert server.stop() == 0
    heir = Server(kind, server.folder, directives=server.directives)
    heir.port = server.port
    return heir.start()


@pytest.mark.parametrize(("writer", "reader"), CHANGES)
def test_a_member_comes_back_as_the_other_kind_with_all_it_knew_s10_p22(peers: Peers, writer: str, reader: str) -> None:
    names = {
        "cluster_announce_hostname": "host-{}.example.org",
        "cluster_announce_human_nodename": "node-{}",
        "cluster_announce_client_ipv4": "10.1.1.{}",
        "cluster_announce_client_port": "710{}",
        "cluster_announce_client_tls_port": "720{}",
    }
    servers = [
        peers(kind, **{name: value.format(index) for name, value in names.items()})
        for index, kind in enumerate([writer, "valkey", "clusterbus", writer])
    ]
    changed, _, victim, replica = servers
    form(servers, servers[:3], DEADLINE_S)
    changed_id, mover_id, victim_id = map(node_id, servers[:3])
    assert replica.call("CLUSTER", "REPLICATE", changed_id) == "OK"
    wait_until(
        lambda: all(cluster_nodes(server)[node_id(replica)].primary == changed_id for server in servers),
        DEADLINE_S,
        lambda: listings(servers),
    )
    own = [int(bound) for bound in cluster_nodes(changed)[changed_id].slots[0].split("-")]
    moving = (own[0] + 5, own[0] + 7)
    foreign = int(cluster_nodes(changed)[mover_id].slots[0].split("-")[0])
    for slot in moving:
        assert changed.call("CLUSTER", "SETSLOT", slot, "MIGRATING", mover_id) == "OK"
    assert changed.call("CLUSTER", "SETSLOT", foreign, "IMPORTING", mover_id) == "OK"
    victim.kill()
    wait_until(lambda: cluster_nodes(changed)[victim_id].is_failed, DEADLINE_S, lambda: listings([changed]))

    before, epoch, text = told(changed), epochs(changed), changed.call("CLUSTER", "NODES")
    for name in (
        "host-0.example.org",
        "host-2.example.org",
        "10.1.1.2:7102@",
        f"[{moving[0]}->-{mover_id}]",
        f"[{foreign}-<-{mover_id}]",
    ):
        assert name in text
    heir = reborn(changed, reader)
    try:
        assert node_id(heir) == changed_id
        assert told(heir) == before, text
        assert epochs(heir) == epoch
        hosts = {line.split()[1].partition(",")[2] for line in heir.call("CLUSTER", "NODES").splitlines() if line}
        assert hosts == {f"host-{index}.example.org" for index in range(4)}
        others = [server for server in servers if server not in (changed, victim)]
        wait_until(
            lambda: (
                all(cluster_nodes(server)[changed_id].is_well for server in others)
                and all(cluster_nodes(heir)[node_id(server)].is_well for server in others)
            ),
            DEADLINE_S,
            lambda: listings([heir, *others]),
        )
        assert heir.call("CLUSTER", "SETSLOT", moving[0], "STABLE") == "OK"
    finally:
        heir.stop()


@pytest.mark.parametrize(("writer", "reader"), CHANGES)
def test_a_replica_comes_back_as_the_other_kind_of_replica_s10(peers: Peers, writer: str, reader: str) -> None:
    servers = [peers(kind) for kind in ("valkey", "clusterbus", writer)]
    form(servers, servers[:2], DEADLINE_S)
    replica, primary_id = servers[2], node_id(servers[0])
    assert replica.call("CLUSTER", "REPLICATE", primary_id) == "OK"
    replica_id = node_id(replica)
    wait_until(
        lambda: all(cluster_nodes(server)[replica_id].primary == primary_id for server in servers),
        DEADLINE_S,
        lambda: listings(servers),
    )
    shard = replica.call("CLUSTER", "MYSHARDID")
    before = told(replica) | {replica_id: expected_of(cluster_nodes(replica)[replica_id], reader)}
    heir = reborn(replica, reader)
    try:
        assert (node_id(heir), heir.call("CLUSTER", "MYSHARDID")) == (replica_id, shard)
        assert told(heir) == before
        now = [*servers[:2], heir]
        wait_until(lambda: all_know_all(now), DEADLINE_S, lambda: listings(now))
        assert cluster_nodes(heir)[replica_id].primary == primary_id
    finally:
        heir.stop()


def test_config_rewrite_is_read_by_both_s11(peers: Peers, tmp_path: Path) -> None:
    """Both kinds of server start with a file that a node rewrote. Comments and other lines stay in it."""
    node = peers("clusterbus", config_file=True)
    assert node.config_file is not None
    node.config_file.write_text("# kept by whoever rewrites\n" + node.config_file.read_text())
    node.restart()
    changes = {
        "cluster-node-timeout": "4321",
        "cluster-announce-hostname": "a.example.org",
        "cluster-announce-human-nodename": "a-node",
        "cluster-require-full-coverage": "no",
        "cluster-replica-validity-factor": "7",
        "cluster-link-sendbuf-limit": "1048576",
        "cluster-announce-client-ipv4": "10.1.1.1",
        "cluster-announce-client-ipv6": "::2",
        "availability-zone": "zone-1",
    }
    for name, value in changes.items():
        assert node.call("CONFIG", "SET", name, value) == "OK"
    assert node.call("CONFIG", "REWRITE") == "OK"
    text = node.config_file.read_text()
    assert "# kept by whoever rewrites" in text
    node.stop()
    for reader in ("clusterbus", "valkey"):
        heir = Server(reader, tmp_path / f"heir-{reader}", config_file=True)
        assert heir.config_file is not None
        lines = [line for line in text.splitlines() if line.split()[:1] not in (["dir"], ["port"])]
        heir.port = node.port
        heir.config_file.write_text("\n".join([*lines, f"dir {heir.folder}", f"port {heir.port}", ""]))
        try:
            heir.start()
            for name, value in changes.items():
                assert heir.call("CONFIG", "GET", name) == [name, value]
            if reader == "clusterbus":
                assert "a.example.org" in heir.call("CLUSTER", "NODES")
        finally:
            heir.stop()
