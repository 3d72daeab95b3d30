"""A process that is stopped for longer than the node timeout, and a wall clock that jumps (H29, H40)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.faults.machine import memory_bytes
from tests.interop.faults.mixed import DEADLINE_S, Mixed
from tests.peers.cluster import cluster_nodes, hold_failed, listings, node_id, wait_agreed, wait_until
from tests.peers.server import Server, Surroundings, missing

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOURS = 5
ABSENT_IP = "192.0.2.1"
"""For documentation: no machine has it."""
HEARTBEATS = 20
MESSAGE_BYTES = 512 << 10
MESSAGES = 60
GROWTH_MAX_BYTES = 100 << 20
"""Of a sender whose peer has stopped reading: less than the 64 MiB that a link may have unsent, and some."""


@pytest.fixture(scope="module")
def offset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says by how much the wall clock of the node is wrong."""
    if not FAKETIME.exists():
        missing("libfaketime (Debian)")
    file = tmp_path_factory.mktemp("clock") / "offset"
    file.write_text("+0\n")
    return file


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory, offset: Path) -> Iterator[Mixed]:
    """In place of the cluster with a small disk: the node's wall clock is what `offset` says."""
    clock = Surroundings(
        environment={
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
    )
    surroundings = [None, None, None, clock, None]
    cluster = Mixed(tmp_path_factory.mktemp("mixed"), surroundings, cluster_link_sendbuf_limit="0")
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("jump", [f"+{HOURS}h", f"-{HOURS}h"])
def test_a_wall_clock_that_jumps_fails_nobody_and_terms_end_in_their_time_h29(
    mixed: Mixed, offset: Path, jump: str
) -> None:
    node = mixed.node
    before_us, begun_s = node.counter("server_time_usec"), time.monotonic()
    offset.write_text(f"{jump}\n")
    try:
        node.call("CLUSTER", "MEET", ABSENT_IP, 7000)  # a handshake with nobody, which expires
        heard = node.counter("cluster_packets_received")
        wait_until(lambda: node.counter("cluster_packets_received") >= heard + HEARTBEATS, DEADLINE_S, "heartbeats")
        for server in mixed.servers:
            assert not any(line.is_suspected for line in cluster_nodes(server).values()), listings([server])
        wait_until(lambda: ABSENT_IP not in node.call("CLUSTER", "NODES"), DEADLINE_S, lambda: listings([node]))
        passed_s = (node.counter("server_time_usec") - before_us) / 1e6
        assert abs(passed_s - (time.monotonic() - begun_s)) < 1, "the node goes by its own timeline"
    finally:
        offset.write_text("+0\n")


def test_a_node_that_was_stopped_is_failed_then_well_and_its_peers_kept_little_for_it_h40(mixed: Mixed) -> None:
    node, other = mixed.node, mixed.other
    observers = [server for server in mixed.servers if server is not node]
    epochs = cluster_nodes(other)[mixed.node_id].config_epoch
    before = memory_bytes(other, "VmRSS")
    with stopped(node):
        publisher = other.connect()
        for _ in range(MESSAGES):
            publisher.send_command("PUBLISH", "large", "x" * MESSAGE_BYTES)
            publisher.read_response()
        publisher.disconnect()
        wait_until(lambda: hold_failed(observers, mixed.node_id), DEADLINE_S, lambda: listings(observers))
        assert memory_bytes(other, "VmRSS") - before < GROWTH_MAX_BYTES
        assert int(other.info()["mem_cluster_links"]) < GROWTH_MAX_BYTES
    wait_until(lambda: mixed.is_held_well(), DEADLINE_S, lambda: listings(observers))
    assert cluster_nodes(other)[mixed.node_id].config_epoch == epochs
    assert "I'm part of a minority" not in node.log_text()


def test_a_primary_that_was_stopped_is_followed_by_its_replica_and_takes_nothing_back_h40(mixed: Mixed) -> None:
    """Valkey's own failover, seen by members of ours: one owner for each slot, and no key lost."""
    old = mixed.primaries[0]
    mixed.avoided.add(0)
    replica = Server("valkey", old.folder.parent / "replica", directives=dict(old.directives)).start()
    mixed.servers.append(replica)
    assert replica.call("CLUSTER", "MEET", "127.0.0.1", old.port) == "OK"
    old_id, new_id = node_id(old), node_id(replica)
    wait_until(lambda: old_id in cluster_nodes(replica), DEADLINE_S, "they know each other")
    assert replica.call("CLUSTER", "REPLICATE", old_id) == "OK"
    wait_until(lambda: replica.info()["master_link_status"] == "up", DEADLINE_S, "the keys are copied")
    wait_agreed(mixed.servers, DEADLINE_S)
    with stopped(old):
        for server in (mixed.node, mixed.other):
            wait_until(lambda s=server: new_id in mixed.slots(s), DEADLINE_S, lambda: listings([mixed.other]))  # type: ignore[misc]
            assert old_id not in mixed.slots(server)
    wait_agreed(mixed.servers, DEADLINE_S)
    assert "slave" in cluster_nodes(mixed.node)[old_id].flags, "it takes nothing back"
    mixed.primaries[0] = replica
    mixed.note_slots()
