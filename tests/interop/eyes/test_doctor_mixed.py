"""`clusterbus doctor` at a cluster of Valkey and clusterbus nodes: through a failover, a partition, and another id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.cli import doctor as command
from clusterbus.cli import main

from tests.interop.eyes.mixed import Mixed
from tests.peers.cluster import wait_until

DEADLINE_S = 30.0


@pytest.fixture
def doctor(mixed: Mixed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(command, "SECOND_LOOK_AFTER_S", 0.2)

    def run() -> dict[str, Any]:
        capsys.readouterr()
        status = main(["doctor", "--json", mixed.seed])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (0 if report["sound"] else 1)
        return report

    return run


def waited(doctor: Callable[[], dict[str, Any]], condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """A report of which the condition holds."""
    report: dict[str, Any] = {}

    def holds() -> bool:
        report.clear()
        report.update(doctor())
        return condition(report)

    wait_until(holds, DEADLINE_S, lambda: f"{report.get('findings')}")
    return report


def about(report: dict[str, Any], node_id: str) -> set[str]:
    return {finding["kind"] for finding in report["findings"] if node_id in finding["node_ids"]}


def is_sound(report: dict[str, Any]) -> bool:
    return bool(report["sound"]) and not report["findings"] and len(report["nodes"]) == 6


def test_what_doctor_says_in_the_three_situations(mixed: Mixed, doctor: Callable[[], dict[str, Any]]) -> None:
    report = waited(doctor, is_sound)
    assert {node["server"] for node in report["nodes"]} == {"valkey", "clusterbus"}
    assert sum(node["slots"] for node in report["nodes"]) == 16_384

    failover = mixed.failover()
    report = waited(doctor, lambda report: about(report, failover.old.node_id) == {"failed-node"})
    assert {finding["kind"] for finding in report["findings"]} == {"failed-node"}
    (failed,) = report["findings"]
    assert len(failed["said_by"]) == 5
    roles = {node["id"]: node["role"] for node in report["nodes"]}
    assert roles[failover.new.node_id] == "primary"
    mixed.come_back()
    waited(doctor, is_sound)

    partition = mixed.partition()
    cut_off = {node.node_id for node in partition.minority}
    report = waited(doctor, lambda report: any({*finding["node_ids"]} == cut_off for finding in report["findings"]))
    (pieces,) = [finding for finding in report["findings"] if finding["kind"] == "pieces"]
    assert {*pieces["node_ids"]} == cut_off
    assert all("failed-but-answers" in about(report, node_id) for node_id in cut_off)
    mixed.heal()
    waited(doctor, is_sound)

    replaced = mixed.come_back_with_another_id()
    report = waited(doctor, lambda report: bool(about(report, replaced.old_id)))
    (finding,) = [finding for finding in report["findings"] if replaced.old_id in finding["node_ids"]]
    assert finding["kind"] == "failed-node"
    assert f"CLUSTER FORGET {replaced.old_id}" in finding["do"]
    assert replaced.new_id in {node["id"] for node in report["nodes"]}
    for n in range(6):
        if n != 5:
            mixed.call(n, "CLUSTER", "FORGET", replaced.old_id)
    waited(doctor, is_sound)
