"""What the screen shows, as plain data: rows of nodes, shards, owners of slots; and how it is made of what was heard.

Owns the step from what nodes said to a `Picture`. Must never ask a node, read a clock or know a terminal: it is a pure
function of what was heard and the time. Any thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from statistics import median
from typing import Final

from clusterbus.cli.top.heard import Heard, Rates
from clusterbus.cli.top.merge import Merged, merge
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.member.ports import Place
from clusterbus.survey.node_rows import NodeRow
from clusterbus.wire import CLUSTER_SLOTS

RANGES_KEPT_MAX: Final = 20_000
"""The ranges of so many different rows are kept to be shown again; past that they are made anew."""
UNOWNED: Final = -1
ID_SHOWN: Final = 8
"""So many characters of an id tell it from others."""


class Health(IntEnum):
    """What the views that were heard hold of a node, the best first."""

    WELL = 0
    SUSPECTED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One node. `failed_by` and `suspected_by` of `judges` other nodes hold it FAIL or PFAIL, and `known_by` of `views`
    list it. `error` says why it does not answer, "" if it does. None is for what nobody said.

    `rtt_ms` is that of a question from here, `bus_rtt_us` the median of what its peers measured on the bus. Rates are a
    second. `shard` counts shards from 0 in the order of their slots; `disputed` slots are claimed by a node of a higher
    epoch too.
    """

    node_id: str
    address: str
    place: Place | None = None
    hostname: str = ""
    is_primary: bool = True
    primary_id: str | None = None
    shard: int = 0
    slots: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    disputed: int = 0
    migrating: tuple[tuple[int, str], ...] = ()
    importing: tuple[tuple[int, str], ...] = ()
    epoch: int = 0
    health: Health = Health.WELL
    failed_by: int = 0
    suspected_by: int = 0
    judges: int = 0
    known_by: int = 1
    views: int = 1
    error: str = ""
    asked_at_s: float | None = None
    state: str = ""
    version: str = ""
    rtt_ms: float | None = None
    bus_rtt_us: int | None = None
    links: int | None = None
    queue_len_bytes: int | None = None
    rates: Rates | None = None
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def role(self) -> str:
        return "primary" if self.is_primary else "replica"

    @property
    def label(self) -> str:
        """What events call it."""
        return f"{self.address} ({self.node_id[:ID_SHOWN]})"


@dataclass(frozen=True, slots=True)
class Picture:
    """One moment. `rows` are grouped: each shard's primary, then its replicas. `owners` has the shard of each slot.

    `states` counts the nodes that answer by the cluster state they see. `oldest_s` is the age of the oldest answer.
    Times are of the monotonic clock, in seconds.
    """

    at_s: float
    rows: tuple[Row, ...] = ()
    owners: tuple[int, ...] = (UNOWNED,) * CLUSTER_SLOTS
    shards: int = 0
    slots_owned: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    silent: int = 0
    oldest_s: float = 0.0

    @property
    def state(self) -> str:
        """The cluster state in a word: that of all nodes that answer, or how many see which."""
        if len(self.states) <= 1:
            return next(iter(self.states), "unknown")
        total = sum(self.states.values())
        return ", ".join(f"{word} {count}/{total}" for word, count in sorted(self.states.items(), reverse=True))


class Painter:
    """Makes pictures. It remembers the ranges of rows, which seldom change and cost most."""

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[tuple[int, int], ...]] = {}

    def paint(self, heard: Iterable[Heard], now_s: float) -> Picture:
        """The picture of what was heard so far. An address that gave no answer yet has no row of its own, unless a view
        lists it."""
        addresses = {one.address: one for one in heard}
        merged = merge([(one.node_id, one.view) for one in addresses.values() if one.view])
        homes = {one.node_id: one for one in addresses.values() if one.node_id and not one.error}
        bus = _bus_rtts(addresses.values())
        owned = _owned(merged)
        order = _order(merged, owned)
        primaries = [node_id for node_id in order if merged[node_id].row.is_primary]
        shard_of = {node_id: number for number, node_id in enumerate(primaries)}
        rows = []
        for node_id in order:
            one = merged[node_id]
            shard = shard_of.get(node_id if one.row.is_primary else one.row.primary_id or "", UNOWNED)
            heard_of = addresses.get(one.row.address) or homes.get(node_id)
            rows.append(self._row(one, shard, owned.get(node_id, 0), heard_of, bus.get(node_id)))
        owners = self._owners(rows)
        answered = [one for one in addresses.values() if one.heard_at_s is not None and not one.error]
        return Picture(
            at_s=now_s,
            rows=tuple(rows),
            owners=owners,
            shards=sum(bool(owned.get(node_id)) for node_id in primaries),
            slots_owned=CLUSTER_SLOTS - owners.count(UNOWNED),
            states=Counter(one.state for one in answered if one.state),
            silent=sum(bool(row.error) for row in rows),
            oldest_s=max((now_s - (one.heard_at_s or now_s) for one in answered), default=0.0),
        )

    def _row(self, one: Merged, shard: int, bits: int, heard: Heard | None, bus_rtt_us: int | None) -> Row:
        row = one.row
        health = Health.FAILED if one.failed_by else Health.SUSPECTED if one.suspected_by else Health.WELL
        base = Row(
            node_id=row.node_id,
            address=row.address if row.ip else heard.address if heard else row.address,
            place=Place(row.ip, row.port) if row.has_address else None,
            hostname=row.hostname,
            is_primary=row.is_primary,
            primary_id=row.primary_id,
            shard=shard,
            slots=bits.bit_count(),
            ranges=self._ranges_of(bits),
            disputed=(row.slot_bits & ~bits).bit_count() if row.is_primary else 0,
            migrating=row.migrating,
            importing=row.importing,
            epoch=row.config_epoch,
            health=health,
            failed_by=one.failed_by,
            suspected_by=one.suspected_by,
            judges=one.judges,
            known_by=one.known_by,
            views=one.views,
            bus_rtt_us=bus_rtt_us,
        )
        return _with_answer(base, row, heard)

    def _ranges_of(self, bits: int) -> tuple[tuple[int, int], ...]:
        ranges = self._ranges.get(bits)
        if ranges is None:
            if len(self._ranges) > RANGES_KEPT_MAX:
                self._ranges.clear()
            ranges = self._ranges[bits] = ranges_of(bits)
        return ranges

    def _owners(self, rows: Sequence[Row]) -> tuple[int, ...]:
        owners = [UNOWNED] * CLUSTER_SLOTS
        for row in rows:
            for first, last in row.ranges:
                owners[first : last + 1] = [row.shard] * (last - first + 1)
        return tuple(owners)


def _with_answer(base: Row, row: NodeRow, heard: Heard | None) -> Row:
    if heard is None or heard.asked_at_s is None:
        error = "" if row.has_address else "its address is not known"
        return replace(base, error=error)
    if heard.error:
        return replace(base, error=heard.error, asked_at_s=heard.asked_at_s)
    if heard.node_id != row.node_id:
        return replace(base, error=f"{heard.node_id[:ID_SHOWN]} answers there now", asked_at_s=heard.asked_at_s)
    return replace(
        base,
        asked_at_s=heard.asked_at_s,
        state=heard.cluster_info.get("cluster_state", ""),
        version=heard.version,
        rtt_ms=heard.rtt_ms,
        links=heard.links_count,
        queue_len_bytes=heard.queue_len_bytes,
        rates=heard.rates,
        refused=dict(heard.refused),
    )


def _bus_rtts(heard: Iterable[Heard]) -> dict[str, int]:
    """The median of the round trips that peers measured to each node, in µs."""
    measured: dict[str, list[int]] = {}
    for one in heard:
        for node_id, rtt_us in one.bus_rtts_us.items():
            measured.setdefault(node_id, []).append(rtt_us)
    return {node_id: int(median(times)) for node_id, times in measured.items()}


def _owned(merged: Mapping[str, Merged]) -> dict[str, int]:
    """The slots of each primary as bits: of two that claim one, it is that of the higher epoch."""
    taken = 0
    owned: dict[str, int] = {}
    for one in sorted(merged.values(), key=lambda one: (-one.row.config_epoch, one.row.node_id)):
        if one.row.is_primary and one.row.slot_bits:
            owned[one.row.node_id] = one.row.slot_bits & ~taken
            taken |= one.row.slot_bits
    return owned


def _order(merged: Mapping[str, Merged], owned: Mapping[str, int]) -> list[str]:
    """Ids in the order of rows: primaries by their first slot, those without after them; replicas after their primary,
    and those whose primary is not known at the end."""
    replicas: dict[str, list[str]] = {}
    for node_id, one in merged.items():
        if not one.row.is_primary:
            primary = one.row.primary_id or ""
            known = primary in merged and merged[primary].row.is_primary
            replicas.setdefault(primary if known else "", []).append(node_id)

    def place(node_id: str) -> tuple[str, int, str]:
        return (merged[node_id].row.ip, merged[node_id].row.port, node_id)

    def first_slot(node_id: str) -> int:
        bits = owned.get(node_id, 0)
        return (bits & -bits).bit_length() if bits else CLUSTER_SLOTS + 1

    primaries = [node_id for node_id, one in merged.items() if one.row.is_primary]
    primaries.sort(key=lambda node_id: (first_slot(node_id), place(node_id)))
    order = []
    for primary in [*primaries, ""]:
        order += [primary] if primary else []
        order += sorted(replicas.get(primary, ()), key=place)
    return order
