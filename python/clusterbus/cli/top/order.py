"""Which rows are shown, and in which order: sorting by a column, the filter, shards kept together.

Owns the columns that sort. Must never change a picture. Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clusterbus.cli.top.picture import Row


class Sort(Enum):
    """What rows are sorted by; the value is its name on the screen."""

    SHARD = "shard"
    NODE = "node"
    SLOTS = "slots"
    HEALTH = "flags"
    RTT = "rtt"
    BUS_RTT = "bus rtt"
    QUEUE = "queue"
    BYTES_OUT = "bytes out"
    BYTES_IN = "bytes in"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How rows are shown. `is_grouped` keeps each shard together, `is_reversed` turns the order round."""

    sort: Sort = Sort.SHARD
    is_reversed: bool = False
    is_grouped: bool = True
    words: tuple[str, ...] = ()


Key = Callable[[Row], float]


def _bytes(row: Row, sent: bool) -> float:
    if row.rates is None:
        return -1.0
    value = row.rates.bytes_sent if sent else row.rates.bytes_received
    return -1.0 if value is None else value


# The largest first: who looks at a column looks for what stands out.
_KEYS: Final[dict[Sort, Key]] = {
    Sort.SLOTS: lambda row: row.slots,
    Sort.HEALTH: lambda row: trouble(row),
    Sort.RTT: lambda row: -1.0 if row.rtt_ms is None else row.rtt_ms,
    Sort.BUS_RTT: lambda row: -1.0 if row.bus_rtt_us is None else row.bus_rtt_us,
    Sort.QUEUE: lambda row: -1.0 if row.queue_len_bytes is None else row.queue_len_bytes,
    Sort.BYTES_OUT: lambda row: _bytes(row, True),
    Sort.BYTES_IN: lambda row: _bytes(row, False),
    Sort.MESSAGES: lambda row: -1.0 if row.rates is None else row.rates.messages,
}


def trouble(row: Row) -> float:
    """How bad a row is, 0 for one that is well."""
    silent = 4.0 if row.error else 0.0
    seen = 2.0 * row.health + (row.failed_by + row.suspected_by) / (row.judges + 1)
    odd = 0.5 if row.disputed or row.known_by < row.views else 0.0
    return silent + seen + odd + (0.25 if row.state not in ("ok", "") else 0.0)


def arrange(rows: Sequence[Row], arrangement: Arrangement) -> list[Row]:
    """The rows that pass the filter, in their order. Rows come in grouped, as a picture has them."""
    chosen = [row for row in rows if not arrangement.words or _passes(row, arrangement.words)]
    if arrangement.sort is Sort.SHARD and arrangement.is_grouped:
        return _turned(chosen) if arrangement.is_reversed else chosen
    if not arrangement.is_grouped:
        return _sorted(chosen, arrangement)
    groups: dict[int, list[Row]] = {}
    for row in chosen:
        groups.setdefault(row.shard, []).append(row)
    heads = {shard: _sorted(members, arrangement)[0] for shard, members in groups.items()}
    shards = {id(head): shard for shard, head in heads.items()}
    order = _sorted(list(heads.values()), arrangement)
    return [row for head in order for row in groups[shards[id(head)]]]


def _turned(rows: Iterable[Row]) -> list[Row]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.shard, []).append(row)
    return [row for group in reversed(groups.values()) for row in group]


def _sorted(rows: Sequence[Row], arrangement: Arrangement) -> list[Row]:
    sort = arrangement.sort
    if sort is Sort.SHARD:
        ordered = list(rows)
    elif sort is Sort.NODE:
        ordered = sorted(rows, key=lambda row: _by_address(row.address))
    else:
        key = _KEYS[sort]
        ordered = sorted(rows, key=lambda row: -key(row))
    return ordered[::-1] if arrangement.is_reversed else ordered


def _by_address(address: str) -> tuple[tuple[int, str], ...]:
    """Numbers as numbers, so that 127.0.0.1:900 stands before 127.0.0.1:1000."""
    parts = address.replace(":", ".").replace("]", ".").replace("[", ".").split(".")
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _passes(row: Row, words: Iterable[str]) -> bool:
    text = searched(row)
    return all(word in text for word in words)


def searched(row: Row) -> str:
    """What the filter looks in, in lower case."""
    parts = [row.address, row.hostname, row.node_id, row.role, f"shard:{row.shard + 1}", row.version, row.error]
    parts += [row.health.name, f"state:{row.state}"]
    parts += ["fail"] * bool(row.failed_by) + ["pfail fail?"] * bool(row.suspected_by)
    parts += ["down silent"] * bool(row.error) + ["disputed"] * bool(row.disputed)
    return " ".join(parts).lower()


def words_of(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split())
