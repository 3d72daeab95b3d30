"""README is true: its commands exist, its example runs; the counters of the site are shown."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from clusterbus.member.counters import DRIVER, GAUGES, LIGHT, OFFLOAD

from tests.peers.cluster import cluster_nodes, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

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


def test_the_python_example_joins_a_cluster_and_prints_what_happens(peers: Peers, tmp_path: Path) -> None:
    other = peers("valkey")
    port = free_port()
    (source,) = blocks("python")
    source = source.replace("port=7000", f"port={port}, bind='127.0.0.1'").replace("7001", str(other.port))
    output = tmp_path / "output"
    with output.open("wb") as file:
        program = subprocess.Popen(
            [sys.executable, "-u", "-c", source], cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: "NodeJoined(" in output.read_text(), DEADLINE_S, output.read_text)
            wait_until(lambda: len(cluster_nodes(other)) == 2, DEADLINE_S, output.read_text)
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(DEADLINE_S)


def test_a_node_takes_the_directives_readme_shows(peers: Peers) -> None:
    command = next(line for line in README.splitlines() if line.startswith("clusterbus node --"))
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
