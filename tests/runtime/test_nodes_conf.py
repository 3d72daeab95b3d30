"""nodes.conf on disk: locks, damage, atomic and checked replacement (S10, H44-H47)."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusterbus.errors import ConfigError
from clusterbus.runtime.nodes_conf import NodesFile

NODE = "a" * 40 + " 127.0.0.1:7000@17000,,tls-port=0 myself,master - 0 0 1 connected 0-100\n"
WHOLE = NODE + "vars currentEpoch 1 lastVoteEpoch 0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nodes.conf"


@pytest.fixture
def nodes(path: Path) -> Iterator[NodesFile]:
    file = NodesFile(str(path))
    yield file
    file.close()


def test_a_missing_file_is_a_new_node(nodes: NodesFile, path: Path) -> None:
    assert nodes.read() is None
    assert not path.exists()


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_saved_is_read_again(nodes: NodesFile, path: Path, durable: bool) -> None:
    nodes.save(WHOLE, durable=durable)
    nodes.save(NODE + WHOLE, durable=durable)
    assert nodes.read() == NODE + WHOLE
    nodes.close()
    again = NodesFile(str(path))
    assert again.read() == NODE + WHOLE
    again.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["nodes.conf", "nodes.conf.lock"]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "empty"),
        (b"\n\n", 1, "empty"),
        (WHOLE.encode()[:-1], 2, "cut off"),
        (WHOLE.encode()[:30], 1, "cut off"),
        (NODE.encode(), 1, "not 'vars ...'"),
        ((NODE + NODE).encode(), 2, "not 'vars ...'"),
        (NODE.encode() + b"\xff\xfe\n" + b"vars currentEpoch 1 lastVoteEpoch 0\n", 2, "no text"),
        (NODE.encode() + b"\0\n" + b"vars currentEpoch 1 lastVoteEpoch 0\n", 2, "zero byte"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_line_and_left_alone(
    path: Path, content: bytes, line: int, reason: str
) -> None:
    """H44, H45."""
    path.write_bytes(content)
    before = path.stat()
    file = NodesFile(str(path))
    with pytest.raises(ConfigError, match=reason) as caught:
        file.read()
    file.close()
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert path.read_bytes() == content
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_no_prefix_of_a_file_passes_for_a_whole_one(path: Path, length: int) -> None:
    """H44: a file that is cut off anywhere is refused."""
    path.write_bytes(WHOLE.encode()[:length])
    file = NodesFile(str(path))
    with pytest.raises(ConfigError):
        file.read()
    file.close()


def test_the_error_about_a_cut_off_file_says_how_to_go_on_p44(path: Path) -> None:
    """And what it says works, if the file was whole but for its last newline."""
    path.write_text(WHOLE.rstrip("\n"))
    file = NodesFile(str(path))
    with pytest.raises(ConfigError, match="cut off") as caught:
        file.read()
    last_line = WHOLE.splitlines()[-1]
    command = f"echo >> {path}"
    assert f"if '{last_line}' is all of it, add the newline ({command}), else put a whole copy" in str(caught.value)
    with path.open("a") as appended:
        appended.write("\n")
    assert file.read() == WHOLE
    path.write_text(NODE)
    with pytest.raises(ConfigError, match="put a whole copy in its place, or delete it"):
        file.read()
    file.close()


def test_load_adds_the_file_to_the_errors_of_the_parser(path: Path) -> None:
    """H44: the parser names the line, and the file adds its name."""
    path.write_text(WHOLE)

    def parse(text: str) -> str:
        raise ConfigError("line 1: no node id")

    file = NodesFile(str(path))
    with pytest.raises(ConfigError) as caught:
        file.load(parse)
    assert str(caught.value) == f"{path}: line 1: no node id"
    assert file.load(str.upper) == WHOLE.upper()
    file.close()


def lock_from_another_process(path: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from clusterbus.runtime.nodes_conf import NodesFile; NodesFile(sys.argv[1])"
    return subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_a_second_process_is_refused_also_after_the_file_was_replaced(nodes: NodesFile, path: Path) -> None:
    """H46."""
    for text in (None, WHOLE, NODE + WHOLE):
        if text:
            nodes.save(text, durable=True)
        other = lock_from_another_process(path)
        assert other.returncode != 0
        assert f"ConfigError: cluster-config-file {path} is already used by another node" in other.stderr
    nodes.close()
    assert lock_from_another_process(path).returncode == 0


def test_valkeys_own_lock_is_respected_and_held(path: Path) -> None:
    """H46: Valkey locks nodes.conf itself. We refuse a file that it has locked, and after every save ours is locked for
    Valkey too.
    """
    path.write_text(WHOLE)
    with path.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="already used"):
            NodesFile(str(path))
    ours = NodesFile(str(path))
    for _ in range(2):
        with path.open("rb") as theirs, pytest.raises(BlockingIOError):
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours.save(WHOLE, durable=False)
    ours.close()
    with path.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


STEPS = [
    ("write", "write of the new file"),
    ("fsync", "fsync of the new file"),
    ("close", "close of the new file"),
    ("rename", "rename of the new file"),
]


@pytest.mark.parametrize(("call", "step"), STEPS)
def test_a_step_that_fails_is_named_and_the_old_file_stays(
    nodes: NodesFile, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, step: str
) -> None:
    """H47."""
    nodes.save(WHOLE, durable=True)
    real = getattr(os, call)
    failures: list[str] = []

    def fail_once(*arguments: object) -> object:
        if not failures:
            failures.append(call)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, fail_once)
    with pytest.raises(ConfigError) as caught:
        nodes.save(NODE + WHOLE, durable=True)
    assert str(caught.value) == f"cluster-config-file {path}: {step}: No space left on device"
    assert path.read_text() == WHOLE
    assert sorted(p.name for p in path.parent.iterdir()) == ["nodes.conf", "nodes.conf.lock"]
    nodes.save(NODE + WHOLE, durable=True)
    assert path.read_text() == NODE + WHOLE


def test_a_failed_flush_of_the_folder_is_surfaced(
    nodes: NodesFile, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """H47: a save is not durable before the folder's entry is on disk."""
    real = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with pytest.raises(ConfigError, match="fsync of the folder: Input/output error"):
        nodes.save(WHOLE, durable=True)
    nodes.save(WHOLE, durable=False)


def test_short_writes_are_continued(nodes: NodesFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H47: write(2) may write fewer bytes than it was given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    nodes.save(WHOLE, durable=True)
    assert path.read_text() == WHOLE


def test_a_planted_link_is_not_written_through(nodes: NodesFile, path: Path, tmp_path: Path) -> None:
    """H47: a symbolic link in the place of the temporary file is refused, then removed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "nodes.conf.tmp").symlink_to(victim)
    with pytest.raises(ConfigError, match="creation of the new file"):
        nodes.save(WHOLE, durable=True)
    assert victim.read_text() == "mine"
    nodes.save(WHOLE, durable=True)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "nodes.conf"
    with pytest.raises(ConfigError) as caught:
        NodesFile(str(missing))
    assert str(caught.value) == f"cluster-config-file {missing}: lock: No such file or directory"


def test_descriptors_do_not_pile_up(path: Path) -> None:
    """H43: neither a save nor a refused file leaves a descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    file = NodesFile(str(path))
    for _ in range(20):
        file.save(WHOLE, durable=False)
    file.close()
    with path.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        for _ in range(20):
            with pytest.raises(ConfigError):
                NodesFile(str(path))
    assert len(os.listdir("/proc/self/fd")) == before
