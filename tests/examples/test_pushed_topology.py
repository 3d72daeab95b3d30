"""`examples/pushed_topology.py`: it writes to a Valkey by what a clusterbus node pushes, and ends on Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.cluster import form, wait_agreed
from tests.peers.server import Server

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "pushed_topology.py"
DEADLINE_S = 30.0


def test_it_writes_by_the_pushed_topology_until_ctrl_c(peers: Callable[..., Server]) -> None:
    data, pushing = peers("valkey"), peers("clusterbus")
    form([data, pushing], [data])
    wait_agreed([data, pushing], DEADLINE_S)
    command = [sys.executable, str(EXAMPLE), f"127.0.0.1:{pushing.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            assert program.stdout.readline() == f"follows 127.0.0.1:{pushing.port}\n"
            assert program.stdout.readline().startswith("1, ")
            assert program.stdout.readline().startswith("2, ")
            program.send_signal(signal.SIGINT)
            assert program.wait(DEADLINE_S) == 0
            assert program.stderr.read() == ""
        finally:
            program.kill()
    assert int(data.call("GET", "counter")) >= 2
