"""The exposition format: every metric of the table, once, as Prometheus reads it."""

from __future__ import annotations

import re

from clusterbus.metrics import table as t
from clusterbus.metrics.snapshot import Peer, Snapshot
from clusterbus.metrics.text import LINES_PER_PIECE, pieces

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
PEER = Peer("a" * 40, "127.0.0.1:7000", "primary", "b" * 40, 1_500, 2_000_000, 1, 0, 16_384)


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
    peers = [PEER._replace(node_id=f"{number:040x}", failing=number % 3) for number in range(count)]
    parts = list(pieces(Snapshot({t.UP: [((), 1)]}, peers)))
    assert max(part.count("\n") for part in parts) <= LINES_PER_PIECE + 2
    samples = samples_of("".join(parts))
    assert list(samples) == [t.UP.name, *(metric.name for metric in t.PEERS)]
    assert [number for _labels, number in samples[t.PEER_FAILING.name]] == [number % 3 for number in range(count)]


def test_labels_are_escaped() -> None:
    hostile = 'a"b\\c\nd'
    text = "".join(pieces(Snapshot({t.STATE_REASON: [((hostile,), 1)]}, [PEER._replace(address=hostile)])))
    samples = samples_of(text)
    assert samples[t.STATE_REASON.name] == [({"reason": r"a\"b\\c\nd"}, 1)]
    assert samples[t.PEER_INFO.name][0][0]["address"] == r"a\"b\\c\nd"
