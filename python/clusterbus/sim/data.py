"""Simulated data: which hosts hold keys, how far their replication is, and what must never be lost by a role change.

Owns no key: of the data of a host it keeps that there is some, its history and its offset. Replicas copy both from
their primaries over the simulated network, with a lag. Reads the member through what the bus reports, as the data plane
of a user does. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from clusterbus.cluster.model.slots import bits_of
from clusterbus.cluster.state import ClusterState
from clusterbus.data_plane import DataPlane
from clusterbus.sim.timeline import US_PER_MS, NodeClock, Timeline

WRITE_PERIOD_US: Final = 500 * US_PER_MS
WRITE_MAX_BYTES: Final = 1_000
"""A primary that serves gets this many bytes in each period, at most."""
FIRST_WRITE_BYTES: Final = 14
"""Who has keys has at least this offset."""
LAG_MAX_US: Final = 300 * US_PER_MS
"""A replica is behind its primary by a random time up to this."""
FULL_SYNC_MAX_US: Final = 3_000 * US_PER_MS
"""A replica with another history copies all data first, which takes a random time up to this."""
DELETED_AFTER_US: Final = 1_000 * US_PER_MS


class DataHost(Protocol):
    """What simulated data reads of the host it is on."""

    @property
    def is_up(self) -> bool: ...
    @property
    def is_hung(self) -> bool: ...
    @property
    def index(self) -> int: ...
    @property
    def node_id(self) -> str: ...
    @property
    def state(self) -> ClusterState: ...
    @property
    def clock(self) -> NodeClock: ...
    @property
    def data(self) -> SimData | None: ...


class Shelf:
    """What all simulated data of one cluster shares.

    `written`: the slots that a node with data has served, as a bitmap. Only nodes with data may own them from then on,
    whatever fails, except those of `void`: an operator has moved or claimed these and takes the blame.
    `are_joined(one, other)`: whether bytes can pass between two hosts, both ways.
    """

    def __init__(
        self, timeline: Timeline, hosts: Sequence[DataHost], random: Random, are_joined: Callable[[int, int], bool]
    ) -> None:
        self.timeline = timeline
        self.hosts = hosts
        self.random = random
        self.are_joined = are_joined
        self.written = 0
        self.void = 0
        self._histories = 0

    def new_history(self) -> int:
        """The name of a history that no other data has."""
        self._histories += 1
        return self._histories

    def has_keys(self, node_id: str) -> bool:
        """Whether the member with that id has keys."""
        host = self.host_of(node_id)
        return host is not None and host.data is not None and host.data.is_filled

    def host_of(self, node_id: str) -> DataHost | None:
        """The host of the member with that id."""
        return next((host for host in self.hosts if host.node_id == node_id), None)


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is under way from a primary to its replica."""

    arrives_us: int
    history: int
    offset: int


class SimData(DataPlane):
    """The data of one host. It is on disk: it outlives the processes.

    `is_filled`: there are keys. `was_filled`: there were some when the role last changed. `history` is None while a
    replica waits for its first copy; then there is no offset either, and the replica is as good as empty. `owned` and
    `primary_id` are what the bus has reported.
    """

    def __init__(self, host: DataHost, shelf: Shelf) -> None:
        self.owned = 0
        self.primary_id: str | None = None
        self.is_filled = False
        self.was_filled = False
        self.history: int | None = shelf.new_history()
        self.offset = 0
        self._host = host
        self._shelf = shelf
        self._write_len_bytes = shelf.random.choice((0, shelf.random.randint(1, WRITE_MAX_BYTES)))
        self._next_write_us = 0
        self._served_us = 0
        self._paused_until_ms = 0
        self._coming: _Copy | None = None
        self._equal_us: int | None = None

    # ------------------------------------------------------------ what happens to it

    def booted(self) -> None:
        """A process has loaded the data. It may not know how far that goes: then a primary begins a new history with
        all its keys, and a replica must copy again.
        """
        self.owned = 0
        self.primary_id = None
        self._paused_until_ms = 0
        self._coming = None
        self._equal_us = None
        if self._shelf.random.random() < 0.3:
            self.history = self._shelf.new_history()
            self.offset = FIRST_WRITE_BYTES if self.is_filled else 0

    def lose(self) -> None:
        """The disk is lost."""
        self.is_filled = False
        self.history = self._shelf.new_history()
        self.offset = 0

    def _serve(self) -> None:
        """A primary takes writes, and deletes its keys some time after it has lost its last slot."""
        state = self._host.state
        slots = state.myself.slot_bits
        now_us = self._shelf.timeline.now_us
        if not slots:
            self.is_filled = self.is_filled and now_us < self._served_us + DELETED_AFTER_US
            return
        self._served_us = now_us
        if not state.is_ok:
            return
        self.is_filled = True
        self.offset = max(self.offset, FIRST_WRITE_BYTES)
        self._shelf.written |= slots & ~self._shelf.void
        if now_us >= self._next_write_us and self._host.clock.now_ms() >= self._paused_until_ms:
            self._next_write_us = now_us + WRITE_PERIOD_US
            self.offset += self._write_len_bytes

    def _copy(self, primary_id: str) -> None:
        """A replica takes what has arrived from its primary, and asks for more."""
        source = self._source(primary_id)
        if source is None or source.history is None:
            self._coming = None
            return
        now_us = self._shelf.timeline.now_us
        coming = self._coming
        if coming is not None and now_us >= coming.arrives_us:
            self.history, self.offset = coming.history, coming.offset
            self.is_filled = source.is_filled
            self._coming = None
        if self.history == source.history:
            self._equal_us = now_us
        if self._coming is None:
            longest_us = LAG_MAX_US if self.history == source.history else FULL_SYNC_MAX_US
            arrives_us = now_us + int(self._shelf.random.random() * longest_us)
            self._coming = _Copy(arrives_us, source.history, source.offset)

    def _source(self, primary_id: str) -> SimData | None:
        """The data of our primary, if we are connected with it."""
        host = self._shelf.host_of(primary_id)
        if host is None or not host.is_up or host.is_hung or not self._shelf.are_joined(self._host.index, host.index):
            return None
        return host.data

    # ------------------------------------------------------------ questions of the bus

    def replication_offset(self) -> int | None:
        if self._host.is_up:
            if self.primary_id is None:
                self._serve()
            else:
                self._copy(self.primary_id)
        return self.offset if self.history is not None else None

    def data_age_ms(self) -> int | None:
        if self._equal_us is None or not self._host.is_up:
            return None
        return self._host.clock.ms_since(self._equal_us)

    def count_keys(self) -> int:
        return int(self.is_filled)

    # ------------------------------------------------------------ facts from the bus

    def slots_gained(self, slots: Sequence[int]) -> None:
        self.owned |= bits_of(slots)

    def slots_lost(self, slots: Sequence[int]) -> None:
        self.owned &= ~bits_of(slots)

    def role_changed(self, role: str, primary_id: str | None) -> None:
        self.primary_id = primary_id
        self.was_filled = self.is_filled
        self._coming = None
        if role == "primary":
            if self.history is None:
                self.history = self._shelf.new_history()
                self.offset = 0
        elif self._host.is_up:  # at its start the process does not know yet what its primary has
            primary = self._shelf.host_of(primary_id) if primary_id is not None else None
            source = primary.data if primary is not None else None
            if not self.is_filled or source is None or source.history != self.history:
                self.history = None
                self.is_filled = False

    def writes_paused(self, until_ms: int) -> None:
        self._paused_until_ms = until_ms

    def writes_resumed(self) -> None:
        self._paused_until_ms = 0
