"""`examples/fan_out.py`: a slow consumer is told how many readings it missed, and the numbers agree."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.ports import free_port

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "fan_out.py"
DEADLINE_S = 30.0


def start(role: str, port: int, folder: Path, *seeds: str) -> subprocess.Popen[str]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), role, str(port), str(folder), *seeds], stdout=subprocess.PIPE, text=True
    )


def test_a_slow_consumer_learns_what_it_missed(tmp_path: Path) -> None:
    port = free_port()
    with (
        start("publish", port, tmp_path / "publisher") as publisher,
        start("consume", free_port(), tmp_path / "consumer", f"127.0.0.1:{port}") as consumer,
    ):
        assert consumer.stdout is not None
        try:
            dropped = missing = 0
            expected: int | None = None
            while not missing:
                line = consumer.stdout.readline()
                assert line, "the consumer ended"
                if lost := re.fullmatch(r"too slow for (\d+) readings\n", line):
                    dropped += int(lost[1])
                    continue
                reading = re.fullmatch(r"reading (\d+), (\d+) missing before it\n", line)
                assert reading is not None, line
                number, missing = int(reading[1]), int(reading[2])
                assert missing == (0 if expected is None else number - expected)
                expected = number + 1
            assert missing == dropped > 0
            for program in (consumer, publisher):
                program.send_signal(signal.SIGINT)
                assert program.wait(DEADLINE_S) == 0
        finally:
            consumer.kill()
            publisher.kill()
