"""Every workload of the benchmark against other servers, for a moment: generator, servers and checks run."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runner.errors import MeasurementError
from runner.figures import Row, row_of
from runner.measure import Setup, check_that_news_was_answered, measure
from runner.servers import SERVERS, Server
from runner.workloads import WORKLOADS, Workload

REPOSITORY = Path(__file__).parents[2]
BUILD = ("cargo", "build", "--quiet", "--release", "--locked", "--package", "clusterbus-peers-bench")
BINARIES = REPOSITORY / "target" / "release"
# Windows of a tenth of a second, whose figures mean nothing; longer ones where a busy machine leaves them empty.
SCALES = (0.1, 1.0, 4.0)
CASES = [
    (name, server)
    for name, workload in WORKLOADS.items()
    for server in ("floor", "clusterbus-1")
    if server in workload.servers or (server == "clusterbus-1" and "clusterbus-2" in workload.servers)
]

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo to build the load generator")
    subprocess.run(BUILD, cwd=REPOSITORY, check=True)
    certificates = tmp_path_factory.mktemp("certificates")
    subprocess.run([BINARIES / "bus-load", "certificates", certificates], check=True)
    return Setup(BINARIES, certificates, SCALES[0])


def measured(setup: Setup, workload: Workload, server: Server) -> tuple[list[dict[str, Any]], Row]:
    """The windows of the shortest run that has something in each that counts, and its figures."""
    for scale in SCALES:
        try:
            windows = measure(replace(setup, scale=scale), workload, server)
            assert windows is not None
            row = row_of(workload, windows, 1)
        except (MeasurementError, ValueError):
            if scale == SCALES[-1]:
                raise
            continue
        last = windows[-1]
        has_news = last["updates"] > 0 or not workload.news or not server.is_node
        # An idle server may use no CPU time at all in a short window.
        if row["main_us"] > 0 and has_news and (last["changes"] > 0 or not workload.churn_every):
            return windows, row
    raise AssertionError(f"{workload.name}: no CPU time, news or changes within {last['elapsed_ns'] / 1e9} s")


@pytest.mark.parametrize(("name", "server"), CASES)
def test_a_workload_gives_figures(setup: Setup, name: str, server: str) -> None:
    workload = WORKLOADS[name]
    windows, row = measured(setup, workload, SERVERS[server])
    assert row["all_us"] >= row["main_us"] > 0
    last = windows[-1]
    if workload.unit == "pongs":
        assert 0 < row["p50_us"] <= row["p99_us"]
        assert last["pongs"] > 0
    if workload.pace_per_s:
        # Beats are counted from the moment they were due, so no window has more of them than its rate allows.
        sent_max = workload.pace_per_s * last["elapsed_ns"] / 1e9 + workload.links
        assert last["pongs"] <= sent_max
    assert (last["changes"] > 0) == (workload.churn_every > 0)
    assert (last["updates"] > 0) == (workload.news and SERVERS[server].is_node)
    if workload.idle_windows:
        assert windows[0]["pongs"] == 0
    if workload.mode == "join":
        assert 0 < last["first_dial_ns"] < last["dialled_ns"] < last["elapsed_ns"]


def test_no_workload_is_left_out() -> None:
    assert {name for name, _ in CASES} == set(WORKLOADS)


def test_a_server_that_leaves_outdated_claims_unanswered_gives_no_figures() -> None:
    check_that_news_was_answered({"pongs": 10_000, "updates": 8_600}, 200)
    with pytest.raises(MeasurementError, match="8000 UPDATEs to 10000 outdated claims"):
        check_that_news_was_answered({"pongs": 10_000, "updates": 8_000}, 200)
