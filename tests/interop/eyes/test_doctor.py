"""`clusterbus doctor` against real servers: eight faults that are planted and found, and silence where there is none.

One cluster for all of them: three Valkey primaries with the slots, a replica of the first, a spare Valkey primary, and
a clusterbus node. Each test begins and ends with a sound cluster, and takes away what it planted.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusterbus.cli import doctor as command
from clusterbus.cli import main

from tests.interop.test_failover import replicate
from tests.peers.cluster import cluster_nodes, form, listings, node_id, wait_agreed, wait_until
from tests.peers.server import Server

DEADLINE_S = 30.0
LONG_TIMEOUT_MS = 6_000
SHORT_TIMEOUT_MS = 1_000
EVERYTHING, NOTHING = -2, -1
Doctor = Callable[..., dict[str, Any]]


class Cluster:
    def __init__(self, folder: Path) -> None:
        kinds = ["valkey"] * 5 + ["clusterbus"]
        directives = {"cluster-node-timeout": str(LONG_TIMEOUT_MS), "cluster-require-full-coverage": "no"}
        self.servers = [Server(kind, folder / f"{n}", directives=directives) for n, kind in enumerate(kinds)]
        self.primaries = self.servers[:3]
        self.replica, self.spare, self.ours = self.servers[3:]

    def start(self) -> None:
        for server in self.servers:
            server.start()
        form(self.servers, self.primaries)
        replicate(self.servers, self.replica, self.primaries[0])
        wait_agreed(self.servers, DEADLINE_S)

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def call_all(self, *words: str | int) -> None:
        for server in self.servers:
            server.call(*words)

    @contextmanager
    def short_timeouts(self) -> Iterator[None]:
        self.call_all("CONFIG", "SET", "cluster-node-timeout", SHORT_TIMEOUT_MS)
        yield
        self.call_all("CONFIG", "SET", "cluster-node-timeout", LONG_TIMEOUT_MS)

    def deafen(self, server: Server, filter: int) -> None:
        server.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", filter)


def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("doctor"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs `clusterbus doctor --json` and returns its report, with the exit status as `status`."""
    monkeypatch.setattr(command, "SECOND_LOOK_AFTER_S", 0.2)

    def run(*seeds: Server, words: tuple[str, ...] = ()) -> dict[str, Any]:
        capsys.readouterr()
        status = main(["doctor", "--json", *words, *map(address, seeds)])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        return report | {"status": status}

    return run


@pytest.fixture
def cluster(standing: Cluster, doctor: Doctor) -> Iterator[Cluster]:
    """The cluster, sound before the test and after it."""
    wait_sound(standing, doctor)
    yield standing
    wait_sound(standing, doctor)


def wait_sound(cluster: Cluster, doctor: Doctor) -> None:
    report: dict[str, Any] = {}

    def is_sound() -> bool:
        report.update(doctor(cluster.servers[0]))
        return bool(report["sound"]) and not report["findings"] and len(report["nodes"]) == len(cluster.servers)

    wait_until(is_sound, DEADLINE_S, lambda: f"{report.get('findings')}\n{listings(cluster.servers)}")
    assert report["status"] == 0


def finding(report: dict[str, Any], kind: str) -> dict[str, Any]:
    """The one finding of that kind."""
    assert report["status"] == 1
    assert not report["sound"]
    found = [finding for finding in report["findings"] if finding["kind"] == kind]
    assert len(found) == 1, report["findings"]
    assert found[0]["do"]
    return dict(found[0])


def kinds(report: dict[str, Any]) -> set[str]:
    return {finding["kind"] for finding in report["findings"]}


def wait_found(doctor: Doctor, seeds: list[Server], kind: str) -> dict[str, Any]:
    """Waits until a report has findings of that kind."""
    report: dict[str, Any] = {}

    def is_there() -> bool:
        report.clear()
        report.update(doctor(*seeds))
        return kind in kinds(report)

    wait_until(is_there, DEADLINE_S, lambda: f"{kind} among {report.get('findings')}")
    return report


def test_differing_timeouts(cluster: Cluster, doctor: Doctor) -> None:
    odd = cluster.primaries[1]
    odd.call("CONFIG", "SET", "cluster-node-timeout", LONG_TIMEOUT_MS + 1)
    report = doctor(cluster.ours)
    assert kinds(report) == {"timeouts-differ"}
    found = finding(report, "timeouts-differ")
    assert found["said_by"] == [address(odd)]
    assert f"{LONG_TIMEOUT_MS + 1} ms at {address(odd)}" in found["what"]
    assert f"CONFIG SET cluster-node-timeout {LONG_TIMEOUT_MS}" in found["do"]
    odd.call("CONFIG", "SET", "cluster-node-timeout", LONG_TIMEOUT_MS)


def test_an_open_slot(cluster: Cluster, doctor: Doctor) -> None:
    source, target = cluster.primaries[:2]
    source.call("CLUSTER", "SETSLOT", 5, "MIGRATING", node_id(target))
    report = doctor(cluster.replica)
    assert kinds(report) == {"open-slots"}
    found = finding(report, "open-slots")
    assert found["node_ids"] == [node_id(source), node_id(target)]
    assert re.search(r"^slot 5 open.*; only the source has it$", found["what"])
    source.call("CLUSTER", "SETSLOT", 5, "STABLE")


def test_an_unowned_slot(cluster: Cluster, doctor: Doctor) -> None:
    cluster.call_all("CLUSTER", "DELSLOTS", 7)
    found = finding(doctor(cluster.ours), "unowned-slots")
    assert "slot 7 has no owner" in found["what"]
    assert {*found["said_by"]} == {*map(address, cluster.servers)}
    cluster.primaries[0].call("CLUSTER", "ADDSLOTS", 7)


def test_a_one_sided_link(cluster: Cluster, doctor: Doctor) -> None:
    """Others dial a bus port that is dead, and the node dials theirs as ever."""
    deaf = cluster.spare
    deaf.call("CONFIG", "SET", "cluster-announce-bus-port", 1)
    report = wait_found(doctor, [cluster.ours], "one-sided-link")
    found = finding(report, "one-sided-link")
    assert found["node_ids"][0] == node_id(deaf)
    assert "has a link to" in found["what"]
    assert " port 1:" in found["do"]
    deaf.call("CONFIG", "SET", "cluster-announce-bus-port", 0)


def test_two_primaries_in_a_shard_and_a_node_that_is_held_failed_but_answers(cluster: Cluster, doctor: Doctor) -> None:
    """A primary that hears nobody is replaced, and goes on as a primary."""
    old, new = cluster.primaries[0], cluster.replica
    with cluster.short_timeouts():
        cluster.deafen(old, EVERYTHING)
        report = wait_found(doctor, [cluster.ours], "two-primaries")
        found = finding(report, "two-primaries")
        assert found["node_ids"] == [node_id(new), node_id(old)]
        assert f"CLUSTER REPLICATE {node_id(new)}" in found["do"]
        failed = [finding for finding in report["findings"] if finding["kind"] == "failed-but-answers"]
        (about_old,) = [finding for finding in failed if finding["node_ids"] == [node_id(old)]]
        assert "(FAIL)" in about_old["what"]
        assert {*about_old["said_by"]} == {address(server) for server in cluster.servers if server is not old}
        assert {"pieces", "views-differ"} <= kinds(report)
        cluster.deafen(old, NOTHING)
        wait_agreed(cluster.servers, DEADLINE_S)
        old.call("CLUSTER", "FAILOVER")
        wait_until(lambda: old.info()["role"] == "master", DEADLINE_S, "the old primary is one again")


def test_a_phantom_primary(cluster: Cluster, doctor: Doctor) -> None:
    """A primary that lost its nodes.conf: another id answers where the others hold it."""
    lost = cluster.primaries[2]
    old_id, slots = node_id(lost), cluster_nodes(lost)[node_id(lost)].slots
    lost.call("CLUSTER", "RESET", "HARD")
    report = wait_found(doctor, [cluster.ours], "phantom-primary")
    found = finding(report, "phantom-primary")
    assert found["node_ids"] == [old_id]
    assert f"slots {slots[0]}" in found["what"]
    assert f"CLUSTER FORGET {old_id}" in found["do"]
    for server in cluster.servers:
        if server is not lost:
            server.call("CLUSTER", "FORGET", old_id)
    first, last = slots[0].split("-")
    lost.call("CLUSTER", "ADDSLOTSRANGE", first, last)
    cluster.servers[0].call("CLUSTER", "MEET", "127.0.0.1", lost.port)


def test_a_stale_address(cluster: Cluster, doctor: Doctor) -> None:
    """A node that was started elsewhere and knows nobody: the others have its old address."""
    moved = cluster.spare
    moved_id, old_address, old_port = node_id(moved), address(moved), moved.port
    moved.stop()
    conf = moved.folder / "nodes.conf"
    lines = [line for line in conf.read_text().splitlines() if "myself" in line or line.startswith("vars")]
    conf.write_text("\n".join(lines) + "\n")
    moved.port = 0
    moved.start()
    report = doctor(cluster.ours, moved)
    found = finding(report, "stale-address")
    assert found["node_ids"] == [moved_id]
    assert old_address in found["what"]
    assert f"answers at {address(moved)}" in found["what"]
    assert {*found["said_by"]} == {address(server) for server in cluster.servers if server is not moved}
    assert moved.port != old_port
    moved.call("CLUSTER", "MEET", "127.0.0.1", cluster.servers[0].port)


def test_the_view_from_the_bus_is_one_more_and_leaves_no_trace(cluster: Cluster, doctor: Doctor) -> None:
    report = doctor(cluster.spare, words=("--bus",))
    assert report["sound"]
    (group,) = report["views"]
    (observer,) = [node for node in report["nodes"] if node["address"] == "observer"]
    assert observer["id"] in group["nodes"]
    assert len(group["nodes"]) == len(cluster.servers) + 1
    for server in cluster.servers:
        assert {*cluster_nodes(server)} == {node_id(other) for other in cluster.servers}


def test_an_observer_that_is_ended_by_sigterm_leaves_no_trace(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "clusterbus", "doctor", "--bus", address(cluster.ours)]
    known = {node_id(server) for server in cluster.servers}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as doctor:
        wait_until(lambda: {*cluster_nodes(cluster.ours)} > known, DEADLINE_S, "the observer has joined")
        doctor.terminate()
        assert doctor.communicate(timeout=DEADLINE_S) == ("", "clusterbus doctor: interrupted\n")
    assert [{*cluster_nodes(server)} for server in cluster.servers] == [known] * len(cluster.servers)


READING = {
    *("cluster|myid", "cluster|nodes", "cluster|info", "cluster|links", "cluster|myshardid"),
    *("info", "config|get", "auth"),
}


def test_only_commands_that_read_are_sent(cluster: Cluster, doctor: Doctor) -> None:
    """With a fault, so that it looks twice, and then as it watches."""
    cluster.call_all("CONFIG", "RESETSTAT")
    cluster.primaries[1].call("CONFIG", "SET", "cluster-node-timeout", LONG_TIMEOUT_MS + 1)
    assert kinds(doctor(cluster.ours)) == {"timeouts-differ"}
    assert main(["doctor", "--watch", "--for", "0.3", address(cluster.ours)]) == 0
    for server in cluster.servers:
        lines = server.call("INFO", "commandstats").splitlines()
        sent = {line.split(":")[0].removeprefix("cmdstat_") for line in lines if line.startswith("cmdstat_")}
        ours = {"config|resetstat"} | ({"config|set"} if server is cluster.primaries[1] else set())
        streaming = {"replconf", "ping"}  # between a primary and its replica
        assert sent - ours - streaming <= READING
        assert {"cluster|nodes", "info", "config|get"} <= sent
    cluster.primaries[1].call("CONFIG", "SET", "cluster-node-timeout", LONG_TIMEOUT_MS)


def test_watch_times_a_failover_until_ctrl_c(cluster: Cluster) -> None:
    old, new = cluster.primaries[0], cluster.replica
    command = [sys.executable, "-m", "clusterbus", "doctor", "--watch", "--json", "--interval", "0.05"]
    with subprocess.Popen([*command, address(cluster.ours)], stdout=subprocess.PIPE, text=True) as watcher:
        try:
            wait_until(lambda: "cluster|nodes" in commands_of(cluster.spare, watcher), DEADLINE_S, "it watches")
            new.call("CLUSTER", "FAILOVER")
            assert watcher.stdout is not None
            told: dict[str, dict[str, Any]] = {}
            while not {f"role {node_id(new)}", f"role {node_id(old)}", f"slots {node_id(new)}"} <= {*told}:
                change = json.loads(watcher.stdout.readline())
                told[f"{change['change']} {change['node_id']}"] = change
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(DEADLINE_S) == 0
        finally:
            watcher.kill()
    for change in told.values():
        assert change["all"]
        assert (change["nodes"], change["of"]) == (6, 6)
        assert 0 <= change["min_ms"] <= change["median_ms"] <= change["max_ms"] < DEADLINE_S * 1000
        assert change["resolution_ms"] >= 40
        assert {change["first"], change["last"]} <= {*map(address, cluster.servers)}
    assert told[f"role {node_id(old)}"]["primary_id"] == node_id(new)
    old.call("CLUSTER", "FAILOVER")
    wait_until(lambda: old.info()["role"] == "master", DEADLINE_S, "the old primary is one again")


def commands_of(server: Server, watcher: subprocess.Popen[str]) -> str:
    """The last commands of the clients of a server that are not this test's; the watcher must live."""
    assert watcher.poll() is None
    return "".join(line for line in server.call("CLIENT", "LIST").splitlines() if "cmd=client" not in line)
