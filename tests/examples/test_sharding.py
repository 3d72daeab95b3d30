"""`examples/sharding.py`: each job is of one program; they are shared out anew when one joins or is killed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.examples.programs import Program, start
from tests.peers.cluster import wait_until

pytestmark = pytest.mark.processes

DEADLINE_S = 60.0
JOBS = {f"job-{number}" for number in range(100)}
MINE = re.compile(r"(\d+) jobs are mine, with token (\d+): (.*)\Z")


def jobs(program: Program) -> list[str]:
    found = MINE.match(program.last)
    return found[3].split() if found else []


def are_shared_out(programs: list[Program], most: int) -> bool:
    """Whether each job is of one of the programs that are up, and none has more than that."""
    shares = [jobs(program) for program in programs if program.is_up]
    return Counter(job for share in shares for job in share) == Counter(JOBS) and max(map(len, shares)) <= most


def test_jobs_are_shared_out_when_programs_join_and_when_one_is_killed(tmp_path: Path) -> None:
    programs = start("sharding", tmp_path, 3)
    try:
        wait_until(lambda: are_shared_out(programs, most=45), DEADLINE_S, "three share the jobs")
        programs[0].kill()
        wait_until(lambda: are_shared_out(programs, most=65), DEADLINE_S, "two share the jobs")
    finally:
        for program in programs:
            program.kill()
