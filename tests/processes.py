"""Tests that start processes are marked so: `pytest -m "not processes"` is the quick half of the tests.

Owns the rule that a test without the mark starts none. What uses the fixture `peers`, or stands in
`tests/interop`, has the mark by itself.
"""

from __future__ import annotations

import sys

import pytest

MARK = "processes"
STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}
"""The audit events of CPython that tell of a process about to start."""

_unmarked: list[str] = []
"""The name of the test that runs, if it may start none."""


def mark(items: list[pytest.Item]) -> None:
    for item in items:
        if "peers" in getattr(item, "fixturenames", ()) or item.nodeid.startswith("tests/interop/"):
            item.add_marker(MARK)


def begin(item: pytest.Item) -> None:
    if item.get_closest_marker(MARK) is None:
        _unmarked.append(item.name)


def end() -> None:
    _unmarked.clear()


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if _unmarked and event in STARTS:
        raise RuntimeError(f"{_unmarked[0]} starts a process, so it needs the mark {MARK}")


sys.addaudithook(_refuse)
