"""Prometheus' text format 0.0.4, made of a snapshot piece by piece.

Owns the format: HELP, TYPE, escaping, order. Must never read the state. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.metrics import table as t
from clusterbus.metrics.snapshot import Peers, Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LINES_PER_PIECE: Final = 250
"""Between two pieces of so many lines, a fraction of a millisecond of work, the main loop may do other things."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def pieces(snapshot: Snapshot) -> Iterator[str]:
    """The text in pieces, of about LINES_PER_PIECE lines each."""
    lines: list[str] = []
    for metric, samples in snapshot.samples.items():
        if samples:
            lines.append(_head(metric))
            lines += [f"{metric.name}{_labels(metric.labels, values)} {number}" for values, number in samples]
        if len(lines) >= LINES_PER_PIECE:
            yield _text(lines)
            lines = []
    yield _text(lines)
    for metric, lines_of in _PEER_LINES.items():
        head = [_head(metric)]
        for begin in range(0, len(snapshot.peers.node_ids), LINES_PER_PIECE):
            if lines := lines_of(snapshot.peers.part(begin, begin + LINES_PER_PIECE)):
                yield _text(head + lines)
                head = []


def _text(lines: list[str]) -> str:
    return "\n".join([*lines, ""])


def _head(metric: t.Metric) -> str:
    return f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPES)}\n# TYPE {metric.name} {metric.type.value}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _numbers(metric: t.Metric, numbers: Callable[[Peers], Iterable[object]]) -> Callable[[Peers], list[str]]:
    """The lines of a metric that has the node id alone for a label: hex digits, which need no escape. None for a node
    whose number is None.
    """
    head = f'{metric.name}{{node_id="'
    return lambda peers: [
        f'{head}{node_id}"}} {number}'
        for node_id, number in zip(peers.node_ids, numbers(peers), strict=True)
        if number is not None
    ]


def _seconds(micros: Callable[[Peers], Iterable[int | None]]) -> Callable[[Peers], Iterable[float | None]]:
    return lambda peers: [us / 1e6 if us is not None else None for us in micros(peers)]


def _infos(peers: Peers) -> list[str]:
    rows = zip(peers.node_ids, peers.ips, peers.ports, peers.flags, peers.shard_ids, strict=True)
    return [
        f'{t.PEER_INFO.name}{{node_id="{node_id}",address="{ip.translate(_ESCAPES)}:{port}",role="{_role(flags)}"'
        f',shard_id="{shard_id}"}} 1'
        for node_id, ip, port, flags, shard_id in rows
    ]


def _role(flags: int) -> str:
    return "replica" if flags & c.FLAG_REPLICA else "primary"


def _failing(flags: int) -> int:
    return 2 if flags & c.FLAG_FAIL else int(bool(flags & c.FLAG_PFAIL))


_PEER_LINES: Final[dict[t.Metric, Callable[[Peers], list[str]]]] = {
    t.PEER_UP: _numbers(t.PEER_UP, lambda peers: map(int, peers.ups)),
    t.PEER_FAILING: _numbers(t.PEER_FAILING, lambda peers: map(_failing, peers.flags)),
    t.PEER_SLOTS: _numbers(t.PEER_SLOTS, lambda peers: [bits.bit_count() for bits in peers.slot_bits]),
    t.PEER_RTT: _numbers(t.PEER_RTT, _seconds(lambda peers: peers.rtts_us)),
    t.PEER_RTT_MAX: _numbers(t.PEER_RTT_MAX, _seconds(lambda peers: peers.rtts_max_us)),
    t.PEER_INFO: _infos,
}
