"""`examples/test_app.py`: its tests pass as a user runs them, and fail if the program forgets its rule."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "test_app.py"


def outcome(folder: Path, program: str) -> str:
    """The last line of pytest's output for this text of the example."""
    (folder / EXAMPLE.name).write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "clusterbus.testing.plugin", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()[-1] if done.stdout else done.stderr


def test_the_tests_of_the_example_pass(tmp_path: Path) -> None:
    assert outcome(tmp_path, EXAMPLE.read_text()).startswith("2 passed")


def test_they_notice_a_program_that_works_on_when_it_is_cut_off(tmp_path: Path) -> None:
    rule, slip = "bus.is_mine(job)", "bus.owner(job) == bus.me"
    program = EXAMPLE.read_text()
    assert rule in program
    impatient = program.replace(rule, slip).replace("c.wait_until(", "c.wait_until(timeout_s=3, condition=")
    assert outcome(tmp_path, impatient).startswith("1 failed, 1 passed")
