"""Ctrl-C ends an example that has no test of it beside the others: quietly, with 0."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.examples.test_key_value import answers
from tests.peers.cluster import wait_until
from tests.peers.ports import free_port

pytestmark = pytest.mark.processes

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DEADLINE_S = 30.0


@contextmanager
def interrupted(name: str, *arguments: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs an example; at the end of the block it gets Ctrl-C and must end as if nothing were amiss."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={"TMPDIR": str(temporary)},
    ) as program:
        try:
            yield program
            program.send_signal(signal.SIGINT)
            assert program.wait(DEADLINE_S) == 0
            assert program.stderr is not None
            assert "Traceback" not in program.stderr.read()
        finally:
            program.kill()


def test_the_key_value_node(tmp_path: Path) -> None:
    port = free_port()
    with interrupted("key_value", str(port), str(tmp_path), temporary=tmp_path), redis.Redis(port=port) as client:
        wait_until(lambda: answers(client), DEADLINE_S, "the node serves")


def test_the_threads(tmp_path: Path) -> None:
    with interrupted("threads", str(free_port()), str(tmp_path), temporary=tmp_path) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write("hello\n")
        assert "b'HELLO'" in program.stdout.readline()


def test_the_twenty_nodes_while_they_join(tmp_path: Path) -> None:
    with interrupted("twenty_nodes", temporary=tmp_path):
        wait_until(lambda: len(list(tmp_path.glob("*/*/nodes.conf"))) == 20, DEADLINE_S, "all are open")
    assert list(tmp_path.iterdir()) == [], "no file is left"


def test_the_observer_while_it_joins(tmp_path: Path) -> None:
    with interrupted("observer", f"127.0.0.1:{free_port()}", temporary=tmp_path):
        wait_until(lambda: any(tmp_path.glob("*/nodes.conf")), DEADLINE_S, "it is open")
    assert list(tmp_path.iterdir()) == [], "no file is left"
