"""Clusters whose nodes are processes: ours, real Valkey ones, and both beside buses of the test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.errors import ConfigError, StateError
from clusterbus.testing import NodeKind, cluster
from clusterbus.testing.processes import ProcessNode

from tests.loops import Run, until
from tests.peers.server import valkey_command
from tests.peers.tls import Certificates

pytestmark = pytest.mark.processes


@pytest.fixture
def _has_valkey() -> None:
    valkey_command()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_of(handle: object) -> int:
    assert isinstance(handle, ProcessNode)
    assert handle._process is not None
    return handle._process.pid


def test_processes_crash_take_over_and_come_back(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1, processes=True) as c:
            assert {handle.kind for handle in c.handles} == {NodeKind.PROCESS}
            assert c.nodes == []
            pids = [pid_of(handle) for handle in c.handles]
            assert await c.failover(0) == 3
            await c.move_slots(range(3), 1)
            await c.fail(2)
            assert not is_alive(pids[2])
            await c.wait_failed(2)
            await c.wait_ok()
            assert await c.owner_of(16_000) == 5
            await c.restart(2)
            await c.wait_ok()
            assert await c.primary_of(2) == 5
        assert not any(is_alive(pid) for pid in pids)

    run(scenario())


@pytest.mark.usefixtures("_has_valkey")
def test_real_valkey_nodes_stand_beside_buses(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3, valkey=2) as c:
            assert [handle.kind for handle in c.handles] == [NodeKind.BUS, NodeKind.VALKEY, NodeKind.VALKEY]
            (bus,) = c.nodes
            server = c.handles[1]
            assert isinstance(server, ProcessNode)
            assert bus.nodes[server.node_id].slots == ((5461, 10921),)
            await c.move_slots([0], 2)
            await c.move_slots([16_000], 0)
            key = "k"
            while (slot := await server.command("CLUSTER", "KEYSLOT", key)) not in range(5461, 10_922):
                key += "k"
            assert await server.command("SET", key, "v") == "OK"
            assert isinstance(slot, int)
            with pytest.raises(StateError, match=r"node 1: .*still hold keys for this hash slot"):
                await c.move_slots([slot], 0)
            assert await c.owner_of(slot) == 1
            await c.fail(1)
            await c.wait_failed(1)
            await c.restart(1)
            await c.wait_ok()
        async with cluster(primaries=2, replicas=1, valkey=4) as c:
            assert await c.failover(0) == 2
            await c.wait_ok()

    run(scenario())


@pytest.mark.usefixtures("_has_valkey")
def test_processes_and_buses_are_cut_off_from_each_other_and_come_together_again(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3, valkey=2) as c:
            ids = [handle.node_id for handle in c.handles]
            (bus,) = c.nodes
            await c.partition([0, 1], [2])
            await c.wait_until(lambda: {link.node_id for link in bus.links()} == {ids[1]})
            await c.wait_failed(2)
            views = [await handle.look() for handle in c.handles]
            assert [view.nodes[ids[2]].is_failed for view in views] == [True, True, False]

            async def is_down() -> bool:
                return not (await c.handles[2].look()).is_ok

            await c.wait_until(is_down)
            await c.fail(2)
            await c.restart(2)
            (again,) = c.nodes
            # A link may look well until it is hung up on, so what counts is that none of them brings an answer.
            await c.wait_until(lambda: int(again.cluster_info().get("cluster_links_lost_eof", 0)) >= 2)
            assert again.nodes[ids[0]].rtt_us is None, "a partition outlives a restart"
            await c.heal()
            await c.wait_ok()

    run(scenario())


def test_a_replica_process_on_the_larger_side_is_elected(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1, processes=True) as c:
            await c.partition([0])
            await c.wait_ok(1, 2, 3, 4, 5)
            assert await c.primary_of(3) is None
            await c.heal()
            await c.wait_ok()
            assert await c.primary_of(0) == 3

    run(scenario())


def test_a_bus_of_the_tests_own_joins_processes_also_during_a_partition(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            cluster(2, processes=True) as c,
            clusterbus.Bus(port=0, bind="127.0.0.1", dir=str(tmp_path), cluster_node_timeout=500) as bus,
        ):
            await c.partition([0], [1])
            for host, port in c.addresses:
                await bus.meet(host, port)
            ids = {handle.node_id for handle in c.handles}
            await until(lambda: ids == {node.node_id for node in bus.nodes.values() if node.connected} - {bus.node_id})

    run(scenario())


def test_over_tls_clusters_stand_and_processes_cannot_be_cut_off(run: Run, certificates: Certificates) -> None:
    files: Any = {name.replace("-", "_"): text for name, text in certificates.directives().items()}

    async def scenario() -> None:
        async with cluster(2, **files) as c:
            assert c.nodes[0]._config.port == 0
            assert c.addresses == [("127.0.0.1", bus.port) for bus in c.nodes]
            await c.partition([0], [1])
            await c.heal()
            await c.wait_ok()
        async with cluster(2, processes=True, **files) as c:
            with pytest.raises(StateError, match="processes whose bus speaks TLS cannot be partitioned"):
                await c.partition([0], [1])
            await c.wait_ok()

    run(scenario())


def test_nodes_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import asyncio
            from clusterbus.testing import cluster

            async def main():
                async with cluster(2, processes=True) as c:
                    print(*(handle._process.pid for handle in c.handles), flush=True)
                    await asyncio.Event().wait()

            asyncio.run(main())
        """)
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        os.kill(parent.pid, signal.SIGKILL)
    asyncio.run(until(lambda: not any(map(is_alive, pids))))


def test_a_node_that_does_not_start_shows_its_log(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match=r"node \d did not start\n(.|\n)*can't resolve 'no.such.host'"):
            async with cluster(2, processes=True, bind=["no.such.host"]):
                pass

    run(scenario())
