"""The feed: one line for each thing that happened between two pictures, or that a node's own log tells.

Owns the words for what changed, and the bounded list of them. Must never hold more than EVENTS_MAX lines, or say the
same thing of hundreds of nodes in as many. Pure but for that list; times are arguments. One thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clusterbus.cli.top.picture import UNOWNED, Health, Picture, Row

EVENTS_MAX: Final = 1_000
SAME_KIND_MAX: Final = 6
"""More lines of one kind out of one refresh become one line."""
NAMED_MAX: Final = 3


class Level(Enum):
    """How much an event matters; the colour of its line."""

    NEWS = "news"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Event:
    """`at_ms` is unix time. `node_id` is whom it is about, "" for the cluster; `source` who told it, "" if seen from
    here."""

    at_ms: int
    level: Level
    text: str
    node_id: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Change:
    kind: str
    level: Level
    row: Row
    text: str


class Feed:
    """The newest EVENTS_MAX events."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._last: Picture | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """The oldest first."""
        return tuple(self._events)

    def take(self, picture: Picture, at_ms: int) -> None:
        """Adds what is different from the picture before. The first one is what there was."""
        if self._last is None:
            text = f"watching {len(picture.rows)} nodes in {picture.shards} shards, state {picture.state}"
            self._events.append(Event(at_ms, Level.NEWS, text))
            for row in picture.rows:
                if row.error:
                    self.add([Event(at_ms, Level.BAD, f"{row.label} does not answer: {row.error}", row.node_id)])
        else:
            self.add(differences(self._last, picture, at_ms))
        self._last = picture

    def add(self, events: Iterable[Event]) -> None:
        self._events.extend(events)


def differences(old: Picture, new: Picture, at_ms: int) -> list[Event]:
    """What happened between two pictures, the gravest kinds of news in the order of `_changes`."""
    grouped: dict[str, list[_Change]] = {}
    for change in _changes(old, new):
        grouped.setdefault(change.kind, []).append(change)
    events: list[Event] = []
    for kind, changes in grouped.items():
        if len(changes) <= SAME_KIND_MAX:
            events += [Event(at_ms, one.level, one.text, one.row.node_id) for one in changes]
        else:
            named = ", ".join(one.row.address for one in changes[:NAMED_MAX])
            events.append(Event(at_ms, changes[0].level, f"{len(changes)} nodes {kind}: {named} and others"))
    if old.state != new.state:
        level = Level.GOOD if new.state == "ok" else Level.BAD
        events.append(Event(at_ms, level, f"cluster state: {old.state} -> {new.state}"))
    if old.slots_owned != new.slots_owned:
        level = Level.GOOD if new.slots_owned > old.slots_owned else Level.BAD
        events.append(Event(at_ms, level, f"slots with an owner: {old.slots_owned} -> {new.slots_owned}"))
    return events


def _changes(old: Picture, new: Picture) -> Iterator[_Change]:
    before = {row.node_id: row for row in old.rows}
    after = {row.node_id: row for row in new.rows}
    at_address = {row.address: row for row in old.rows}
    takers = _takers(old, new)
    for row in new.rows:
        was = before.get(row.node_id)
        if was is None:
            yield _arrival(row, at_address.get(row.address), after)
            continue
        for judge in (_health, _answering, _role, _claims):
            if change := judge(was, row):
                yield change
        if (row.is_primary, row.primary_id) == (was.is_primary, was.primary_id) and row.slots > was.slots:
            yield _Change("took slots", Level.NEWS, row, f"{row.label}: {_gained(row, was, takers, before)}")
        elif row.is_primary and not was.is_primary:
            text = f"{row.label} is primary now, epoch {row.epoch}"
            text += f": {_gained(row, was, takers, before)}" if row.slots else ""
            yield _Change("became primaries", Level.NEWS, row, text)
        for slot, other in set(row.migrating) - set(was.migrating):
            target = after[other].address if other in after else other
            yield _Change("move slots", Level.NEWS, row, f"slot {slot} begins to move from {row.address} to {target}")
    for row in old.rows:
        if row.node_id not in after:
            yield _Change("are gone", Level.WARNING, row, f"{row.label} is gone: no node lists it any more")


def _arrival(row: Row, before_it: Row | None, after: dict[str, Row]) -> _Change:
    role = "a primary" if row.is_primary else f"a replica of {_address(after, row.primary_id)}"
    if before_it is not None and before_it.node_id != row.node_id:
        text = f"{row.address} is another node now: {row.node_id[:8]}, {role}; it was {before_it.node_id[:8]}"
        return _Change("came with other ids", Level.WARNING, row, text)
    return _Change("are new", Level.NEWS, row, f"{row.label} is new, {role}")


def _address(rows: dict[str, Row], node_id: str | None) -> str:
    row = rows.get(node_id or "")
    return row.address if row is not None else (node_id or "nobody")[:8]


def _health(was: Row, row: Row) -> _Change | None:
    if row.health == Health.FAILED and was.health != Health.FAILED:
        text = f"{row.label} is held failed by {row.failed_by} of {row.judges}"
        return _Change("are held failed", Level.BAD, row, text)
    if row.health == Health.FAILED and was.failed_by < was.judges and row.failed_by == row.judges > 1:
        return _Change("are failed to all", Level.BAD, row, f"{row.label} is held failed by all {row.judges}")
    if row.health == Health.SUSPECTED and was.health == Health.WELL:
        text = f"{row.label} is suspected by {row.suspected_by} of {row.judges}"
        return _Change("are suspected", Level.WARNING, row, text)
    if row.health == Health.WELL and was.health == Health.FAILED:
        return _Change("are well again", Level.GOOD, row, f"{row.label} is well again")
    if row.health == Health.WELL and was.health == Health.SUSPECTED:
        return _Change("are cleared", Level.GOOD, row, f"{row.label} is no longer suspected")
    return None


def _answering(was: Row, row: Row) -> _Change | None:
    if row.error and not was.error:
        return _Change("do not answer", Level.BAD, row, f"{row.label} does not answer: {row.error}")
    if was.error and not row.error and row.asked_at_s is not None:
        return _Change("answer again", Level.GOOD, row, f"{row.label} answers again")
    return None


def _role(was: Row, row: Row) -> _Change | None:
    if not row.is_primary and was.is_primary:
        text = f"{row.label} is a replica now, of {(row.primary_id or 'nobody')[:8]}"
        return _Change("became replicas", Level.NEWS, row, text)
    if not row.is_primary and row.primary_id != was.primary_id:
        text = f"{row.label} follows {(row.primary_id or 'nobody')[:8]} now, not {(was.primary_id or 'nobody')[:8]}"
        return _Change("follow other primaries", Level.NEWS, row, text)
    return None


def _claims(was: Row, row: Row) -> _Change | None:
    if row.disputed and not was.disputed:
        text = f"{row.label} claims {row.disputed} slots that a node of a higher epoch has"
        return _Change("claim slots of others", Level.BAD, row, text)
    if was.disputed and not row.disputed:
        return _Change("gave claims up", Level.GOOD, row, f"{row.label} gave up the slots of others")
    return None


def _takers(old: Picture, new: Picture) -> dict[str, dict[str, int]]:
    """Who took how many slots from whom: id of the new owner -> id of the old one ("" for none) -> count."""
    if old.owners == new.owners:
        same = [row.node_id for row in old.rows if row.is_primary] == [r.node_id for r in new.rows if r.is_primary]
        if same:
            return {}
    return _counted(_owner_ids(old), _owner_ids(new))


def _owner_ids(picture: Picture) -> Sequence[str]:
    primaries = [row.node_id for row in picture.rows if row.is_primary]
    return [primaries[shard] if shard != UNOWNED else "" for shard in picture.owners]


def _counted(old: Sequence[str], new: Sequence[str]) -> dict[str, dict[str, int]]:
    takers: dict[str, dict[str, int]] = {}
    for before, after in zip(old, new, strict=True):
        if before != after and after:
            counts = takers.setdefault(after, {})
            counts[before] = counts.get(before, 0) + 1
    return takers


def _gained(row: Row, was: Row, takers: dict[str, dict[str, int]], before: dict[str, Row]) -> str:
    counts = takers.get(row.node_id, {})
    if not counts:
        return f"{row.slots} slots"
    parts = [
        f"{count} slots from {_address(before, node_id)}" if node_id else f"{count} slots of nobody"
        for node_id, count in counts.items()
    ]
    return "takes " + ", ".join(parts[:NAMED_MAX]) + (" and others" if len(parts) > NAMED_MAX else "")
