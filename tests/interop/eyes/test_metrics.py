"""What clusterbus nodes tell Prometheus, in a cluster with Valkey: cut apart, failed over, and back with another id."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import pytest

from tests.interop.eyes.mixed import OURS, Mixed
from tests.peers.cluster import wait_until
from tests.peers.ports import free_port
from tests.web.harness import Answer, get

pytestmark = pytest.mark.processes

PORTS: dict[int, int] = {}
DEADLINE_S = 20.0
SAMPLE: Final = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
LABEL: Final = re.compile(r'([a-z_]+)="([^"]*)"')
SLOTS = 16_384
OF_A_SHARD = 5_461
FAILED = 2
"""What `clusterbus_peer_failing` says of FAIL."""
WITNESS = 5
"""A clusterbus replica that neither the failover nor the partition meets."""


def with_metrics(n: int) -> dict[str, Any]:
    PORTS[n] = free_port()
    return {"metrics_port": PORTS[n]}


MIXED = {"ours": with_metrics}


class Scrape:
    """The numbers of one scrape. Of a node that nobody answers for there are none."""

    def __init__(self, text: str) -> None:
        self._samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                told = SAMPLE.fullmatch(line)
                assert told is not None, line
                name, labels, number = told.groups()
                self._samples.append((name, dict(LABEL.findall(labels or "")), float(number)))

    def number(self, name: str, **labels: str) -> float | None:
        """The number of the one sample with these labels, None if there is none."""
        found = [number for named, told, number in self._samples if named == name and labels.items() <= told.items()]
        assert len(found) <= 1, (name, labels, found)
        return found[0] if found else None

    def labels(self, name: str, **labels: str) -> dict[str, str]:
        """All labels of that sample."""
        return next((told for named, told, _ in self._samples if named == name and labels.items() <= told.items()), {})


def asked(n: int, path: str) -> Answer:
    """The answer of node n; with status 0 while nobody listens there."""
    try:
        return asyncio.run(get(f"http://127.0.0.1:{PORTS[n]}{path}"))
    except aiohttp.ClientConnectionError:
        return Answer(0, "", {})


def scraped(n: int) -> Scrape:
    return Scrape(asked(n, "/metrics").text)


def until(n: int, holds: Callable[[Scrape], bool], why: str) -> Scrape:
    """The first scrape of node n for which it holds."""
    last = scraped(n)

    def found() -> bool:
        nonlocal last
        last = scraped(n)
        return holds(last)

    wait_until(found, DEADLINE_S, lambda: f"{why}: {asked(n, '/metrics').text}")
    return last


def until_ready(n: int) -> None:
    wait_until(lambda: asked(n, "/readyz").status == 200, DEADLINE_S, lambda: f"not ready: {asked(n, '/readyz')}")


def test_metrics_in_three_kinds_of_trouble(mixed: Mixed) -> None:
    healthy(mixed)
    partition(mixed)
    failover(mixed)
    another_id(mixed)


def healthy(mixed: Mixed) -> None:
    for n in OURS:
        until_ready(n)
        assert asked(n, "/livez").status == 200
        numbers = until(n, lambda told: told.number("redis_cluster_known_nodes") == 6, "it does not know all")
        assert numbers.number("redis_cluster_state") == 1
        assert numbers.number("redis_cluster_slots_ok") == SLOTS
        assert numbers.number("redis_cluster_size") == 3
        assert numbers.labels("clusterbus_info")["node_id"] == mixed.nodes[n].node_id
        for other in mixed.nodes:
            if other.node_id != mixed.nodes[n].node_id:
                assert numbers.number("clusterbus_peer_failing", node_id=other.node_id) == 0
                info = numbers.labels("clusterbus_peer_info", node_id=other.node_id)
                assert info["address"] == f"{other.host}:{other.port}"
    valkey = mixed.nodes[0].node_id
    until(1, lambda told: (told.number("clusterbus_peer_rtt_seconds", node_id=valkey) or 0) > 0, "no round trip")


def partition(mixed: Mixed) -> None:
    """A node that is up while the others hold it failed (redis_exporter#1055): each side tells its half."""
    cut = mixed.partition()
    failed = cut.minority[0].node_id
    others = until(
        WITNESS, lambda told: told.number("clusterbus_peer_failing", node_id=failed) == FAILED, "1 is not FAIL"
    )
    assert others.number("redis_cluster_nodes_fail") is not None
    until(WITNESS, lambda told: told.number("redis_cluster_slots_fail") == OF_A_SHARD, "its slots are not failed")
    itself = until(1, lambda told: told.number("redis_cluster_state") == 0, "1 thinks that all is well")
    assert itself.number("clusterbus_up") == 1
    assert itself.labels("clusterbus_info")["node_id"] == failed
    assert itself.labels("clusterbus_state_reason")["reason"]
    assert itself.number("clusterbus_ready") == 0
    assert asked(1, "/livez").status == 200
    answer = asked(1, "/readyz")
    assert answer.status == 503
    assert "the cluster is down: " in answer.text
    mixed.heal()
    for n in OURS:
        until_ready(n)
    until(WITNESS, lambda told: told.number("clusterbus_peer_failing", node_id=failed) == 0, "1 is not back")


def failover(mixed: Mixed) -> None:
    change = mixed.failover()
    old, new = change.old.node_id, change.new.node_id
    for n in OURS:
        numbers = until(n, lambda told: told.number("clusterbus_peer_slots", node_id=new) == OF_A_SHARD, "3 owns none")
        assert numbers.labels("clusterbus_peer_info", node_id=new)["role"] == "primary"
        assert numbers.number("clusterbus_peer_slots", node_id=old) == 0
        assert numbers.number("clusterbus_peer_failing", node_id=old) == FAILED
        until(n, lambda told: told.number("clusterbus_peer_up", node_id=old) == 0, "the link to a dead node is up")
        until_ready(n)
    mixed.come_back()
    numbers = until(1, lambda told: told.number("clusterbus_peer_up", node_id=old) == 1, "0 is not back")
    assert numbers.labels("clusterbus_peer_info", node_id=old)["role"] == "replica"


def another_id(mixed: Mixed) -> None:
    replaced = mixed.come_back_with_another_id()
    new, old = replaced.new_id, replaced.old_id
    until(5, lambda told: told.labels("clusterbus_info").get("node_id") == new, "5 has its old id")
    numbers = until(1, lambda told: told.number("clusterbus_peer_up", node_id=new) == 1, "1 does not know it")
    assert numbers.number("clusterbus_peer_failing", node_id=new) == 0
    assert numbers.number("clusterbus_peer_failing", node_id=old) == FAILED
