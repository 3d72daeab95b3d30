"""The soak itself, short: four nodes of all kinds for half a minute, ended by Ctrl-C, with nothing to find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.server import redis_command, valkey_command

ROOT = Path(__file__).parents[2]
FAULTS_ENOUGH = 9
DEADLINE_S = 240.0
UNASKED = "links ended unasked"
"""On a machine that stands still for seconds, nodes give links up by themselves; only the long soak, which has the
machine for itself, takes that for a finding."""


@pytest.mark.processes
def test_half_a_minute_of_faults_ends_with_ctrl_c_and_finds_nothing(tmp_path: Path) -> None:
    valkey_command(), redis_command()  # skips where one is missing
    words = ["--cast", "small", "--minutes", "10", "--seed", "5", "--no-picture", "--out", str(tmp_path)]
    soak = subprocess.Popen(
        [sys.executable, "-m", "soak", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "benches" / "soak"), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert soak.stderr is not None
        for line in soak.stderr:
            if "faults" in line and int(line.split(" faults")[0].split()[-1]) >= FAULTS_ENOUGH:
                break
        soak.send_signal(signal.SIGINT)
        printed, errors = soak.communicate(timeout=DEADLINE_S)
    finally:
        soak.kill()
        soak.wait()
    told = json.loads((tmp_path / "soak.json").read_text())
    assert [text for text in told["findings"] if UNASKED not in text] == [], errors
    assert soak.returncode == (1 if told["findings"] else 0), errors
    assert told["interrupted"]
    assert "ended early" in printed
    assert (tmp_path / "soak.md").read_text() == printed.rstrip("\n") + "\n"
    assert sum(told["faults"].values()) >= FAULTS_ENOUGH - told["faults_without_target"]
    assert told["delivered"] > told["published"] > 0
    assert told["unexplained"] == 0
    assert told["keys_kept"] > 0
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"v1.log", "r1.log", "c1.log", "p1.log"}
    assert not list(tmp_path.glob("soak-*"))  # nothing is left behind
