"""`examples/observer.py`: it tells what happens, and when it has ended no server knows it, and no file is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.cluster import cluster_nodes, form, listings, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "observer.py"
DEADLINE_S = 30.0


def observer(folder: Path, *seeds: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), *seeds],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )


def known_to(servers: list[Server], member_id: str) -> int:
    return sum(member_id in cluster_nodes(server) for server in servers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_what_happens_and_leaves_no_trace(
    peers: Callable[..., Server], tmp_path: Path, number: signal.Signals
) -> None:
    servers = [peers("valkey"), peers("clusterbus"), peers("redis")]
    form(servers, servers)
    folder = tmp_path / "temporary"
    folder.mkdir()
    with observer(folder, f"127.0.0.1:{servers[0].port}") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            own_id = program.stdout.readline().removeprefix("watching as ").strip()
            wait_until(
                lambda: all(own_id in cluster_nodes(server) for server in servers),
                DEADLINE_S,
                lambda: listings(servers),
            )
            newcomer = peers("valkey")
            newcomer.call("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
            told = f"NodeJoined(node_id='{node_id(newcomer)}'"
            assert any(line.startswith(told) for line in iter(program.stdout.readline, ""))
            servers.append(newcomer)
            wait_until(lambda: own_id in cluster_nodes(newcomer), DEADLINE_S, lambda: listings(servers))
            program.send_signal(number)
            assert program.wait(DEADLINE_S) == 0, program.stderr.read()
            assert "still knows" not in program.stdout.read()
        finally:
            program.kill()
    assert known_to(servers, own_id) == 0, listings(servers)
    assert list(folder.iterdir()) == []


def test_a_seed_that_is_none_ends_it_with_its_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PATIENCE.format(example=str(EXAMPLE)), f"127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "no seed was joined within 1 s: 127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


PATIENCE = """
import runpy, clusterbus
join = clusterbus.Bus.join
clusterbus.Bus.join = lambda bus, seeds, timeout_s: join(bus, seeds, 1)
runpy.run_path({example!r}, run_name="__main__")
"""
