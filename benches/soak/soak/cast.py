"""Who takes part: the nodes by name, what they are, and the shards whose primary may fail over. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 5_000


class Kind(Enum):
    """What a node is."""

    VALKEY = "valkey"
    REDIS = "redis"
    CLUSTERBUS = "clusterbus"
    PROGRAM = "program"

    @property
    def is_ours(self) -> bool:
        """Whether clusterbus runs in its process."""
        return self in (Kind.CLUSTERBUS, Kind.PROGRAM)

    @property
    def speaks_tls(self) -> bool:
        """Valkey's wheel has no TLS: its sidecar speaks it."""
        return self is not Kind.VALKEY

    @property
    def has_keys(self) -> bool:
        return not self.is_ours

    @property
    def resizes(self) -> bool:
        """Whether `io-threads` can be changed while it runs (not in Redis 7.0)."""
        return self is not Kind.REDIS


@dataclass(frozen=True)
class Part:
    """One node. `shard` is empty for a node without slots. A steady node is never restarted, so that it grows old."""

    name: str
    kind: Kind
    shard: str = ""
    is_replica: bool = False
    is_steady: bool = False
    io_threads: int = 1


CASTS: Final[dict[str, tuple[Part, ...]]] = {
    "small": (
        Part("v1", Kind.VALKEY, "A"),
        Part("r1", Kind.REDIS, "B"),
        Part("c1", Kind.CLUSTERBUS, "C", io_threads=3),
        Part("p1", Kind.PROGRAM, is_steady=True),
    ),
    "whole": (
        Part("v1", Kind.VALKEY, "A"),
        Part("v2", Kind.VALKEY, "B"),
        Part("v3", Kind.VALKEY, "C"),
        Part("v4", Kind.VALKEY, "A", is_replica=True),
        Part("v5", Kind.VALKEY, "B", is_replica=True),
        Part("r1", Kind.REDIS, "D"),
        Part("r2", Kind.REDIS, "D", is_replica=True),
        Part("c1", Kind.CLUSTERBUS, "E"),
        Part("c2", Kind.CLUSTERBUS, "E", is_replica=True, io_threads=3),
        Part("c3", Kind.CLUSTERBUS, is_steady=True, io_threads=3),
        Part("p1", Kind.PROGRAM, is_steady=True),
        Part("p2", Kind.PROGRAM, io_threads=3),
    ),
}


def shards_of(cast: tuple[Part, ...]) -> list[str]:
    """The shards, in the order of their slots."""
    return list(dict.fromkeys(part.shard for part in cast if part.shard))


def slots_of(cast: tuple[Part, ...], shard: str) -> range:
    """The slots that a shard has from beginning to end."""
    shards = shards_of(cast)
    number = shards.index(shard)
    return range(SLOTS * number // len(shards), SLOTS * (number + 1) // len(shards))


def has_replica(cast: tuple[Part, ...], shard: str) -> bool:
    return any(part.shard == shard and part.is_replica for part in cast)
