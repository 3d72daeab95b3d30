"""`clusterbus observe` among three Valkey and three clusterbus nodes: it sees what happens, and leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from clusterbus.errors import StateError
from clusterbus.survey.observer import bus_view

from tests.interop.eyes.mixed import Mixed
from tests.peers.cluster import NodeLine, cluster_nodes, form, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

WAIT_S = 30.0


class Watch:
    """A process `clusterbus observe --json`, and the lines that it has printed."""

    def __init__(self, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "clusterbus", "observe", "--json", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def wait_for(self, kind: str, **fields: object) -> dict[str, Any]:
        """The first line of that kind with these fields."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.of(kind) if fields.items() <= line.items()]

        return wait_until(found, WAIT_S, lambda: f"{kind} {fields}: {self.lines} {self.process.poll()}")[0]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.exit_status()

    def exit_status(self) -> int:
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.exit_status()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    """Watches to be ended with the test."""
    started: list[Watch] = []
    yield started
    for watch in started:
        watch.close()


def listed(mixed: Mixed, n: int) -> dict[str, NodeLine]:
    lines = [NodeLine.parse(line) for line in mixed.call(n, "CLUSTER", "NODES").splitlines()]
    return {line.node_id: line for line in lines}


@dataclass
class Epochs:
    """The current epoch as one node has it, and the config epoch of each node as it sees that."""

    node: int
    current: str
    config: dict[str, int]


def epochs(mixed: Mixed) -> list[Epochs]:
    """What each running node has."""
    found = []
    for node in mixed.running:
        info = dict(
            line.split(":", 1) for line in mixed.call(node.index, "CLUSTER", "INFO").splitlines() if ":" in line
        )
        seen = {node_id: line.config_epoch for node_id, line in listed(mixed, node.index).items()}
        found.append(Epochs(node.index, info["cluster_current_epoch"], seen))
    return found


def assert_no_new_epoch(before: list[Epochs], after: list[Epochs]) -> None:
    """Nobody has taken an epoch. A node may have heard only meanwhile of which shard another one is."""
    for then, now in zip(before, after, strict=True):
        assert now.current == then.current, f"node {now.node}"
        assert {*now.config.values()} <= {*then.config.values(), 0}, f"node {now.node}"


def assert_no_trace(mixed: Mixed, node_id: str) -> None:
    """No node knows it, and nobody has ever held it failing."""
    for node in mixed.running:
        assert node_id not in mixed.call(node.index, "CLUSTER", "NODES"), f"node {node.index}"
        told = [line for line in mixed.log(node.index).splitlines() if node_id in line]
        assert not [line for line in told if "failing" in line or "FAIL" in line], told


def test_a_seed_that_does_not_answer_is_one_line_and_another_one_will_do(mixed: Mixed, watches: list[Watch]) -> None:
    dead = f"127.0.0.1:{free_port()}"
    watch = Watch(dead)
    watches.append(watch)
    assert watch.exit_status() == 3
    (line,) = watch.stderr().splitlines()
    assert line.startswith(f"clusterbus observe: no seed was joined within 30 s: {dead}: ")
    assert not watch.lines
    watch = Watch(dead, mixed.seed)
    watches.append(watch)
    watch.wait_for("joined")
    assert watch.wait_for("not_seen")["seed"] == dead
    assert watch.end() == 0
    assert watch.stderr() == ""


def test_without_the_password_it_does_not_join_what_it_could_not_leave(
    peers: Callable[..., Server], watches: list[Watch]
) -> None:
    server = peers("valkey")
    server.call("CONFIG", "SET", "requirepass", "sesame")  # our own connection is in already
    watch = Watch(f"127.0.0.1:{server.port}")
    watches.append(watch)
    assert watch.exit_status() == 3
    (line,) = watch.stderr().splitlines()
    assert "NOAUTH" in line
    environment = dict.fromkeys(("REDISCLI_AUTH", "VALKEYCLI_AUTH"), "sesame")
    watch = Watch(f"127.0.0.1:{server.port}", **environment)
    watches.append(watch)
    watch.wait_for("joined")
    assert watch.end() == 0
    assert "sesame" not in str(watch.lines)
    assert server.info()["cluster_current_epoch"] == "0", "two empty primaries with epoch 0, and no one took another"
    assert server.info()["cluster_known_nodes"] == "1"


def test_one_look_on_the_bus_sees_all_and_leaves_no_trace(mixed: Mixed) -> None:
    view = asyncio.run(bus_view([mixed.seed]))
    assert set(view.nodes) == {node.node_id for node in mixed.nodes}
    assert (view.unreached, view.one_sided, view.unheard, view.untold) == ({}, {}, {}, {})
    assert all(node.rtt_us is not None for node in view.nodes.values())
    assert view.clusterbus <= {mixed.nodes[n].node_id for n in (1, 4, 5)}
    assert_no_trace(mixed, view.node_id)


def test_it_sees_a_failover_a_partition_and_a_new_id_and_leaves_no_trace(mixed: Mixed, watches: list[Watch]) -> None:
    before = epochs(mixed)
    watch = Watch(mixed.seed, mixed.address(1))
    watches.append(watch)
    own_id = watch.wait_for("joined")["node_id"]
    wait_until(lambda: len(watch.of("member")) == 6, WAIT_S, lambda: str(watch.lines))
    assert {line["state"] for line in watch.of("member")} == {"ok"}
    for node in mixed.nodes:
        wait_until(lambda n=node.index: own_id in listed(mixed, n), WAIT_S, f"node {node.index} knows the observer")  # type: ignore[misc]
    assert [line["slots"] for line in watch.of("member") if line["node_id"] == mixed.nodes[0].node_id] == [[[0, 5460]]]
    assert watch.end() == 0, watch.stderr()
    assert_no_trace(mixed, own_id)
    assert_no_new_epoch(before, epochs(mixed))

    watch = Watch(mixed.seed)
    watches.append(watch)
    own_id = watch.wait_for("joined")["node_id"]
    cut = mixed.partition()
    watch.wait_for("NodeFailed", node_id=cut.minority[0].node_id)
    mixed.heal()
    watch.wait_for("NodeRecovered", node_id=cut.minority[0].node_id)
    change = mixed.failover()
    watch.wait_for("RoleChanged", node_id=change.new.node_id, role="primary")
    mixed.come_back()
    watch.wait_for("RoleChanged", node_id=change.old.node_id, role="replica")
    replaced = mixed.come_back_with_another_id()
    watch.wait_for("NodeJoined", node_id=replaced.new_id)
    wait_until(lambda: all(replaced.new_id in listed(mixed, n) for n in range(6)), WAIT_S, "all know the new node")
    for n in (1, 2):
        assert listed(mixed, n)[own_id].slots == ()
        assert listed(mixed, n)[own_id].config_epoch == 0
    before = epochs(mixed)
    status = watch.end(signal.SIGTERM)
    untold = {line["node_id"] for line in watch.of("still_known")}
    assert (status, untold) == (1, {replaced.old_id}), "who is no more cannot be told, and is named"
    assert_no_trace(mixed, own_id)
    assert_no_new_epoch(before, epochs(mixed))


def test_a_second_signal_ends_it_at_once_and_forget_takes_away_what_stays(mixed: Mixed, watches: list[Watch]) -> None:
    watch = Watch(mixed.seed)
    watches.append(watch)
    own_id = watch.wait_for("joined")["node_id"]
    wait_until(lambda: own_id in listed(mixed, 2), WAIT_S, "the seed knows it")
    watch.process.send_signal(signal.SIGINT)
    watch.wait_for("leaving")
    assert watch.end() == 130
    assert watch.stderr() == "clusterbus observe: ended at once; the others will hold this node failed\n"
    for node in mixed.running:
        with contextlib.suppress(StateError):  # told before the end
            mixed.call(node.index, "CLUSTER", "FORGET", own_id)
    for node in mixed.running:
        assert own_id not in listed(mixed, node.index)


@pytest.mark.parametrize("bus", ["observe", "doctor"])
def test_over_tls_files_are_those_of_the_folder_it_was_started_in(
    peers: Callable[..., Server], certificates: Certificates, bus: str
) -> None:
    """Beside a Redis 7.0, which has to be told at its client port to forget the observer."""
    servers = [peers("redis", certificates=certificates), peers("clusterbus", certificates=certificates)]
    form(servers, servers)
    folder = certificates.cert_file.parent
    files = {"--cacert": certificates.ca_cert_file, "--cert": certificates.cert_file, "--key": certificates.key_file}
    words = [word for name, file in files.items() for word in (name, str(file.relative_to(folder)))]
    command = [sys.executable, "-m", "clusterbus", bus, "--json", f"127.0.0.1:{servers[0].port}", "--tls", *words]
    ids = {node_id(server) for server in servers}
    if bus == "doctor":
        done = subprocess.run([*command, "--bus"], cwd=folder, capture_output=True, text=True, timeout=WAIT_S)
        assert "not seen on the bus" not in done.stderr
        assert len(json.loads(done.stdout)["views"][0]["nodes"]) >= 2
    else:
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            assert json.loads(watch.stdout.readline())["kind"] == "joined", watch.stderr
            watch.send_signal(signal.SIGINT)
            assert watch.wait(WAIT_S) == 0
    for server in servers:
        assert set(cluster_nodes(server)) == ids
