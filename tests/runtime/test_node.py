"""A node on an event loop, and as a process: starting, ticking, failing to start, stopping."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from clusterbus.client_port.server import RespServer
from clusterbus.config import Config
from clusterbus.errors import ConfigError, StateError
from clusterbus.runtime.node import EXIT_ERROR, AsyncioNode
from clusterbus.runtime.process import event_loop_factory

from tests.loops import Run, until
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

DEADLINE_S = 30.0
OWN_ID = "d" * 40


def config(folder: Path, **directives: Any) -> Config:
    words: dict[str, Any] = {"dir": str(folder), "port": free_port(), "bind": "127.0.0.1", "io_threads": 1}
    return Config.from_keywords(**(words | directives))


# ---------------------------------------------------------------- in an event loop


def test_a_node_ticks_ten_times_a_second(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        node = AsyncioNode(config(tmp_path), resp=False)
        await node.start()
        ticks: list[float] = []
        tick = node.member.driver.tick
        node.member.driver.tick = lambda: (ticks.append(time.monotonic()), tick())[1]  # type: ignore[method-assign, func-returns-value]
        await until(lambda: len(ticks) >= 11)
        await node.stop()
        assert ticks[10] - ticks[0] > 0.9, "ten periods"
        periods = sorted(after - before for before, after in pairwise(ticks))
        assert periods[len(periods) // 2] < 0.2, "most are no longer even on a loaded machine"

    run(scenario())


def test_a_stall_is_followed_by_one_tick_and_not_by_all_that_were_missed(run: Run, tmp_path: Path) -> None:
    async def scenario() -> int:
        node = AsyncioNode(config(tmp_path), resp=False)
        await node.start()
        ticks: list[float] = []
        tick = node.member.driver.tick
        node.member.driver.tick = lambda: (ticks.append(time.monotonic()), tick())[1]  # type: ignore[method-assign, func-returns-value]
        await until(lambda: ticks)
        ticks.clear()
        time.sleep(0.65)  # the main thread hangs, as under DEBUG SLEEP
        woke = time.monotonic()
        await until(lambda: ticks)
        await asyncio.sleep(0)
        at_once = sum(moment - woke < 0.02 for moment in ticks)
        await node.stop()
        return at_once

    assert run(scenario()) == 1


def test_a_stop_during_the_start_leaves_nothing_open(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        is_open, may_go_on = asyncio.Event(), asyncio.Event()
        start = RespServer.start

        async def start_slowly(server: RespServer) -> None:
            await start(server)
            is_open.set()
            await may_go_on.wait()

        monkeypatch.setattr(RespServer, "start", start_slowly)
        settings = config(tmp_path)
        node = AsyncioNode(settings)
        starting = asyncio.create_task(node.start())
        await is_open.wait()
        stopping = asyncio.create_task(node.stop())
        await asyncio.sleep(0)
        may_go_on.set()
        await stopping
        with pytest.raises(StateError, match="stopped while it started"):
            await starting
        for port in (settings.port, settings.bus_port):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        await node.start()
        assert node.is_started
        await node.stop()

    run(scenario())


def test_nodes_conf_is_there_from_the_start_and_kept_s10(run: Run, tmp_path: Path) -> None:
    async def scenario(settings: Config) -> str:
        node = AsyncioNode(settings, resp=False)
        await node.start()
        assert node.member.state.myself.node_id in (tmp_path / "nodes.conf").read_text()
        await node.stop()
        await node.stop()
        return node_id_of(tmp_path)

    settings = config(tmp_path)
    assert run(scenario(settings)) == run(scenario(settings))


def node_id_of(folder: Path) -> str:
    return (folder / "nodes.conf").read_text().split()[0]


def test_a_node_that_cannot_have_its_client_port_leaves_nothing_open(run: Run, tmp_path: Path) -> None:
    settings = config(tmp_path)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", settings.port)), pytest.raises(ConfigError, match="in use"):
            await AsyncioNode(settings).start()
        node = AsyncioNode(settings)
        await node.start()  # bus port and nodes.conf are free again
        await node.stop()

    run(scenario())


def test_a_fault_of_our_own_stops_the_node_with_an_error(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> int:
        node = AsyncioNode(config(tmp_path), resp=False)
        await node.start()

        def broken(timeout_ms: int | None = 0) -> bool:
            raise RuntimeError("the engine broke down")

        node.member.driver.step = broken  # type: ignore[method-assign]
        await node.stop_requested.wait()
        member = node.member
        await node.stop()
        return member.exit_code

    assert run(scenario()) == EXIT_ERROR
    assert "the engine broke down" in caplog.text


def test_uvloop_is_used_when_it_is_there_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = event_loop_factory()
    assert factory is not None
    loop = factory()
    assert isinstance(loop, uvloop.Loop)
    loop.close()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop_factory() is None


# ---------------------------------------------------------------- as a process


def refused_start(folder: Path, *arguments: str) -> str:
    """The one line that a node prints if it cannot start; it must end with 1."""
    done = subprocess.run(
        [sys.executable, "-m", "clusterbus", "node", "--dir", str(folder), "--bind", "127.0.0.1", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if " * " not in line]
    assert len(complaints) == 1, done.stdout + done.stderr
    return complaints[0]


@pytest.mark.processes
def test_a_bus_port_in_use_is_named(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 10_000)):
        line = refused_start(tmp_path, "--port", str(port))
    assert f"127.0.0.1:{port + 10_000}" in line
    assert "already in use" in line


@pytest.mark.processes
def test_a_client_port_in_use_is_named(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert f"127.0.0.1:{port}" in refused_start(tmp_path, "--port", str(port))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "nodes.conf:1"),
        (f"{OWN_ID} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5\n", "nodes.conf:1"),
        (
            f"{OWN_ID} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-nonsense\n"
            "vars currentEpoch 1 lastVoteEpoch 0\n",
            "line 1",
        ),
    ],
)
def test_a_damaged_nodes_conf_is_refused_named_and_left_alone_h44_h45(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "nodes.conf"
    file.write_text(text)
    line = refused_start(tmp_path, "--port", str(free_port()))
    assert str(file) in line
    assert place in line
    assert file.read_text() == text


@pytest.mark.processes
def test_a_nodes_conf_of_another_process_is_refused_h46(tmp_path: Path) -> None:
    with (tmp_path / "nodes.conf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "already used" in refused_start(tmp_path, "--port", str(free_port()))


@pytest.mark.processes
def test_a_certificate_that_is_none_is_refused_by_name(tmp_path: Path, certificates: Certificates) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate\n")
    words = certificates.directives() | {"tls-cert-file": str(bad), "port": "0", "tls-port": str(free_port())}
    line = refused_start(tmp_path, *(word for name, value in words.items() for word in (f"--{name}", value)))
    assert "tls-cert-file" in line
    assert str(bad) in line


@pytest.mark.processes
def test_a_logfile_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    assert "logfile" in refused_start(tmp_path, "--port", str(free_port()), "--logfile", "no/such/folder/log")


@pytest.mark.parametrize("words", ["SHUTDOWN", "SHUTDOWN NOSAVE", "shutdown save now force"])
def test_shutdown_closes_the_connection_and_ends_with_0(peers: Callable[..., Server], words: str) -> None:
    node = peers("clusterbus")
    file = node.folder / "nodes.conf"
    file.unlink()
    connection = node.connect()
    connection.send_command(*words.split(), check_health=False)
    with pytest.raises(Exception, match=r"closed|reset"):
        connection.read_response()
    connection.disconnect()
    assert node.process is not None
    assert node.process.wait(DEADLINE_S) == 0
    assert file.exists() is ("NOSAVE" not in words)


def test_the_pidfile_is_there_while_the_node_runs(peers: Callable[..., Server]) -> None:
    node = peers("clusterbus", pidfile="node.pid")
    file = node.folder / "node.pid"
    assert int(file.read_text()) == node.pid
    assert node.stop() == 0
    assert not file.exists()
