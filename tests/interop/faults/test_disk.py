"""A disk that is full, read-only or slow, under nodes.conf and the log (H47)."""

from __future__ import annotations

import contextlib

import pytest
import redis

from tests.interop.faults.machine import SLOW_SYNC_S, Machine
from tests.interop.faults.mixed import DEADLINE_S, Mixed
from tests.peers.cluster import cluster_nodes, wait_until

SLOW_SAVES = 3


def save_fails(mixed: Mixed) -> str:
    """What SAVECONFIG says; it must fail."""
    with pytest.raises(redis.ResponseError) as error:
        mixed.node.call("CLUSTER", "SAVECONFIG")
    return str(error.value)


@pytest.mark.parametrize("fault", ["full", "read_only"])
def test_a_disk_that_takes_nothing_leaves_the_old_file_and_is_told_h47(
    mixed: Mixed, machine: Machine, fault: str
) -> None:
    node, file = mixed.node, machine.inside(mixed.node) / "nodes.conf"
    assert node.call("CLUSTER", "SAVECONFIG") == "OK"
    before, failures = file.read_bytes(), node.counter("cluster_config_file_save_failures")
    reason = {"full": "No space left on device", "read_only": "Read-only file system"}[fault]
    with getattr(machine, fault)(node):
        assert reason in save_fails(mixed)
        mixed.wait_info("cluster_config_file_last_save_status", "err")
        mixed.wait_info("cluster_config_file_last_save_error", lambda text: reason in text)
        mixed.wait_info("cluster_config_file_save_failures", lambda text: int(text) >= failures + 3)
        assert file.read_bytes() == before
        assert mixed.is_held_well()
    mixed.wait_info("cluster_config_file_last_save_status", "ok")
    assert not file.with_suffix(".conf.tmp").exists()


def test_a_log_that_cannot_be_written_is_in_the_way_of_nothing_h47(mixed: Mixed, machine: Machine) -> None:
    """The log is on the full disk too; a rotated one cannot be opened anew. Lines are lost, and come again later."""
    node, log = mixed.node, machine.inside(mixed.node) / "node.log"

    def make_lines(key: str) -> None:
        """An order that is logged."""
        node.call("CONFIG", "SET", "loglevel", "debug")
        with contextlib.suppress(redis.ResponseError):
            node.call("CLUSTER", "SAVECONFIG")
        node.call("CLUSTER", "MEET", "192.0.2.1", 7000)
        assert node.call("PING", key) == key

    with machine.full(node):
        make_lines("full")
        log.rename(log.with_suffix(".1"))
        make_lines("rotated")
        assert mixed.is_held_well()
    with machine.read_only(node):
        make_lines("read-only")
        assert mixed.is_held_well()
    node.call("CONFIG", "SET", "loglevel", "notice")
    assert node.call("CLUSTER", "SAVECONFIG") == "OK"

    def is_logged_again() -> bool:
        node.call("CONFIG", "SET", "loglevel", "verbose")
        node.call("CLUSTER", "MEET", "192.0.2.1", 7000)
        return log.exists() and "192.0.2.1" in log.read_text()

    wait_until(is_logged_again, DEADLINE_S, "the log goes on")
    Mixed.check_log(log.read_text())


def test_a_save_that_takes_two_seconds_holds_up_no_heartbeat_h47(mixed: Mixed, machine: Machine) -> None:
    """Longer than a peer waits for a node."""
    node = mixed.node
    saves, pings = (node.counter(f"cluster_{name}") for name in ("config_file_saves", "stats_messages_ping_sent"))
    with machine.slow_sync():

        def is_saved_slowly() -> bool:
            for server in (mixed.other, node):  # each has to be above the other
                server.call("CLUSTER", "BUMPEPOCH")
            assert not cluster_nodes(mixed.other)[mixed.node_id].is_suspected
            assert not any(line.is_suspected for line in cluster_nodes(node).values())
            return node.counter("cluster_config_file_saves") >= saves + SLOW_SAVES

        wait_until(is_saved_slowly, DEADLINE_S, lambda: f"{SLOW_SAVES} saves: {node.info()}")
        mixed.wait_info("cluster_config_file_save_in_progress", 1)
        assert node.counter("cluster_config_file_last_save_duration_ms") >= SLOW_SYNC_S * 1000
        assert node.counter("cluster_stats_messages_ping_sent") > pings
    mixed.wait_info("cluster_config_file_save_in_progress", 0)
    assert "the disk is slow to save it" in (machine.inside(node) / "node.log").read_text()
