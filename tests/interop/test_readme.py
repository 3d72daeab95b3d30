"""README is true: its commands exist, its example runs; the counters of the site are shown."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from clusterbus.member.counters import DRIVER, GAUGES, LIGHT, OFFLOAD

from tests.peers.cluster import wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server, clusterbus_command

Peers = Callable[..., Server]

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
DEADLINE_S = 30.0


def blocks(language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_quick_start_is_two_make_targets_and_ci_runs_them() -> None:
    assert blocks()[0] == "make demo\nmake test\n"
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"help", "build", "demo", "test", "lint", "bench"} <= set(targets)
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(step.startswith("make test") for step in steps)
    assert {"make lint", "make docs", "make wheel"} <= {*steps}


def test_the_python_example_prints_what_readme_shows_and_ends_on_ctrl_c_without_a_traceback(tmp_path: Path) -> None:
    """README's own second node, program and output, with free ports on loopback."""
    first, second = free_port(), free_port()
    commands = next(block for block in blocks() if "--dir second" in block).splitlines()
    assert commands[0] == "mkdir second"
    (tmp_path / "second").mkdir()
    words = commands[1].replace("7001", str(second)).split()
    assert words[:2] == ["clusterbus", "node"]
    (source,) = blocks("python")
    source = source.replace("port=7000", f"port={first}, bind='127.0.0.1'").replace("7001", str(second))
    (tmp_path / "watch.py").write_text(source)
    output, errors = tmp_path / "output", tmp_path / "errors"
    with (
        output.open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(
            [*clusterbus_command(), *words[2:], "--bind", "127.0.0.1"], cwd=tmp_path, stdout=subprocess.DEVNULL
        ) as node,
        subprocess.Popen([sys.executable, "-u", "watch.py"], cwd=tmp_path, stdout=out, stderr=err) as program,
    ):
        try:
            wait_until(lambda: "NodeJoined(" in output.read_text(), DEADLINE_S, errors.read_text)
            node.terminate()
            wait_until(lambda: "NodeUnreachable(" in output.read_text(), DEADLINE_S, errors.read_text)
            program.send_signal(signal.SIGINT)
            assert program.wait(DEADLINE_S) == 0
        finally:
            node.kill()
            program.kill()
    node_id = (tmp_path / "second" / "nodes.conf").read_text().split("myself")[0].split()[-2]
    (shown,) = blocks("text")
    (shown_id,) = set(re.findall(r"\b[0-9a-f]{40}\b", shown))
    expected = shown.replace(shown_id, node_id).replace("=7001", f"={second}").replace("17001", str(second + 10_000))
    assert output.read_text() == expected
    assert "Traceback" not in errors.read_text()


def test_a_node_takes_the_directives_readme_shows(peers: Peers) -> None:
    command = next(line for line in README.splitlines() if line.startswith("clusterbus node --") and line.endswith("&"))
    shown = dict(re.findall(r"--([a-z-]+) (\S+)", command))
    directives = {name.replace("-", "_"): value for name, value in shown.items()}
    node = peers("clusterbus", **{k: v for k, v in directives.items() if k not in ("port", "dir")})
    assert node.call("CONFIG", "GET", "io-threads") == ["io-threads", directives["io_threads"]]


def test_every_metric_of_the_site_is_shown(peers: Peers) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    metrics = re.findall(r"`((?:cluster|io_threads|used|total)_[a-z_N]+)`", page)
    assert len(metrics) >= 8
    metrics += [row.shown for rows in (OFFLOAD, GAUGES, DRIVER, LIGHT) for row in rows]
    node = peers("clusterbus", io_threads=2)
    table = node.info() | dict(line.split(":", 1) for line in node.call("CLUSTER", "INFO").splitlines())
    missing = [name for name in metrics if name.replace("_N", "_1") not in table]
    assert missing == []
