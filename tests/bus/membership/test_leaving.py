"""Leaving a cluster of Valkey, Redis and clusterbus nodes for good, on both buses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import clusterbus
import pytest
from clusterbus.errors import StateError
from clusterbus.member.membership.leaving import _Phase

from tests.bus.harness import DEADLINE_S, order, settings
from tests.loops import Run, until
from tests.peers.cluster import cluster_nodes, form, listings, meet, node_id
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]


def forgotten_by(servers: Sequence[Server], member_id: str) -> bool:
    return all(member_id not in cluster_nodes(server) for server in servers)


async def joined(bus: clusterbus.Bus, servers: Sequence[Server]) -> None:
    """The bus and all servers know each other."""
    await bus.join([f"127.0.0.1:{servers[0].port}"], DEADLINE_S)
    await bus.wait_for_nodes(len(servers) + 1, DEADLINE_S)
    own_id = bus.node_id
    await until(lambda: all(is_well_at(server, own_id) for server in servers))


def is_well_at(server: Server, member_id: str) -> bool:
    line = cluster_nodes(server).get(member_id)
    return line is not None and line.is_well


async def gossip_goes_round(servers: Sequence[Server]) -> None:
    """Waits until each server has had so many heartbeats that each other one has told it of everybody it knows."""
    name, rounds = "cluster_stats_messages_received", 20 * len(servers)
    before = {server: server.counter(name) for server in servers}
    await until(lambda: all(server.counter(name) >= before[server] + rounds for server in servers))


@pytest.mark.parametrize(
    "kinds",
    [("valkey", "redis", "clusterbus"), ("valkey", "valkey"), ("redis", "redis"), ("clusterbus", "clusterbus")],
    ids="+".join,
)
def test_every_member_forgets_the_leaver_and_none_brings_it_back(
    peers: Peers, tmp_path: Path, run: Run, kinds: tuple[str, ...]
) -> None:
    servers = [peers(kind) for kind in kinds]
    form(servers, servers)

    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "leaver")) as bus,
            clusterbus.Bus(**settings(tmp_path / "witness")) as witness,
        ):
            await joined(bus, servers)
            await joined(witness, servers)
            leaver = bus.node_id
            for member in (bus, witness):
                await member.wait_for_nodes(len(servers) + 2, DEADLINE_S)
            events = witness.events()
            report = await bus.leave(DEADLINE_S)
            assert report == clusterbus.LeaveReport({}, ())
            assert forgotten_by(servers, leaver), listings(servers)
            assert leaver not in witness.nodes
            assert bus.node_id != leaver
            assert len(bus.nodes) == 1
            await bus.close()
            await gossip_goes_round(servers)
            assert forgotten_by(servers, leaver), listings(servers)
            assert leaver not in witness.nodes
            await witness.close()
            told = [event async for event in events if getattr(event, "node_id", "") == leaver]
            assert clusterbus.NodeLeft(leaver, "left") in told
            assert not [event for event in told if isinstance(event, clusterbus.NodeFailed | clusterbus.NodeSuspected)]

    run(scenario())


@pytest.mark.parametrize("password", ["", "sesame"])
def test_valkey_and_redis_alone_are_told_at_their_client_ports(
    peers: Peers, tmp_path: Path, run: Run, password: str
) -> None:
    servers = [peers("valkey"), peers("redis")]
    form(servers, servers)
    for server in servers:
        server.call("CONFIG", "SET", "requirepass", password)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver"), primaryauth=password) as bus:
            await joined(bus, servers)
            leaver = bus.node_id
            assert (await bus.leave(DEADLINE_S)).untold == {}
            assert forgotten_by(servers, leaver), listings(servers)

    run(scenario())


def test_who_could_not_be_told_is_reported_with_the_reason(peers: Peers, tmp_path: Path, run: Run) -> None:
    reached, locked, stopped = servers = [peers(kind) for kind in ("valkey", "redis", "valkey")]
    form(servers, servers)
    ids = {server: node_id(server) for server in servers}

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver")) as bus:
            await joined(bus, servers)
            leaver = bus.node_id
            locked.call("CONFIG", "SET", "requirepass", "sesame")
            stopped.kill()
            await bus.wait_until(lambda: bus.nodes[ids[stopped]].is_failed, DEADLINE_S)
            report = await bus.leave(4)
            assert set(report.untold) == {ids[locked], ids[stopped]}
            assert "NOAUTH" in report.untold[ids[locked]]
            assert "refused" in report.untold[ids[stopped]]
            assert forgotten_by([reached], leaver)
            assert not forgotten_by([locked], leaver)

    run(scenario())


def test_a_replica_takes_over_before_its_primary_leaves(peers: Peers, tmp_path: Path, run: Run) -> None:
    servers = [peers("valkey") for _ in range(2)]
    for number, server in enumerate(servers):
        assert server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1) == "OK"
    servers[0].call("CLUSTER", "ADDSLOTSRANGE", 100, 9_999)
    servers[1].call("CLUSTER", "ADDSLOTSRANGE", 10_000, 16_383)
    meet(servers)
    common: dict[str, object] = {"cluster_replica_no_failover": "no"}

    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "primary", **common)) as primary,
            clusterbus.Bus(**settings(tmp_path / "replica", **common)) as replica,
        ):
            await order(primary, b"CLUSTER ADDSLOTSRANGE 0 99")
            await joined(primary, servers)
            await joined(replica, servers)
            leaver, heir = primary.node_id, replica.node_id
            for member in (primary, replica):
                await member.wait_for_nodes(4, DEADLINE_S)
            await order(replica, b"CLUSTER REPLICATE " + leaver.encode())
            await until(lambda: all(is_well_at(server, heir) for server in servers))
            await until(lambda: all(cluster_nodes(server)[heir].primary == leaver for server in servers))
            await primary.wait_until(lambda: primary.nodes[heir].primary_id == leaver, DEADLINE_S)
            report = await primary.leave(DEADLINE_S)
            assert report == clusterbus.LeaveReport({}, ())
            assert [(slots.first, slots.last) for slots in replica.slots if slots.node_id == heir] == [(0, 99)]
            assert forgotten_by(servers, leaver), listings(servers)
            await until(lambda: all(cluster_nodes(server)[heir].slots == ("0-99",) for server in servers))

    run(scenario())


def test_a_primary_that_serves_slots_takes_those_of_one_without_keys(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "leaver")) as leaver,
            clusterbus.Bus(**settings(tmp_path / "heir")) as heir,
            clusterbus.Bus(**settings(tmp_path / "watcher")) as watcher,
        ):
            await order(leaver, b"CLUSTER ADDSLOTSRANGE 0 99")
            await order(heir, b"CLUSTER ADDSLOTSRANGE 100 16383")
            for member in (leaver, watcher):
                await member.join([f"127.0.0.1:{heir.port}"], DEADLINE_S)
            for member in (leaver, heir, watcher):
                await member.wait_for_nodes(3, DEADLINE_S)
                await member.wait_ok(DEADLINE_S)
            assert await leaver.leave(DEADLINE_S) == clusterbus.LeaveReport({}, ())
            for member in (heir, watcher):
                await member.wait_until(lambda: owns_all(member, heir.node_id), DEADLINE_S)  # noqa: B023
                assert member.is_ok

    run(scenario())


def owns_all(bus: clusterbus.Bus, member_id: str) -> bool:
    return {slots.node_id for slots in bus.slots} == {member_id} and bus.slots[-1].last == 16_383


class Keys(clusterbus.DataPlane):
    """A data plane with keys."""

    def count_keys(self) -> int:
        return 7

    def replication_offset(self) -> int:
        return 100


def test_a_primary_with_keys_stays_unless_told_and_names_the_slots_it_leaves(
    peers: Peers, tmp_path: Path, run: Run
) -> None:
    server = peers("valkey")

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver"), data_plane=Keys()) as bus:
            await order(bus, b"CLUSTER ADDSLOTSRANGE 0 9")
            await joined(bus, [server])
            leaver = bus.node_id
            with pytest.raises(StateError, match="7 keys"):
                await bus.leave(DEADLINE_S)
            assert (bus.node_id, len(bus.nodes)) == (leaver, 2)
            report = await bus.leave(DEADLINE_S, with_keys=True)
            assert report == clusterbus.LeaveReport({}, ((0, 9),))
            assert forgotten_by([server], leaver)

    run(scenario())


def test_leaving_can_be_called_off_until_others_are_told(peers: Peers, tmp_path: Path, run: Run) -> None:
    server = peers("valkey")

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver")) as bus:
            await joined(bus, [server])
            leaver = bus.node_id
            listeners_len = len(bus._member().driver.tick_listeners)
            leaving = asyncio.create_task(bus.leave(DEADLINE_S))
            await asyncio.sleep(0)
            with pytest.raises(StateError, match="leaving already"):
                await bus.leave()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert bus.node_id == leaver
            assert len(bus.nodes) == 2
            assert len(bus._member().driver.tick_listeners) == listeners_len
            assert (await bus.leave(DEADLINE_S)).untold == {}

    run(scenario())


def test_a_bus_that_is_closed_while_others_are_told_has_left(peers: Peers, tmp_path: Path, run: Run) -> None:
    """nodes.conf must not keep the id that others forget."""
    server = peers("redis")

    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "leaver"))
        async with bus:
            await joined(bus, [server])
            leaver = bus.node_id
            leaving = bus._begin_leave(DEADLINE_S, with_keys=False)
            await until(lambda: leaving._progress.phase is _Phase.TELLING)
        assert leaving.report is not None
        async with bus:
            assert (bus.node_id != leaver, len(bus.nodes)) == (True, 1)

    run(scenario())


def test_a_leaver_joins_nobody_by_itself_and_anybody_when_told(peers: Peers, tmp_path: Path, run: Run) -> None:
    server = peers("valkey")
    seeds = [f"127.0.0.1:{server.port}"]

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver"), seeds=seeds) as bus:
            await bus.wait_for_nodes(2, DEADLINE_S)
            await until(lambda: bus.node_id in cluster_nodes(server))
            await bus.leave(DEADLINE_S)
            left_as = bus.node_id
            with pytest.raises(TimeoutError):  # longer than a node that is alone waits with its seeds
                await bus.wait_for_nodes(2, 2.5)
        async with clusterbus.Bus(**settings(tmp_path / "leaver")) as bus:
            assert (bus.node_id, len(bus.nodes)) == (left_as, 1)
            assert await bus.join(seeds, DEADLINE_S) == 2

    run(scenario())


def test_the_blocking_bus_leaves(peers: Peers, tmp_path: Path) -> None:
    servers = [peers("valkey"), peers("clusterbus"), peers("redis")]
    form(servers, servers)
    with clusterbus.BlockingBus(**settings(tmp_path / "leaver")) as bus:
        bus.join([f"127.0.0.1:{servers[0].port}"], DEADLINE_S)
        leaver = bus.node_id
        bus.wait_until(lambda: all(leaver in cluster_nodes(server) for server in servers), DEADLINE_S)
        assert bus.leave(DEADLINE_S).untold == {}
        assert forgotten_by(servers, leaver), listings(servers)


def test_leaving_a_cluster_that_speaks_mutual_tls(
    peers: Peers, tmp_path: Path, run: Run, certificates: Certificates
) -> None:
    servers = [peers("redis", certificates=certificates) for _ in range(2)]
    form(servers, servers)
    words = {name.replace("-", "_"): value for name, value in certificates.directives().items()}

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "leaver", tls_port=free_port(), **words)) as bus:
            await joined(bus, servers)
            leaver = bus.node_id
            assert (await bus.leave(DEADLINE_S)).untold == {}
            assert forgotten_by(servers, leaver), listings(servers)

    run(scenario())
