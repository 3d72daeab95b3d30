"""No file descriptors left (H43) and a disk that takes nothing (H47), four ways, in the process of the test."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Any

from clusterbus.cluster.model.slots import bits_to_wire

from tests.hostile.attacked import EPOCH, Attacked

STRANGERS = 3
LEAST_FILES = 3
SLOTS = bits_to_wire(0b111)


@contextlib.contextmanager
def no_files_left() -> Iterator[None]:
    """Whatever this process has open stays open, and nothing more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_FILES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_accepting_rests_and_links_that_are_up_are_served_h43(attacked: Attacked) -> None:
    good = attacked.known()
    refused = attacked.counter("cluster_accepts_refused_no_descriptors")
    with contextlib.ExitStack() as opened:
        strangers = [opened.enter_context(socket.socket()) for _ in range(STRANGERS)]
        with no_files_left():
            for stranger in strangers:
                stranger.connect(("127.0.0.1", attacked.bus.bus_port))
            attacked.wait(
                lambda: attacked.counter("cluster_accepts_refused_no_descriptors") >= refused + 2,
                "accepting rests, and is tried again",
            )
            assert attacked.counter("cluster_accept_paused") == 1
            assert good.ping() is not None
        attacked.wait(lambda: attacked.counter("cluster_accept_paused") == 0, "accepting goes on")
        assert attacked.stranger().ping() is not None


def test_a_disk_that_takes_nothing_is_told_and_the_old_file_stays_h47(attacked: Attacked) -> None:
    """A peer takes slots, which is to be on disk. Heartbeats go on meanwhile."""
    known, file = attacked.known(), attacked.folder / "nodes.conf"
    obstacle = attacked.folder / "nodes.conf.tmp"
    attacked.wait(lambda: known.node_id in file.read_text(), "the peer is saved")
    before, failures = file.read_text(), attacked.counter("cluster_config_file_save_failures")
    obstacle.mkdir()
    claims: dict[str, Any] = {"config_epoch": EPOCH, "myslots": SLOTS}
    known.send(known.heartbeat(**claims))  # its PONG is withheld
    attacked.wait(
        lambda: attacked.counter("cluster_config_file_save_failures") >= failures + 2, "it fails, and is tried again"
    )
    assert "could not be saved" in attacked.log
    assert file.read_text() == before
    assert known.ping(**claims) is not None, "heartbeats go on"
    obstacle.rmdir()
    attacked.wait(lambda: f"{known.node_id} " in file.read_text() and " 0-2" in file.read_text(), "saved again")
