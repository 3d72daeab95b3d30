"""`clusterbus demo` without a terminal: its story and exit status, and that no process or file remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.cluster import wait_until

DEMO_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo with its temporary files below `folder`. It is stopped if the test ends early."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "clusterbus", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def processes_naming(folder: Path) -> list[str]:
    """The command lines of running processes that contain the folder's path."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace")
        except OSError:
            continue  # the process has ended meanwhile
        if str(folder) in words:
            found.append(words.replace("\0", " "))
    return found


def test_the_demo_tells_its_story_and_ends_with_0(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        text, _ = process.communicate(timeout=DEMO_LIMIT_S)
    assert process.returncode == 0, text
    story = [
        "6 nodes are up",
        "every node lists all 6 as connected; 3 own all the slots",
        "the cluster state is ok on every node",
        "TLS accepts on workers; 0 fallbacks",
        "n6 is killed",
        "n6 is seen as",
        "n6 is FAIL on all 5",
        "with the id it had",
        "every node lists all 6 as connected again, and is ok",
        "6 of 6 nodes saved nodes.conf and ended with 0",
    ]
    places = [text.find(line) for line in story]
    assert -1 not in places, text
    assert places == sorted(places)
    assert "\x1b" not in text, "plain lines only where there is no terminal"
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(tmp_path) == []


def test_ctrl_c_stops_the_demo_and_all_its_nodes(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "6 nodes are up" in first
        assert len(processes_naming(tmp_path)) == 6
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=STOP_LIMIT_S)
    assert process.returncode == 130, text
    assert "interrupted" in text
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(tmp_path) == []


def test_a_demo_that_is_killed_leaves_no_node_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        assert "6 nodes are up" in process.stdout.readline()
        assert len(processes_naming(tmp_path)) == 6
        process.kill()
        process.wait(STOP_LIMIT_S)
        wait_until(lambda: not processes_naming(tmp_path), STOP_LIMIT_S, lambda: "\n".join(processes_naming(tmp_path)))
