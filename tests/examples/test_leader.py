"""`examples/leader.py`: one program leads, and when it is killed another one does, with a greater token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.programs import Program, start
from tests.peers.cluster import wait_until

pytestmark = pytest.mark.processes

DEADLINE_S = 60.0
LEADS = re.compile(r"I lead with token (\d+)\Z")


def leaders(programs: list[Program]) -> list[Program]:
    return [program for program in programs if program.is_up and LEADS.match(program.last)]


def token(leader: Program) -> int:
    found = LEADS.match(leader.last)
    assert found is not None
    return int(found[1])


def one_leads(programs: list[Program]) -> bool:
    """Whether one leads and the others that are up say so, with its token."""
    found = leaders(programs)
    if len(found) != 1:
        return False
    line = f"{found[0].lines[0]} leads with token {token(found[0])}"
    return all(program.last == line for program in programs if program.is_up and program is not found[0])


def wait_until_one_leads(programs: list[Program], what: str) -> None:
    """Fails with what each program has printed."""
    wait_until(
        lambda: one_leads(programs),
        DEADLINE_S,
        lambda: "\n".join([what, *(f"{program.port}, up: {program.is_up}: {program.lines}" for program in programs)]),
    )


def test_another_one_leads_with_a_greater_token_when_the_leader_is_killed(tmp_path: Path) -> None:
    programs = start("leader", tmp_path, 3)
    try:
        wait_until_one_leads(programs, "one leads")
        (first,) = leaders(programs)
        before = token(first)
        first.kill()
        wait_until_one_leads(programs, "another one leads")
        (second,) = leaders(programs)
        assert second is not first
        assert token(second) > before

        second.kill()  # one of three is left, which does not lead
        (last,) = (program for program in programs if program.is_up)
        back = Program("leader", tmp_path / str(programs.index(first)), first.port)
        programs.append(back)
        wait_until_one_leads([last, back], "one of two of three leads")
        assert token(leaders([last, back])[0]) > token(second)
    finally:
        for program in programs:
            program.kill()


def test_a_leader_that_was_frozen_knows_that_it_leads_no_more(tmp_path: Path) -> None:
    programs = start("leader", tmp_path, 3)
    try:
        wait_until_one_leads(programs, "one leads")
        (frozen,) = leaders(programs)
        others = [program for program in programs if program is not frozen]
        before = token(frozen)
        frozen.freeze()
        wait_until(lambda: len(leaders(others)) == 1, DEADLINE_S, "another one leads")
        assert token(leaders(others)[0]) > before
        frozen.thaw()
        wait_until_one_leads(programs, "the frozen one follows")
        assert leaders(programs) == leaders(others)
    finally:
        for program in programs:
            program.kill()
