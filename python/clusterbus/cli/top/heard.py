"""What is kept of each address between two pictures: its last answers, the reason why there is none, rates.

Owns how answers are taken in, and how much of them is kept. Must never grow past what VIEWS_MAX views and one line a
node need. Reads no clock: times are arguments, in seconds of the monotonic clock. One thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from clusterbus.member.ports import Place
from clusterbus.survey.asking import Answer
from clusterbus.survey.node_rows import NodeRow

SMALL_CLUSTER_NODES: Final = 64
"""Up to so many nodes every one is asked for everything each time."""
VIEWS_MAX: Final = 12
"""So many node tables of a larger cluster are held; each has as many rows as there are nodes."""
VIEW_AGE_MAX_S: Final = 15.0
"""A view that old says nothing more of the present, unless there is no other."""
RATE_SPAN_MIN_S: Final = 0.2
"""Counters of answers that are nearer to each other make no rate."""
PREFIX: Final = "cluster_stats_messages_"


@dataclass(frozen=True, slots=True)
class Rates:
    """A second's messages and bytes of the bus, from two answers. Bytes are None where the server counts none.

    `by_class` has (sent, received) of `gossip`, `pubsub` and `module`; `by_type` of each type of message, "ping" say.
    """

    sent: float
    received: float
    bytes_sent: float | None = None
    bytes_received: float | None = None
    by_class: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_type: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def messages(self) -> float:
        return self.sent + self.received


@dataclass(slots=True)
class Heard:
    """One address. `error` is why the last question got no answer, "" if it got one."""

    place: Place
    address: str
    node_id: str = ""
    error: str = ""
    asked_at_s: float | None = None
    heard_at_s: float | None = None
    failures: int = 0
    rtt_ms: float | None = None
    version: str = ""
    is_clusterbus: bool = False
    cluster_info: Mapping[str, str] = field(default_factory=dict)
    rates: Rates | None = None
    view: tuple[NodeRow, ...] = ()
    view_at_s: float = 0.0
    links_count: int | None = None
    queue_len_bytes: int | None = None
    bus_rtts_us: Mapping[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    refused_at_s: float = 0.0
    _counted: Mapping[str, float] = field(default_factory=dict)
    _counted_at_s: float = 0.0

    @property
    def state(self) -> str:
        """The cluster state that it sees, "" if it did not say."""
        return self.cluster_info.get("cluster_state", "")

    def take(self, answer: Answer, now_s: float) -> None:
        """Takes in an answer, which may be to some of the questions only."""
        self.asked_at_s = now_s
        self.error = answer.error
        if answer.error:
            self.failures += 1
            self.rates, self.rtt_ms = None, None
            self.links_count, self.queue_len_bytes, self.bus_rtts_us = None, None, {}
            self._counted = {}
            return
        if answer.node_id != self.node_id:
            self.node_id, self.version, self._counted = answer.node_id, "", {}
        self.failures, self.heard_at_s, self.rtt_ms = 0, now_s, answer.rtt_ms
        if answer.refused:
            self.refused.update(answer.refused)
            self.refused_at_s = now_s
        if answer.nodes:
            self.view, self.view_at_s = answer.nodes, now_s
        if answer.info:
            self.version = version_of(answer.info)
            self.is_clusterbus = "clusterbus_version" in answer.info
        if answer.links is not None:
            self._take_links(answer)
        if answer.cluster_info:
            self._take_counters(answer.cluster_info, now_s)

    def _take_links(self, answer: Answer) -> None:
        assert answer.links is not None
        self.links_count = answer.links.count
        self.queue_len_bytes = answer.links.queue_len_bytes
        self.bus_rtts_us = answer.links.rtts_us

    def _take_counters(self, info: Mapping[str, str], now_s: float) -> None:
        self.cluster_info = {name: info[name] for name in ("cluster_state", "cluster_state_reason") if name in info}
        counted = dict(_counters(info))
        span_s = now_s - self._counted_at_s
        if self._counted and span_s < RATE_SPAN_MIN_S:
            return
        self.rates = _rates(self._counted, counted, span_s) if self._counted else None
        self._counted, self._counted_at_s = counted, now_s


class Memory:
    """All addresses that are known."""

    def __init__(self, seeds: Iterable[tuple[str, Place]]) -> None:
        self._seeds = dict(seeds)
        self._all = {address: Heard(place, address) for address, place in self._seeds.items()}

    def __iter__(self) -> Iterator[Heard]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, address: str) -> Heard:
        return self._all[address]

    def find(self, addresses: Mapping[str, Place], limit: int) -> None:
        """Makes the known addresses those that are listed, and the seeds, up to `limit`."""
        wanted = self._seeds | dict(addresses)
        for address in [known for known in self._all if known not in wanted]:
            del self._all[address]
        for address, place in wanted.items():
            if len(self._all) >= limit:
                return
            if address not in self._all:
                self._all[address] = Heard(place, address)

    @property
    def is_small(self) -> bool:
        return len(self._all) <= SMALL_CLUSTER_NODES

    def forget_old_views(self, now_s: float) -> None:
        """Of a large cluster only the VIEWS_MAX newest views stay, none that is VIEW_AGE_MAX_S old or of a silent
        node; but one always stays, or there would be nothing to show."""
        newest = sorted((one for one in self if one.view), key=lambda one: (bool(one.error), -one.view_at_s))
        kept = len(newest) if self.is_small else VIEWS_MAX
        for number, one in enumerate(newest):
            if number and (number >= kept or one.error or now_s - one.view_at_s > VIEW_AGE_MAX_S):
                one.view = ()


def version_of(info: Mapping[str, str]) -> str:
    """The kind and version of a server, from its INFO."""
    for name, kind in (("clusterbus_version", "clusterbus"), ("valkey_version", "valkey"), ("redis_version", "redis")):
        if name in info:
            return f"{kind} {info[name]}"
    return ""


def _counters(info: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, value in info.items():
        if name.startswith("cluster_stats_"):
            try:
                yield name, float(value)
            except ValueError:
                continue


def _rates(before: Mapping[str, float], after: Mapping[str, float], span_s: float) -> Rates | None:
    """None if a counter went back, as it does when a node starts anew."""
    if span_s <= 0 or any(after.get(name, 0) < count for name, count in before.items()):
        return None

    def rate(name: str) -> float:
        return (after.get(name, 0) - before.get(name, 0)) / span_s

    by_type = {}
    for name in after:
        if name.startswith(PREFIX) and name.endswith(("_sent", "_received")):
            kind = name.removeprefix(PREFIX).rpartition("_")[0]
            if kind:
                by_type[kind] = (rate(f"{PREFIX}{kind}_sent"), rate(f"{PREFIX}{kind}_received"))
    rates = Rates(rate(f"{PREFIX}sent"), rate(f"{PREFIX}received"), by_type=by_type)
    if "cluster_stats_bytes_sent" not in after:
        return rates
    total = (rate("cluster_stats_bytes_sent"), rate("cluster_stats_bytes_received"))
    by_class = {
        name: (rate(f"cluster_stats_{name}_bytes_sent"), rate(f"cluster_stats_{name}_bytes_received"))
        for name in ("pubsub", "module")
    }
    rest = tuple(max(0.0, total[way] - sum(pair[way] for pair in by_class.values())) for way in (0, 1))
    by_class = {"gossip": (rest[0], rest[1]), **by_class}
    return Rates(rates.sent, rates.received, *total, by_class=by_class, by_type=by_type)
