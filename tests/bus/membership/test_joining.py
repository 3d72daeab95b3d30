"""Joining by seeds and waiting, on both buses, among real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clusterbus
import pytest
from clusterbus.errors import ConfigError, StateError

from tests.bus.harness import DEADLINE_S, settings, well
from tests.loops import Run, until
from tests.peers.cluster import cluster_nodes, form
from tests.peers.ports import free_port
from tests.peers.server import Server

Peers = Callable[..., Server]


@pytest.fixture
def late_seed(tmp_path: Path) -> Iterator[Server]:
    """A Valkey server that has a port and is not started yet."""
    server = Server("valkey", tmp_path / "late")
    server.port = free_port()
    yield server
    server.stop()


@pytest.mark.parametrize("kind", ["valkey", "redis", "clusterbus"])
def test_join_returns_when_the_seed_knows_us(peers: Peers, tmp_path: Path, run: Run, kind: str) -> None:
    servers = [peers(kind), peers("valkey")]
    form(servers, servers)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            assert await bus.join([f"localhost:{servers[0].port}"], DEADLINE_S) >= 2
            assert bus.node_id in cluster_nodes(servers[0])
            assert "handshake" not in cluster_nodes(servers[0])[bus.node_id].flags
            await bus.wait_for_nodes(3, DEADLINE_S)
            await bus.wait_ok(DEADLINE_S)
            assert well(bus) == 3

    run(scenario())


@pytest.mark.processes
def test_a_seed_that_comes_up_late_is_joined(tmp_path: Path, run: Run, late_seed: Server) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            failures = bus.events()
            joining = asyncio.create_task(bus.join([f"127.0.0.1:{late_seed.port}"], DEADLINE_S))
            async for event in failures:
                if isinstance(event, clusterbus.HandshakeFailed):
                    assert event.port == late_seed.port
                    assert "refused" in event.reason
                    break
            await asyncio.to_thread(late_seed.start)
            assert await joining == 2

    run(scenario())


def test_dead_seeds_are_named_with_their_reasons(tmp_path: Path, run: Run) -> None:
    dead = f"127.0.0.1:{free_port()}"

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            listeners_len = len(bus._member().driver.tick_listeners)
            with pytest.raises(TimeoutError, match=r"within 0\.5 s") as failed:
                await bus.join([dead, "no-such-host.invalid:7000"], 0.5)
            assert isinstance(failed.value, clusterbus.JoinError)
            assert "refused" in failed.value.reasons[dead]
            assert f"{dead}: " in str(failed.value)
            with pytest.raises(ConfigError, match="nowhere"):
                await bus.join(["nowhere"], 1)
            assert await bus.join([f"127.0.0.1:{bus.port}"], 5) == 1
            assert len(bus._member().driver.tick_listeners) == listeners_len

    run(scenario())


def test_a_bus_with_seeds_joins_in_the_background_and_again_when_alone(peers: Peers, tmp_path: Path, run: Run) -> None:
    first, second = peers("valkey"), peers("valkey")
    seeds = [f"127.0.0.1:{server.port}" for server in (first, second)]

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus"), seeds=seeds[:1]) as bus:
            await bus.wait_for_nodes(2, DEADLINE_S)
            bus_id = bus.node_id
        first.stop()
        async with clusterbus.Bus(**settings(tmp_path / "bus"), seeds=seeds[1:]) as bus:
            assert bus.node_id == bus_id
            assert len(bus.nodes) == 2, "nodes.conf names the seed that is gone"
            await bus.wait_for_nodes(2, DEADLINE_S)
            await until(lambda: bus_id in cluster_nodes(second))

    run(scenario())


def test_members_with_the_same_seeds_find_each_other(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        all_settings = [settings(tmp_path / name) for name in "abc"]
        seeds = [f"127.0.0.1:{one['port']}" for one in all_settings[:2]]
        buses = [clusterbus.Bus(**one, seeds=seeds) for one in all_settings]
        try:
            for bus in buses:
                await bus.open()
            for bus in buses:
                await bus.wait_for_nodes(3, DEADLINE_S)
        finally:
            for bus in buses:
                await bus.close()

    run(scenario())


def test_the_blocking_bus_joins_and_waits(peers: Peers, tmp_path: Path) -> None:
    servers = [peers("valkey"), peers("clusterbus")]
    form(servers, servers)
    dead = f"127.0.0.1:{free_port()}"
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        with pytest.raises(clusterbus.JoinError, match=f"{dead}: .*refused"):
            bus.join([dead], 0.5)
        assert bus.join([dead, f"localhost:{servers[0].port}"], DEADLINE_S) >= 2
        bus.wait_for_nodes(3, DEADLINE_S)
        bus.wait_ok(DEADLINE_S)
        with pytest.raises(TimeoutError, match=r"4 members within reach did not come about within 0\.2 s"):
            bus.wait_for_nodes(4, 0.2)
    with (
        clusterbus.BlockingBus(**settings(tmp_path / "other"), seeds=[f"127.0.0.1:{servers[0].port}"]) as bus,
    ):
        bus.wait_for_nodes(3, DEADLINE_S)
        bus.wait_until(lambda: bus.node_id in cluster_nodes(servers[1]), DEADLINE_S)


# ---------------------------------------------------------------- waiting


def test_waiting_ends_with_the_condition_its_error_or_the_time(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            await bus.wait_until(lambda: True, 0)
            flag: list[int] = []
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, flag.append, 1)
            await asyncio.gather(*(bus.wait_until(lambda: flag, DEADLINE_S) for _ in range(3)))
            begun_s = time.monotonic()
            with pytest.raises(TimeoutError, match=r"the condition did not come about within 0\.3 s"):
                await bus.wait_until(lambda: False, 0.3)
            assert time.monotonic() - begun_s >= 0.29  # timers count whole milliseconds
            with pytest.raises(ZeroDivisionError):
                await bus.wait_until(lambda: 1 // 0, 1)
            with pytest.raises(StateError, match="timeout_s"):
                await bus.wait_until(lambda: True, -1)
            with pytest.raises(TypeError, match="condition must be a function"):
                await bus.wait_until(True, 1)  # type: ignore[arg-type]

    run(scenario())


def test_closing_the_bus_ends_all_waiting_and_cancelling_only_one(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        await bus.open()
        waits = [asyncio.create_task(bus.wait_until(lambda: False)) for _ in range(3)]
        waits.append(asyncio.create_task(bus.join([f"127.0.0.1:{free_port()}"], DEADLINE_S)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        waits[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        assert not any(wait.done() for wait in waits[1:])
        await bus.close()
        for wait in waits[1:]:
            with pytest.raises(StateError, match="closed"):
                await wait

    run(scenario())
