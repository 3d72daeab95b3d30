"""Which faults come, in which order and for how long: from the seed alone. Draws only; `acts` carries them out.

Two lanes run side by side. The heavy lane takes nodes down or away; it goes on when the cluster is whole again. The
light lane meanwhile disturbs single links, clients and settings. Each lane draws its kinds from a bag that is refilled
when it is empty, so that each kind comes as often as any other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from soak.cast import NODE_TIMEOUT_MS, Kind, Part, has_replica, shards_of

T = TypeVar("T")


class Fault(Enum):
    """What is done to the cluster. The value is its name in the table and the picture."""

    TERM = "restart by SIGTERM"
    KILL = "restart by SIGKILL"
    CRASH = "crash with failover"
    FAILOVER = "manual failover"
    PARTITION = "node cut off"
    CUT = "link cut"
    DEBUG_KILL = "links killed by DEBUG"
    HOLD = "link held"
    FILTER = "packet filter"
    IO_THREADS = "io-threads resized"
    CERTIFICATES = "certificates reloaded"
    TLS_FILES = "certificate files replaced"
    CLIENT_KILL = "clients killed"
    SLOW_CLIENT = "slow clients"


HEAVY: Final = (Fault.TERM, Fault.KILL, Fault.CRASH, Fault.FAILOVER, Fault.PARTITION)
LIGHT: Final = (
    Fault.CUT,
    Fault.DEBUG_KILL,
    Fault.HOLD,
    Fault.FILTER,
    Fault.IO_THREADS,
    Fault.CERTIFICATES,
    Fault.TLS_FILES,
    Fault.CLIENT_KILL,
    Fault.SLOW_CLIENT,
)

HEAVY_PAUSE_S: Final = (2.0, 5.0)
LIGHT_PAUSE_S: Final = (1.0, 4.0)
SHORT_S: Final = (0.2, 1.5)
"""Nobody is held to have failed."""
LONG_S: Final = (NODE_TIMEOUT_MS * 1.4 / 1000, NODE_TIMEOUT_MS * 2.0 / 1000)
"""A node that is away so long fails."""
FILTERED_TYPES: Final = {
    "PING": 0,
    "PONG": 1,
    "FAIL": 3,
    "PUBLISH": 4,
    "AUTH_REQUEST": 5,
    "AUTH_ACK": 6,
    "UPDATE": 7,
    "MFSTART": 8,
}
FILTER_S: Final = (0.5, 3.0)
HOLD_S: Final = (0.2, 4.0)
"""Half of the node timeout is within: whoever waits for a PONG that long dials anew."""
SLOW_CLIENT_S: Final = (3.0, 8.0)
IO_THREADS_MAX: Final = 4


@dataclass(frozen=True)
class Planned:
    """One fault to come. `target` is a node or a shard, `other` the other end of a link, `detail` what the kind needs.
    `pause_s` is how long the lane waits before it.
    """

    number: int
    fault: Fault
    target: str
    other: str = ""
    detail: str = ""
    lasts_s: float = 0.0
    pause_s: float = 0.0


def heavy_lane(seed: int, cast: Sequence[Part]) -> Iterator[Planned]:
    """The faults that take nodes down or away, without end."""
    draw = random.Random(f"{seed}-heavy")
    kinds, nodes = _Bag(draw, HEAVY), _Bag(draw, [part.name for part in cast if not part.is_steady])
    failing = [shard for shard in shards_of(tuple(cast)) if has_replica(tuple(cast), shard)]
    shards = {fault: _Bag(draw, failing) for fault in (Fault.CRASH, Fault.FAILOVER)}
    away = _Bag(draw, [part.name for part in cast])
    number = 0
    while True:
        fault = kinds.take()
        if fault in shards and not failing:
            continue
        number += 1
        pause_s = draw.uniform(*HEAVY_PAUSE_S)
        if fault in shards:
            yield Planned(number, fault, shards[fault].take(), pause_s=pause_s)
        elif fault is Fault.PARTITION:
            lasts_s = draw.uniform(*(SHORT_S if draw.random() < 0.5 else LONG_S))
            yield Planned(number, fault, away.take(), lasts_s=lasts_s, pause_s=pause_s)
        else:
            yield Planned(number, fault, nodes.take(), lasts_s=draw.uniform(*SHORT_S), pause_s=pause_s)


def light_lane(seed: int, cast: Sequence[Part]) -> Iterator[Planned]:
    """The faults that disturb a link, a client or a setting, without end."""
    draw = random.Random(f"{seed}-light")
    kinds = _Bag(draw, LIGHT)
    targets = {fault: _Bag(draw, _targets(fault, cast)) for fault in LIGHT}
    filtered = _Bag(draw, list(FILTERED_TYPES))
    number = 0
    while True:
        fault = kinds.take()
        number += 1
        target = targets[fault].take()
        other = draw.choice([part.name for part in cast if part.name != target])
        detail, lasts_s = "", 0.0
        match fault:
            case Fault.HOLD:
                lasts_s = draw.uniform(*HOLD_S)
            case Fault.FILTER:
                detail, lasts_s = filtered.take(), draw.uniform(*FILTER_S)
            case Fault.IO_THREADS:
                detail = str(draw.randint(1, IO_THREADS_MAX))
            case Fault.DEBUG_KILL:
                detail = draw.choice(["to", "from", "all"])
            case Fault.SLOW_CLIENT:
                lasts_s = draw.uniform(*SLOW_CLIENT_S)
        yield Planned(number, fault, target, other, detail, lasts_s, draw.uniform(*LIGHT_PAUSE_S))


def _targets(fault: Fault, cast: Sequence[Part]) -> list[str]:
    if fault is Fault.IO_THREADS:
        return [part.name for part in cast if part.kind.resizes]
    if fault is Fault.CERTIFICATES:
        return [part.name for part in cast if part.kind.speaks_tls]
    if fault is Fault.TLS_FILES:
        return [part.name for part in cast if part.kind.is_ours]
    if fault is Fault.CLIENT_KILL:
        return [part.name for part in cast if part.kind is not Kind.PROGRAM]
    if fault is Fault.DEBUG_KILL:
        # Redis 7.0 does not survive the order if there is no such link at the moment.
        return [part.name for part in cast if part.kind is not Kind.REDIS]
    return [part.name for part in cast]


class _Bag(Generic[T]):
    """Gives each of its items once, in a drawn order, before any of them again."""

    def __init__(self, draw: random.Random, items: Sequence[T]) -> None:
        self._draw, self._items = draw, list(items)
        self._left: list[T] = []

    def take(self) -> T:
        if not self._left:
            self._left = self._draw.sample(self._items, len(self._items))
        return self._left.pop()
