"""The node's log: the letter of its role, and lines that nobody can take."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from clusterbus.runtime.log import ValkeyFormatter, close_log, logger, open_log

from tests.peers.cluster import cluster_nodes, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server, clusterbus_command

Peers = Callable[..., Server]
DEADLINE_S = 60.0


def test_the_letter_of_a_line_follows_the_role() -> None:
    lines = ValkeyFormatter()
    record = logging.LogRecord("clusterbus", logging.INFO, "", 0, "text", (), None)
    assert lines.format(record).startswith(f"{os.getpid()}:M ")
    lines.is_replica = lambda: True
    assert lines.format(record).startswith(f"{os.getpid()}:S ")
    lines.is_replica = lambda: False
    assert lines.format(record).startswith(f"{os.getpid()}:M ")


def test_a_replica_logs_with_the_letter_of_valkeys_replicas(peers: Peers) -> None:
    first, second, valkey = peers("clusterbus"), peers("clusterbus"), peers("valkey")
    for other in (second, valkey):
        first.call("CLUSTER", "MEET", "127.0.0.1", other.port)
    followers = (second, valkey)
    wait_until(
        lambda: all(len(cluster_nodes(server)) == 3 for server in (first, *followers)), DEADLINE_S, "three nodes"
    )
    assert ":S " not in second.log_text()
    for server in followers:
        assert server.call("CLUSTER", "REPLICATE", node_id(first)) == "OK"
        wait_until(lambda server=server: ":S " in server.log_text(), DEADLINE_S, server.log_text)  # type: ignore[misc]
    assert ":S " not in first.log_text()
    assert second.call("CLUSTER", "RESET", "SOFT") == "OK"
    assert second.stop() == 0
    assert ":M " in second.log_text().splitlines()[-1]


def test_a_line_that_finds_no_room_on_the_disk_is_lost_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "node.log"
    path.symlink_to("/dev/full")
    handler = open_log("notice", str(path), ValkeyFormatter())
    logger.info("a line")
    close_log(handler)
    assert capsys.readouterr().err == ""


@pytest.mark.processes
def test_a_node_whose_log_nobody_reads_any_more_goes_on_in_silence(tmp_path: Path) -> None:
    port = free_port()
    words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        subprocess.Popen(clusterbus_command() + words, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            assert any("Ready to accept connections" in line for line in process.stdout)
            process.stdout.close()
            with redis.Redis(port=port) as client:
                assert client.ping()
        finally:
            process.terminate()
        assert process.wait(DEADLINE_S) == 0, "the lines about its end find no reader"
    assert errors.read_text() == ""
