"""The user's data plane behind its guard: questions, reports, and errors that never harm the node (S4, S11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusterbus.cluster.events import (
    DataDropped,
    Event,
    RoleChanged,
    SlotsChanged,
    StateChanged,
    WritesPaused,
    WritesResumed,
)
from clusterbus.cluster.model.slots import bits_of
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.member.driver import Driver
from clusterbus.member.faults import Faults
from clusterbus.member.guarded_data_plane import GuardedDataPlane
from clusterbus.runtime.clock import Clock
from clusterbus.runtime.log import write_line

ME = "a" * 40
OTHER = "b" * 40


class Recording(DataPlane):
    """Notes what is reported to it. Its fields are its answers."""

    def __init__(self) -> None:
        self.reports: list[tuple[object, ...]] = []
        self.offset: Any = 5
        self.age: Any = 7
        self.keys: Any = [b"a", b"b", b"c"]

    def replication_offset(self) -> int | None:
        return cast(int, self.offset)

    def data_age_ms(self) -> int | None:
        return cast(int, self.age)

    def has_key(self, key: bytes) -> bool:
        return key in self.keys

    def count_keys_in_slot(self, slot: int) -> int:
        return len(self.keys) if slot == 9 else 0

    def keys_in_slot(self, slot: int, count: int) -> Sequence[bytes]:
        return cast("Sequence[bytes]", self.keys)

    def slots_gained(self, slots: Sequence[int]) -> None:
        self.reports.append(("gained", *slots))

    def slots_lost(self, slots: Sequence[int]) -> None:
        self.reports.append(("lost", *slots))

    def role_changed(self, role: str, primary_id: str | None) -> None:
        self.reports.append(("role", role, primary_id))

    def writes_paused(self, until_ms: int) -> None:
        self.reports.append(("paused", until_ms))

    def writes_resumed(self) -> None:
        self.reports.append(("resumed",))

    def data_dropped(self) -> None:
        self.reports.append(("dropped",))


class Broken(DataPlane):
    """Raises on every question and report."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise RuntimeError(f"broken {name}")


class Rig:
    """A guard, attached to those parts of a driver that it needs."""

    def __init__(self, plane: DataPlane, *, slots: Sequence[int] = (), primary_id: str | None = None) -> None:
        self.listeners: list[Callable[[Event], None]] = []
        primary = SimpleNamespace(node_id=primary_id) if primary_id is not None else None
        myself = SimpleNamespace(
            node_id=ME, slot_bits=bits_of(slots), replicaof=primary, is_replica=primary is not None
        )
        self.driver = SimpleNamespace(event_listeners=self.listeners, state=SimpleNamespace(myself=myself))
        self.counters: Counter[str] = Counter()
        self.guard = GuardedDataPlane(plane, Faults(Clock(), write_line, self.counters))
        self.guard.attach(cast(Driver, self.driver))

    def event(self, event: Event) -> None:
        (listener,) = self.listeners
        listener(event)


EVENTS: list[tuple[Event, list[tuple[object, ...]]]] = [
    (SlotsChanged(ME, ((1, 3), (7, 7)), ()), [("gained", 1, 2, 3, 7)]),
    (SlotsChanged(ME, (), ((5, 6),)), [("lost", 5, 6)]),
    (SlotsChanged(OTHER, ((1, 3),), ((5, 6),)), []),
    (RoleChanged(ME, "replica", OTHER), [("role", "replica", OTHER)]),
    (RoleChanged(OTHER, "replica", ME), []),
    (WritesPaused(99), [("paused", 99)]),
    (WritesResumed(), [("resumed",)]),
    (DataDropped(), [("dropped",)]),
    (StateChanged("ok"), []),
]


@pytest.mark.parametrize(("event", "reports"), EVENTS, ids=repr)
def test_changes_of_this_node_are_reported_s4(event: Event, reports: list[tuple[object, ...]]) -> None:
    plane = Recording()
    rig = Rig(plane)
    rig.event(event)
    assert plane.reports == reports


def test_role_and_slots_are_reported_after_a_restart() -> None:
    primary, replica = Recording(), Recording()
    Rig(primary, slots=[4, 5])
    Rig(replica, primary_id=OTHER)
    assert primary.reports == [("gained", 4, 5)]
    assert replica.reports == [("role", "replica", OTHER)]


def test_questions_are_passed_on_and_counts_are_kept() -> None:
    rig = Rig(Recording())
    guard = rig.guard
    assert (guard.replication_offset(), guard.data_age_ms()) == (5, 7)
    assert (guard.has_key(b"a"), guard.has_key(b"x")) == (True, False)
    assert (guard.count_keys(), guard.count_keys_in_slot(9)) == (3, 3)
    assert guard.keys_in_slot(9, 2) == [b"a", b"b"], "no more than asked for"
    assert rig.counters["data_plane_errors"] == 0


def test_an_empty_data_plane_has_nothing() -> None:
    guard = Rig(DataPlane()).guard
    assert (guard.replication_offset(), guard.data_age_ms(), guard.count_keys()) == (None, None, 0)
    assert not guard.has_key(b"a")
    assert guard.keys_in_slot(1, 5) == []


@pytest.mark.parametrize("event", [event for event, reports in EVENTS if reports], ids=repr)
def test_a_broken_data_plane_does_no_harm_and_is_counted(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(Broken())
    rig.event(event)
    assert rig.counters["data_plane_errors"] == 1
    assert "data plane" in caplog.text


QUESTIONS: dict[str, Callable[[GuardedDataPlane], object]] = {
    "has_key": lambda guard: guard.has_key(b"a"),
    "count_keys": lambda guard: guard.count_keys(),
    "count_keys_in_slot": lambda guard: guard.count_keys_in_slot(9),
    "keys_in_slot": lambda guard: guard.keys_in_slot(9, 1),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_about_keys_to_a_broken_data_plane_is_an_error(name: str) -> None:
    rig = Rig(Broken())
    with pytest.raises(StateError, match=f"the data plane failed in {name}, see the log"):
        QUESTIONS[name](rig.guard)
    assert rig.counters["data_plane_errors"] == 1


@pytest.mark.parametrize("answer", [-1, "5", 1.5, 2**64])
def test_an_invalid_replication_offset_leaves_the_last_valid_one(answer: object) -> None:
    plane = Recording()
    rig = Rig(plane)
    assert rig.guard.replication_offset() == 5
    plane.offset = plane.age = answer
    assert rig.guard.replication_offset() == 5
    assert rig.guard.data_age_ms() is None
    assert rig.counters["data_plane_errors"] == 2


def test_keys_that_are_no_bytes_are_an_error() -> None:
    plane = Recording()
    plane.keys = ["text"]
    with pytest.raises(StateError):
        Rig(plane).guard.keys_in_slot(9, 1)


@pytest.mark.parametrize(
    ("event", "left"),
    [(RoleChanged(ME, "replica", OTHER), None), (DataDropped(), None), (RoleChanged(ME, "primary", None), 5)],
    ids=["replica", "dropped", "promoted"],
)
def test_an_offset_of_another_history_is_no_last_valid_one_p1(event: Event, left: int | None) -> None:
    """It would have an empty replica elected that cannot tell how empty it is."""
    plane = Recording()
    rig = Rig(plane)
    assert rig.guard.replication_offset() == 5
    rig.event(event)
    plane.offset = "unknown"
    assert rig.guard.replication_offset() == left
