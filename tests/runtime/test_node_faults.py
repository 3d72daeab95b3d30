"""Faults of the machine and of our own code: what a node then logs, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import ClusterBusError
from clusterbus._core import FIRST_PACKET_TIMEOUT_MS
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.runtime.node import AsyncioNode

from tests.cluster.solo import Solo
from tests.loops import Run
from tests.peers.ports import free_port
from tests.peers.tls import Certificates

DEADLINE_S = 30.0
SOONER_S = 4.0
"""Less than the defaults of the deadlines that these tests shorten."""
ABSENT_ADDRESS = "192.0.2.1"  # for documentation: no machine has it
THREADS = Path("/proc/self/task")


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A folder in which nodes.conf cannot be replaced, because a folder has the name of the temporary file."""
    (tmp_path / "nodes.conf.tmp").mkdir()
    return tmp_path


async def threads_become(count: int) -> None:
    """Waits until the process has so many threads: one that was joined, such as that of a save, may be there a little
    longer.
    """
    async with asyncio.timeout(DEADLINE_S):
        while len(os.listdir(THREADS)) != count:
            await asyncio.sleep(0.01)


def settings(folder: Path, **directives: object) -> dict[str, Any]:
    return {"dir": str(folder), "port": free_port(), "bind": "127.0.0.1", "io_threads": 2} | directives


# ---------------------------------------------------------------- addresses


def test_an_optional_address_the_machine_lacks_is_left_out(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        node = AsyncioNode(Config.from_keywords(**settings(tmp_path, bind=["127.0.0.1", f"-{ABSENT_ADDRESS}"])))
        await node.start()
        await node.stop()

    run(scenario())


def test_an_address_that_is_not_optional_is_named_with_the_systems_own_words(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        await AsyncioNode(Config.from_keywords(**settings(tmp_path, bind=ABSENT_ADDRESS)), resp=False).start()

    with pytest.raises(ConfigError, match=f"{ABSENT_ADDRESS}:.* Cannot assign requested address$"):
        run(scenario())


# ---------------------------------------------------------------- nodes.conf (H47)


@pytest.mark.processes
def test_a_node_that_cannot_write_nodes_conf_does_not_start_h47(unwritable: Path) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings(unwritable).items()]
    words = [part for word in words for part in word.split("=", 1)]
    done = subprocess.run(
        [sys.executable, "-m", "clusterbus", "node", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if " * " not in line]
    assert len(complaints) == 1, done.stdout + done.stderr
    assert "nodes.conf: creation of the new file: Is a directory" in complaints[0]


def test_closing_tells_when_nodes_conf_could_not_be_saved_and_closes_all_the_same_h47(run: Run, tmp_path: Path) -> None:
    directives = settings(tmp_path)

    async def scenario() -> None:
        threads_len = len(os.listdir(THREADS))
        bus = clusterbus.Bus(**directives)
        await bus.open()
        (tmp_path / "nodes.conf.tmp").mkdir()
        with pytest.raises(ClusterBusError, match="creation of the new file"):
            await bus.close()
        (tmp_path / "nodes.conf.tmp").rmdir()
        await threads_become(threads_len)
        async with clusterbus.Bus(**directives):
            pass  # port and locks are free again

    run(scenario())


# ---------------------------------------------------------------- cancellation and opening anew


@pytest.mark.parametrize("turns", range(6))
def test_a_start_cancelled_at_any_point_leaves_nothing_open(run: Run, tmp_path: Path, turns: int) -> None:
    directives = settings(tmp_path)

    async def scenario() -> None:
        async def use() -> None:
            async with clusterbus.Bus(**directives):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with clusterbus.Bus(**directives):
            pass

    run(scenario())


def test_a_bus_opened_anew_has_one_engine_and_listens_to_its_directives_alone(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        threads_len = len(os.listdir(THREADS))
        bus = clusterbus.Bus(**settings(tmp_path))
        await bus.open()
        await bus.close()
        async with bus:
            bus._config.set("io-threads", "4")
            await threads_become(threads_len + 3)
        await threads_become(threads_len)

    run(scenario())


# ---------------------------------------------------------------- faults of our own


def test_a_node_that_broke_down_steps_no_more_and_its_event_streams_say_so(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            assert bus._node is not None
            steps = 0

            def broken(_timeout_ms: int | None = 0) -> bool:
                nonlocal steps
                steps += 1
                raise RuntimeError("out of order")

            bus._node.member.driver.step = broken  # type: ignore[method-assign, assignment]
            with pytest.raises(ClusterBusError, match="out of order"):
                async for _ in bus.events():
                    pass
            await bus.wait_stopped()
            with pytest.raises(TimeoutError):  # for longer than a few ticks
                await asyncio.wait_for(asyncio.Event().wait(), 0.3)
            assert steps == 1

    run(scenario())
    assert caplog.text.count("RuntimeError: out of order") == 1


# ---------------------------------------------------------------- directives that would break a node


@pytest.mark.parametrize("text", ["localhost", "10.0.0", "fe80::1%eth0", "::1::"])
def test_an_announced_address_that_is_no_address_is_refused_h13(run: Run, tmp_path: Path, text: str) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            with pytest.raises(ConfigError, match="cluster-announce-ip"):
                bus._config.set("cluster-announce-ip", text)
            for good in ("10.1.2.3", "2001:db8::1", ""):
                bus._config.set("cluster-announce-ip", good)

    run(scenario())


# ---------------------------------------------------------------- dials


def test_a_dial_refused_for_its_certificate_says_why_h36(
    run: Run, tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator who sent CLUSTER MEET looks at this node's log, not at the other node's."""
    (tmp_path / "strangers").mkdir()
    others = Certificates.issue(tmp_path / "strangers")

    async def scenario() -> None:
        buses = []
        for name, keys in (("one", certificates), ("other", others)):
            (tmp_path / name).mkdir()
            words = {word.replace("-", "_"): value for word, value in keys.directives().items()}
            tls = {"port": 0, "tls_port": free_port()}
            buses.append(clusterbus.Bus(**settings(tmp_path / name, **words | tls), resp=False))
        async with buses[0] as one, buses[1] as other:
            await one.meet("127.0.0.1", other._config.tls_port)
            while "dial failed (bad-certificate)" not in caplog.text:
                await asyncio.sleep(0.01)
            assert f"127.0.0.1:{other._config.bus_port}: dial failed" in caplog.text

    run(scenario())


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("directives", "counter"),
    [
        ({"cluster_first_packet_timeout": 50}, "cluster_links_lost_first_packet_timeout"),
        ({"cluster_max_links": 1}, "cluster_accepts_refused_max_links"),
        ({"cluster_max_anonymous_links": 1}, "cluster_refused_link_cap"),
    ],
)
def test_limits_on_links_are_directives_h30_h31(
    run: Run, tmp_path: Path, directives: dict[str, int], counter: str
) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path, **directives), resp=False) as bus:
            silent = [socket.create_connection(("127.0.0.1", bus._config.bus_port)) for _ in range(2)]
            async with asyncio.timeout(SOONER_S):
                while not bus.cluster_info().get(counter):
                    await asyncio.sleep(0.01)
            for connection in silent:
                connection.close()

    run(scenario())


def test_limits_on_tls_handshakes_are_directives_h31_h38(run: Run, tmp_path: Path, certificates: Certificates) -> None:
    tls = {word.replace("-", "_"): value for word, value in certificates.directives().items()}
    limits = {"port": 0, "tls_port": free_port(), "cluster_tls_handshake_timeout": 100, "cluster_max_tls_handshakes": 1}

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path, **tls | limits), resp=False) as bus:
            silent = [socket.create_connection(("127.0.0.1", bus._config.bus_port)) for _ in range(2)]
            async with asyncio.timeout(SOONER_S):
                for reason in ("max_handshakes", "handshake_timeout"):
                    while not bus.cluster_info().get(f"cluster_accepts_refused_{reason}"):
                        await asyncio.sleep(0.01)
            for connection in silent:
                connection.close()

    run(scenario())


@pytest.mark.parametrize("timeout_ms", [50, FIRST_PACKET_TIMEOUT_MS, 600_000])
def test_a_slow_opener_is_ended_by_its_own_deadline_before_it_counts_as_idle_h31_h32(timeout_ms: int) -> None:
    """The node looks for idle links once a second. With equal limits it was chance which reason ended the link, and
    which counter went up.
    """
    solo = Solo(cluster_first_packet_timeout=timeout_ms)
    assert solo.state._core.inbound_idle_ms > timeout_ms + 2_000
