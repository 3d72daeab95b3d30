"""Prometheus' text format 0.0.4, made of a snapshot piece by piece.

Owns the format: HELP, TYPE, escaping, order. Must never read the state. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from clusterbus.metrics import table as t
from clusterbus.metrics.snapshot import Peer, Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LINES_PER_PIECE: Final = 500
"""Between two pieces of so many lines, a fraction of a millisecond of work, the main loop may do other things."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def pieces(snapshot: Snapshot) -> Iterator[str]:
    """The text in pieces, of at most LINES_PER_PIECE lines each."""
    lines: list[str] = []
    for metric, samples in snapshot.samples.items():
        if samples:
            lines.append(_head(metric))
            lines += [f"{metric.name}{_labels(metric.labels, values)} {number}" for values, number in samples]
    yield _text(lines)
    for metric, line in _PEER_LINES.items():
        head = _head(metric) + "\n" if snapshot.peers else ""
        for begin in range(0, len(snapshot.peers), LINES_PER_PIECE):
            lines = [line(peer) for peer in snapshot.peers[begin : begin + LINES_PER_PIECE]]
            yield head + _text([line for line in lines if line])
            head = ""


def _text(lines: list[str]) -> str:
    return "\n".join([*lines, ""])


def _head(metric: t.Metric) -> str:
    return f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPES)}\n# TYPE {metric.name} {metric.type.value}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _of_peer(metric: t.Metric, number: Callable[[Peer], object]) -> Callable[[Peer], str]:
    """The lines of a metric that has the node id alone for a label: hex digits, which need no escape."""
    return lambda peer: f'{metric.name}{{node_id="{peer.node_id}"}} {number(peer)}'


def _seconds(metric: t.Metric, micros: Callable[[Peer], int | None]) -> Callable[[Peer], str]:
    """As `_of_peer`, for microseconds; no line where there are none."""
    line = _of_peer(metric, lambda peer: (micros(peer) or 0) / 1e6)
    return lambda peer: line(peer) if micros(peer) is not None else ""


_PEER_LINES: Final[dict[t.Metric, Callable[[Peer], str]]] = {
    t.PEER_UP: _of_peer(t.PEER_UP, lambda peer: peer.up),
    t.PEER_FAILING: _of_peer(t.PEER_FAILING, lambda peer: peer.failing),
    t.PEER_SLOTS: _of_peer(t.PEER_SLOTS, lambda peer: peer.slots),
    t.PEER_RTT: _seconds(t.PEER_RTT, lambda peer: peer.rtt_us),
    t.PEER_RTT_MAX: _seconds(t.PEER_RTT_MAX, lambda peer: peer.rtt_max_us),
    t.PEER_INFO: lambda peer: (
        t.PEER_INFO.name + _labels(t.PEER_INFO.labels, (peer.node_id, peer.address, peer.role, peer.shard_id)) + " 1"
    ),
}
