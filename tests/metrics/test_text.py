"""The exposition format: every metric of the table, once, as Prometheus reads it."""

from __future__ import annotations

import re

from clusterbus.cluster import constants as c
from clusterbus.metrics import table as t
from clusterbus.metrics.snapshot import Peers, Snapshot
from clusterbus.metrics.text import LINES_PER_PIECE, pieces

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
FAILING = {0: c.FLAG_PRIMARY, 1: c.FLAG_REPLICA | c.FLAG_PFAIL, 2: c.FLAG_PRIMARY | c.FLAG_FAIL}


def peers_of(count: int, ip: str = "127.0.0.1") -> Peers:
    """So many peers. Of three in a row one is well, one PFAIL, one FAIL; the first of them has no round trip."""
    numbers = range(count)
    return Peers(
        node_ids=[f"{number:040x}" for number in numbers],
        ips=[ip for _ in numbers],
        ports=[7_000 for _ in numbers],
        flags=[FAILING[number % 3] for number in numbers],
        shard_ids=["b" * 40 for _ in numbers],
        slot_bits=[0b111 for _ in numbers],
        ups=[False for _ in numbers],
        rtts_us=[1_500 if number % 3 else None for number in numbers],
        rtts_max_us=[2_000_000 if number % 3 else None for number in numbers],
    )


def samples_of(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples by metric. Fails where HELP and TYPE do not stand before them, once."""
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in samples, f"{current} comes twice"
            samples[current] = []
        elif line.startswith("# TYPE "):
            assert line.split()[2] == current
            assert line.split()[3] in ("counter", "gauge")
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, number = match.groups()
            assert name == current
            samples[name].append((dict(LABEL.findall(labels or "")), float(number)))
    return samples


def test_names_follow_the_rules_of_prometheus() -> None:
    names = [metric.name for metric in t.METRICS]
    assert len(set(names)) == len(names)
    for metric in t.METRICS:
        assert metric.name.startswith(("redis_cluster_", "clusterbus_")), metric.name
        assert metric.name.endswith("_total") is (metric.type is t.Type.COUNTER), metric.name
        assert metric.help
        assert "\n" not in metric.help


def test_a_text_is_made_in_pieces_and_peers_come_metric_by_metric() -> None:
    count = 2 * LINES_PER_PIECE + 1
    parts = list(pieces(Snapshot({t.UP: [((), 1)]}, peers_of(count))))
    assert max(part.count("\n") for part in parts) <= LINES_PER_PIECE + 2
    samples = samples_of("".join(parts))
    assert list(samples) == [t.UP.name, *(metric.name for metric in t.PEERS)]
    assert [number for _labels, number in samples[t.PEER_FAILING.name]] == [number % 3 for number in range(count)]
    assert [number for _labels, number in samples[t.PEER_SLOTS.name]] == [3] * count
    assert {number for _labels, number in samples[t.PEER_UP.name]} == {0}
    assert samples[t.PEER_RTT.name] == [
        ({"node_id": f"{number:040x}"}, 0.0015) for number in range(count) if number % 3
    ]
    assert samples[t.PEER_RTT_MAX.name][0][1] == 2
    assert [labels["role"] for labels, _one in samples[t.PEER_INFO.name][:3]] == ["primary", "replica", "primary"]


def test_labels_are_escaped() -> None:
    hostile = 'a"b\\c\nd'
    text = "".join(pieces(Snapshot({t.STATE_REASON: [((hostile,), 1)]}, peers_of(1, ip=hostile))))
    samples = samples_of(text)
    assert samples[t.STATE_REASON.name] == [({"reason": r"a\"b\\c\nd"}, 1)]
    assert samples[t.PEER_INFO.name][0][0]["address"] == r"a\"b\\c\nd:7000"
