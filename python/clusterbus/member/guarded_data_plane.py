"""The user's `DataPlane` behind a guard: its exceptions and invalid answers stay here.

Owns the translation of the state's events into its callbacks. If a question about keys fails, the asker gets a
StateError. If the replication offset cannot be had, the last good one of the same role counts; for the age of the data
it is None. Must never let an error reach the main loop. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from clusterbus.cluster.events import (
    DataDropped,
    Event,
    RoleChanged,
    SlotOrdered,
    SlotsChanged,
    WritesPaused,
    WritesResumed,
)
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.member.driver import Driver
from clusterbus.member.faults import Faults

Answer = TypeVar("Answer")


class GuardedDataPlane(DataPlane):
    """Answers questions from the start, and follows a driver's events once it is attached to one."""

    def __init__(self, data_plane: DataPlane, faults: Faults) -> None:
        self._plane = data_plane
        self._faults = faults
        self._offset: int | None = None
        self._driver: Driver | None = None

    def attach(self, driver: Driver) -> None:
        """Reports to the data plane what this node is and owns by nodes.conf, and from then on every change."""
        self._driver = driver
        driver.event_listeners.append(self._on_event)
        myself = driver.state.myself
        primary = myself.replicaof
        if myself.is_replica:
            self.role_changed("replica", primary.node_id if primary is not None else None)
        if myself.slot_bits:
            self.slots_gained(_slots_of(ranges_of(myself.slot_bits)))

    # ------------------------------------------------------------ questions

    def replication_offset(self) -> int | None:
        try:
            offset = self._plane.replication_offset()
            self._offset = None if offset is None else _count(offset)
        except BaseException as error:
            self._note("replication_offset", error)
        return self._offset

    def data_age_ms(self) -> int | None:
        try:
            age_ms = self._plane.data_age_ms()
            return None if age_ms is None else _count(age_ms)
        except BaseException as error:
            self._note("data_age_ms", error)
            return None

    def has_key(self, key: bytes) -> bool:
        return self._ask("has_key", lambda: bool(self._plane.has_key(key)))

    def key_version(self, key: bytes) -> int | None:
        return self._ask("key_version", lambda: _integer_or_none(self._plane.key_version(key)))

    def key_len_bytes(self, key: bytes) -> int | None:
        return self._ask("key_len_bytes", lambda: _integer_or_none(self._plane.key_len_bytes(key)))

    def count_keys(self) -> int:
        return self._ask("count_keys", lambda: _count(self._plane.count_keys()))

    def count_keys_in_slot(self, slot: int) -> int:
        return self._ask("count_keys_in_slot", lambda: _count(self._plane.count_keys_in_slot(slot)))

    def keys_in_slot(self, slot: int, count: int) -> Sequence[bytes]:
        return self._ask("keys_in_slot", lambda: [bytes(key) for key in self._plane.keys_in_slot(slot, count)][:count])

    def flush_slot(self, slot: int) -> bool:
        return self._ask("flush_slot", lambda: bool(self._plane.flush_slot(slot)))

    def populate(self, items: Iterable[tuple[bytes, bytes]]) -> bool:
        return self._ask("populate", lambda: bool(self._plane.populate(items)))

    def _ask(self, name: str, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except BaseException as error:
            self._note(name, error)
            raise StateError(f"the data plane failed in {name}, see the log") from error

    # ------------------------------------------------------------ facts

    def slots_gained(self, slots: Sequence[int]) -> None:
        self._report("slots_gained", lambda: self._plane.slots_gained(slots))

    def slots_lost(self, slots: Sequence[int]) -> None:
        self._report("slots_lost", lambda: self._plane.slots_lost(slots))

    def role_changed(self, role: str, primary_id: str | None) -> None:
        if primary_id is not None:
            self._offset = None  # that was of another history, and must not have us elected in the new shard (P1)
        self._report("role_changed", lambda: self._plane.role_changed(role, primary_id))

    def slot_ordered(self, slot: int, order: str, node_id: str | None) -> None:
        self._report("slot_ordered", lambda: self._plane.slot_ordered(slot, order, node_id))

    def data_dropped(self) -> None:
        self._offset = None
        self._report("data_dropped", lambda: self._plane.data_dropped())

    def writes_paused(self, until_ms: int) -> None:
        self._report("writes_paused", lambda: self._plane.writes_paused(until_ms))

    def writes_resumed(self) -> None:
        self._report("writes_resumed", lambda: self._plane.writes_resumed())

    def _report(self, name: str, fact: Callable[[], None]) -> None:
        try:
            fact()
        except BaseException as error:
            self._note(name, error)

    def _on_event(self, event: Event) -> None:
        assert self._driver is not None
        match event:
            case SlotsChanged(node_id, gained, lost) if node_id == self._driver.state.myself.node_id:
                if lost:
                    self.slots_lost(_slots_of(lost))
                if gained:
                    self.slots_gained(_slots_of(gained))
            case RoleChanged(node_id, role, primary_id) if node_id == self._driver.state.myself.node_id:
                self.role_changed(role, primary_id)
            case SlotOrdered(slot, order, other_id):
                self.slot_ordered(slot, order, other_id)
            case DataDropped():
                self.data_dropped()
            case WritesPaused(until_ms):
                self.writes_paused(until_ms)
            case WritesResumed():
                self.writes_resumed()
            case _:
                pass

    def _note(self, name: str, error: BaseException) -> None:
        self._faults.survive(error, "data_plane_errors", "data plane", f"{name} failed")


def _integer_or_none(number: int | None) -> int | None:
    if number is not None and not isinstance(number, int):
        raise TypeError(f"{number!r} is not an integer")
    return number


def _count(number: int) -> int:
    if not isinstance(number, int) or not 0 <= number < 2**64:  # an offset stands in 64 bits of each heartbeat
        raise TypeError(f"{number!r} is not a number of things")
    return number


def _slots_of(ranges: Sequence[tuple[int, int]]) -> list[int]:
    return [slot for first, last in ranges for slot in range(first, last + 1)]
