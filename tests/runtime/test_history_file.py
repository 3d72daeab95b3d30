"""The file of the history: whole lines of JSON, whatever the disk does, and never a main thread that waits for it."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusterbus.cluster.history.change import Cause, Change, ChangeKind
from clusterbus.errors import ConfigError
from clusterbus.runtime import history_file
from clusterbus.runtime.history_file import HistoryFile, line_of

from tests.peers.cluster import wait_until

DEADLINE_S = 20.0
STEP_MAX_S = 0.05


def change(number: int, new: str = "ok") -> Change:
    return Change(number, 1_700_000_000_000, ChangeKind.STATE, "a" * 40, "fail", new, Cause.CLOCK, "a" * 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "changes.jsonl"


@pytest.fixture
def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], HistoryFile]]:
    monkeypatch.setattr(history_file, "RETRY_PAUSE_S", 0.01)
    files: list[HistoryFile] = []

    def open_one() -> HistoryFile:
        files.append(HistoryFile(str(path)))
        return files[-1]

    yield open_one
    for file in files:
        file.close()


Opened = Callable[[], HistoryFile]


def numbers(path: Path) -> list[int]:
    """Of all lines, each of which must be JSON."""
    return [json.loads(line)["number"] for line in path.read_text().splitlines()]


def until_written(file: HistoryFile, count: int) -> None:
    wait_until(lambda: file.written == count, DEADLINE_S, lambda: f"{file.written} written, {file.errors} errors")


def test_each_change_is_a_line_with_the_fields_of_clusterlog(opened: Opened, path: Path) -> None:
    file = opened()
    for number in range(1, 1001):
        file.append(change(number))
    until_written(file, 1000)
    assert numbers(path) == list(range(1, 1001))
    assert json.loads(path.read_text().splitlines()[0]) == change(1).fields()


def test_text_that_a_peer_chose_stays_within_its_line(opened: Opened, path: Path) -> None:
    file = opened()
    file.append(change(1, 'a"b\n\u2028\x00ü{'))
    until_written(file, 1)
    (line,) = path.read_bytes().split(b"\n")[:-1]
    assert json.loads(line)["new"] == 'a"b\n\u2028\x00ü{'


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_file_that_was_moved_away_is_begun_anew(opened: Opened, path: Path, how: str) -> None:
    file = opened()
    file.append(change(1))
    until_written(file, 1)
    if how == "renamed":
        path.rename(path.with_suffix(".1"))
    else:
        path.unlink()
    file.append(change(2))
    until_written(file, 2)
    assert numbers(path) == [2]
    if how == "renamed":
        assert numbers(path.with_suffix(".1")) == [1]


class Disk:
    """A disk whose writes fail or wait while it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fault = 0
        self.takes_len = 10
        self.is_open = threading.Event()
        self.is_open.set()
        self._write = os.write
        patch.setattr(os, "write", self.write)

    def write(self, fd: int, data: Any) -> int:
        if threading.current_thread().name != "cluster-log-file":
            return self._write(fd, data)
        self.is_open.wait(DEADLINE_S)
        if self.fault and len(data) <= self.takes_len:
            raise OSError(self.fault, os.strerror(self.fault))
        return self._write(fd, data[: -self.takes_len] if self.fault else data)


def test_a_full_disk_is_told_once_and_leaves_no_half_line(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, file = Disk(monkeypatch), opened()
    counters: Counter[str] = Counter()
    lines: list[tuple[str, str]] = []

    def tick() -> None:
        file.tick(counters, lambda level, text, _error=None: lines.append((level, text)))

    file.append(change(1))
    until_written(file, 1)
    disk.fault = errno.ENOSPC
    file.append(change(2))
    wait_until(lambda: file.errors >= 3, DEADLINE_S, lambda: str(file.errors))
    assert numbers(path) == [1], "what was cut off is taken back"
    tick()
    tick()
    assert lines == [("warning", f"cluster-log-file {path} cannot be written, trying again: No space left on device")]
    assert counters["log_file_errors"] >= 3
    disk.fault = 0
    until_written(file, 2)
    assert numbers(path) == [1, 2]
    tick()
    assert lines[1:] == [("notice", f"cluster-log-file {path} is written again")]


def test_a_folder_that_is_gone_is_a_failure_until_it_is_back(opened: Opened, path: Path) -> None:
    file = opened()
    path.unlink()
    moved = path.parent.rename(path.parent.with_name("elsewhere"))
    file.append(change(1))
    wait_until(lambda: file.errors > 0, DEADLINE_S, lambda: "no error")
    moved.rename(path.parent)
    until_written(file, 1)
    assert numbers(path) == [1]


def test_a_slow_disk_holds_up_nobody_and_what_does_not_fit_is_counted(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "QUEUED_MAX", 5)
    disk, file = Disk(monkeypatch), opened()
    disk.is_open.clear()
    begun_s = time.monotonic()
    for number in range(1, 9):
        file.append(change(number))
    assert time.monotonic() - begun_s < STEP_MAX_S
    assert file.dropped == 3
    disk.is_open.set()
    until_written(file, 5)
    assert numbers(path) == [1, 2, 3, 4, 5]


def test_the_end_of_a_node_writes_the_rest_and_waits_for_no_disk(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened()
    for number in range(1, 2001):
        file.append(change(number))
    file.close()
    assert numbers(path)[-1] == 2000
    disk, stuck = Disk(monkeypatch), opened()
    disk.is_open.clear()
    stuck.append(change(1))
    begun_s = time.monotonic()
    stuck.close()
    assert time.monotonic() - begun_s < history_file.CLOSE_PATIENCE_S + 1
    disk.is_open.set()


@pytest.mark.parametrize("left", [b'{"num', line_of(change(2))[:-1], line_of(change(2))[:40]])
def test_a_line_that_a_crash_has_cut_off_goes(opened: Opened, path: Path, left: bytes) -> None:
    path.write_bytes(line_of(change(1)) + left)
    file = opened()
    file.append(change(3))
    until_written(file, 1)
    assert numbers(path) == [1, 3]


def test_a_text_of_somebody_else_is_not_touched(opened: Opened, path: Path) -> None:
    path.write_text("notes of mine")
    file = opened()
    file.append(change(1))
    until_written(file, 1)
    assert path.read_text().splitlines() == ["notes of mine", line_of(change(1)).decode().strip()]


def test_a_path_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(ConfigError, match=f"^cluster-log-file {path} cannot be written: "):
            HistoryFile(str(path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no regular file"):
        HistoryFile(str(tmp_path / "pipe"))
