"""nodes.conf torn, empty, or in use (H44-H46): a node does not start on it, says why, and leaves it alone.

No link is involved, so there is one way. The nodes are in this process but for the one of Valkey.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import clusterbus
import pytest
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.runtime.startup import open_member

from tests.bus.harness import pair, settings
from tests.peers.server import Server

Peers = Callable[..., Server]
THREADS = "/proc/self/task"
DESCRIPTORS = "/proc/self/fd"


class Stamp(NamedTuple):
    """All that tells whether somebody wrote a file, and what else is in its folder."""

    content: bytes
    inode: int
    changed_ns: int
    folder: tuple[str, ...]


def stamp(path: Path) -> Stamp:
    stat = path.stat()
    return Stamp(path.read_bytes(), stat.st_ino, stat.st_mtime_ns, tuple(sorted(os.listdir(path.parent))))


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Any]:
    """The directives of a node that has saved what it knows, another node among it, and was stopped."""

    async def scenario() -> dict[str, Any]:
        async with pair(tmp_path) as (first, second):
            slots = range(10, 20)
            await first.add_slots(slots)
            return {
                "dir": str(tmp_path / "a"),
                "port": first._config.port,
                "bind": "127.0.0.1",
                "other": second.node_id,
            }

    directives = asyncio.run(scenario())
    text = (Path(directives["dir"]) / "nodes.conf").read_text()
    assert directives.pop("other") in text
    assert len(text.splitlines()) == 3
    return directives


def file_of(directives: dict[str, Any]) -> Path:
    return Path(directives["dir"]) / "nodes.conf"


def refusal(directives: dict[str, Any]) -> str:
    """The error of a start that must fail, which leaves no thread, descriptor or change in the folder behind."""
    path = file_of(directives)
    before, opened, threads = stamp(path), len(os.listdir(DESCRIPTORS)), len(os.listdir(THREADS))
    with pytest.raises(ConfigError) as caught:
        open_member(Config.from_keywords(**directives))
    assert stamp(path) == before
    assert len(os.listdir(DESCRIPTORS)) <= opened  # what other tests left may be freed meanwhile
    assert len(os.listdir(THREADS)) <= threads
    return str(caught.value)


def own_id(directives: dict[str, Any]) -> str:
    """Starts and stops a node, and returns its id."""

    async def scenario() -> str:
        async with clusterbus.Bus(**directives) as bus:
            return bus.node_id

    return asyncio.run(scenario())


def test_no_node_starts_on_a_torn_nodes_conf_h44(saved: dict[str, Any]) -> None:
    path = file_of(saved)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for length in {*range(1, len(whole), 5), *ends, len(whole) - 1}:
        path.write_bytes(whole[:length])
        line = whole[:length].rstrip(b"\n").count(b"\n") + 1
        assert refusal(saved).startswith(f"{path}:{line}: the file is cut off: ")


def test_no_node_starts_on_a_damaged_nodes_conf_h44(saved: dict[str, Any]) -> None:
    """A block that never reached the disk, bytes of another file, and two versions of the file in one."""
    path = file_of(saved)
    whole = path.read_bytes()
    own, other, variables = whole.splitlines(keepends=True)
    for place in range(0, len(whole) - 1, 13):
        line = whole[:place].count(b"\n") + 1
        for hole in (b"\0" * 8, b"\xff" * 8):
            path.write_bytes(whole[:place] + hole + whole[place + 8 :].rstrip(b"\n") + b"\n")
            text = refusal(saved)
            assert text.startswith(f"{path}:"), text
            if place + 8 < len(whole) - len(variables):
                assert text.startswith(f"{path}:{line}: the file is damaged: "), text
    for content, complaint in (
        (own + other[:90] + other + variables, "line 2: "),
        (own + other + other + variables, "line 3: node "),
        (other + own + own + variables, "line 3: node "),
        (other + variables, "0 lines carry the flag 'myself'"),
        (own + other + b"vars currentEpoch lastVoteEpoch 0\n", "line 3: "),
    ):
        path.write_bytes(content)
        assert refusal(saved).startswith(f"{path}: {complaint}"), complaint


def test_a_node_starts_again_when_its_file_is_whole_again_h44(saved: dict[str, Any], tmp_path: Path) -> None:
    path = file_of(saved)
    copy = tmp_path / "copy"
    shutil.copy(path, copy)
    before = own_id(saved)
    path.write_bytes(copy.read_bytes()[:-30])
    with pytest.raises(ConfigError, match=f"^{path}:3: the file is cut off"):
        own_id(saved)
    shutil.copy(copy, path)
    assert own_id(saved) == before


@pytest.mark.parametrize("content", ["", "\n", " \n\n"], ids=["nothing", "newline", "blanks"])
def test_no_node_starts_on_an_empty_nodes_conf_h45(saved: dict[str, Any], content: str) -> None:
    """It begins anew only without the file, since the file may have been emptied by a fault."""
    path = file_of(saved)
    before = own_id(saved)
    path.write_text(content)
    told = refusal(saved)
    assert told == f"{path}:1: the file is empty; delete it if this node is to start as a new one"
    path.unlink()
    anew = own_id(saved)
    assert anew != before
    assert own_id(saved) == anew


def test_no_two_nodes_use_one_nodes_conf_h46(saved: dict[str, Any]) -> None:
    """The lock outlives the replacements of the file, of which there is one with every save."""
    path = file_of(saved)

    async def scenario() -> None:
        async with clusterbus.Bus(**saved) as bus:
            versions = [path.open("rb")]  # open, so that no inode is used again
            for slot in range(100, 105):
                await bus.add_slots([slot])
                assert bus._node is not None
                bus._node.member.driver.save()
                versions.append(path.open("rb"))
                told = refusal(saved | settings(path.parent))
                assert told == f"cluster-config-file {path} is already used by another node; give each node its own"
            inodes = {os.fstat(version.fileno()).st_ino for version in versions}
            assert len(inodes) == len(versions), "it was replaced each time"
            for version in versions:
                version.close()
            path.unlink()  # as an operator might who wants a new node
            with pytest.raises(ConfigError, match="already used by another node"):
                open_member(Config.from_keywords(**(saved | settings(path.parent))))
            assert not path.exists()

    asyncio.run(scenario())
    own_id(saved)


def test_no_node_uses_the_nodes_conf_of_a_valkey_that_runs_h46(peers: Peers) -> None:
    """Valkey's own lock stays with the file that it found at its start, which its first save replaces."""
    valkey = peers("valkey")
    path = valkey.folder / "nodes.conf"
    before = stamp(path)
    directives = settings(valkey.folder)
    with pytest.raises(ConfigError, match=rf"already used by another node.*process {valkey.pid} runs on it"):
        open_member(Config.from_keywords(**directives))
    after = stamp(path)
    assert (after.content, after.inode) == (before.content, before.inode)
    assert valkey.call("PING") in ("PONG", b"PONG")
    valkey.stop()
    text = path.read_text()
    assert own_id(directives) == next(line for line in text.splitlines() if "myself" in line).split()[0]


def test_no_valkey_uses_the_nodes_conf_of_a_node_that_runs_h46(peers: Peers) -> None:
    """Valkey looks for a lock on the file itself, so every new file is locked before it takes the place of the old."""
    node = peers("clusterbus")
    path = node.folder / "nodes.conf"
    for slot in range(3):
        assert node.call("CLUSTER", "ADDSLOTS", slot) == "OK"
        assert node.call("CLUSTER", "SAVECONFIG") == "OK"
    before = path.read_bytes()
    with pytest.raises(AssertionError, match=r"already used by a different Cluster node"):
        peers("valkey", dir=str(node.folder))
    assert path.read_bytes() == before
    assert node.call("PING") in ("PONG", b"PONG")
