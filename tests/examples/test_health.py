"""`examples/health.py` as three programs: what each answers while the others die."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.cluster import wait_until
from tests.peers.ports import free_port

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "health.py"
DEADLINE_S = 30.0


class Program:
    """One run of the example."""

    def __init__(self, folder: Path, *seeds: str) -> None:
        folder.mkdir(exist_ok=True)
        self.http_port, self.port = free_port(), free_port()
        words = [sys.executable, str(EXAMPLE), str(self.http_port), str(self.port), str(folder), *seeds]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    def get(self) -> tuple[int, dict[str, Any]]:
        """(status, JSON) of the endpoint; (0, {}) if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE_S)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def here(self) -> list[str]:
        """The health tags of the members that it can reach."""
        return sorted(
            member["tags"].get("health", "?") for member in self.get()[1].get("members", ()) if member["here"]
        )


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Program]]:
    first = Program(tmp_path / "a")
    programs = [first, *(Program(tmp_path / name, f"127.0.0.1:{first.port}") for name in "bc")]
    yield programs
    for program in programs:
        program.process.kill()
        program.process.communicate()


def test_it_is_well_with_the_majority_and_shows_who_is_here(three: list[Program]) -> None:
    first, second, third = three
    tags = sorted(str(program.http_port) for program in three)
    for program in three:
        wait_until(lambda program=program: program.here() == tags, DEADLINE_S, "all three are here")  # type: ignore[misc]
    status, facts = first.get()
    assert (status, facts["ok"]) == (200, True)
    assert facts["me"] in {member["id"] for member in facts["members"]}
    assert {member["at"] for member in facts["members"]} == {f"127.0.0.1:{program.port}" for program in three}

    third.process.kill()
    tags.remove(str(third.http_port))
    wait_until(lambda: first.here() == tags, DEADLINE_S, "the third is unreachable")
    assert first.get()[0] == 200, "two of three"

    second.process.kill()
    wait_until(lambda: first.get()[0] == 503, DEADLINE_S, "one of three is no majority")
    assert first.here() == [str(first.http_port)]


def test_it_ends_by_an_interrupt_without_a_traceback_and_survives_clients_that_say_nothing(tmp_path: Path) -> None:
    program = Program(tmp_path / "a")
    try:
        wait_until(lambda: program.get()[0] == 200, DEADLINE_S, "a member alone is all that it knows")
        with socket.create_connection(("127.0.0.1", program.http_port)) as silent:
            silent.sendall(b"GET / HT")
        loud = socket.create_connection(("127.0.0.1", program.http_port))
        with loud, contextlib.suppress(OSError):  # it hangs up before it has read all
            loud.sendall(bytes(1_000_000))
        assert program.get()[0] == 200
        program.process.send_signal(signal.SIGINT)
        _, errors = program.process.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in errors
    finally:
        program.process.kill()
        program.process.wait()
