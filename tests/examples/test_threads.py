"""`examples/threads.py`: its workers do the jobs of its own input and of another node, and it ends with its input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bus.harness import knows_all
from tests.peers.cluster import wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "threads.py"
DEADLINE_S = 30.0


def test_threads_share_a_bus_and_end_with_it(peers: Callable[..., Server], tmp_path: Path) -> None:
    server = peers("valkey")
    listener = server.connect()
    listener.send_command("SUBSCRIBE", "results", check_health=False)
    assert listener.read_response() == ["subscribe", "results", 1]
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), str(free_port()), str(tmp_path), f"127.0.0.1:{server.port}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            assert program.stdout.readline().startswith("NodeJoined(")
            wait_until(lambda: knows_all(server, 2), DEADLINE_S, "the server knows the program too")
            program.stdin.write("hello\n")
            assert listener.read_response() == ["message", "results", "HELLO"]
            assert "b'HELLO'" in program.stdout.readline()
            server.call("PUBLISH", "jobs", "from valkey")
            assert listener.read_response() == ["message", "results", "FROM VALKEY"]
            _out, err = program.communicate(timeout=DEADLINE_S)
            assert "Traceback" not in err
            assert program.returncode == 0
        finally:
            listener.disconnect()
            program.kill()
