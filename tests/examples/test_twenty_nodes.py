"""`examples/twenty_nodes.py`: twenty members in one process know each other in bounded time, and hear each other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "twenty_nodes.py"
CONVERGE_MAX_S = 60
"""A quiet machine takes a tenth of it."""


def test_they_converge_and_a_message_reaches_all(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=3 * CONVERGE_MAX_S,
        env={"TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    known, published = ended.stdout.splitlines()
    took = re.fullmatch(r"20 members know each other after ([0-9.]+) s", known)
    assert took is not None
    assert float(took[1]) < CONVERGE_MAX_S
    assert published.startswith("published to 19 members, Message(")
    assert "second link" not in ended.stderr
    assert list(tmp_path.iterdir()) == [], "no file is left"
