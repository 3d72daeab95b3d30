"""How long a change takes from the first node that shows it until all do: slots, roles, FAIL, new nodes and gone ones.

Owns what counts as the same change in two views. Pure: it is fed with answers and their times, and knows no clock. What
is open is bounded by OPEN_MAX. The times are as fine as the answers are frequent, and each result says how fine. Any
thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Final

from clusterbus.survey.asking import Answer
from clusterbus.survey.evidence import ID_SHOWN_CHARS, slots_text
from clusterbus.survey.node_rows import NodeRow

OPEN_MAX: Final = 1_000
"""More changes than these are not followed at a time; the oldest are given up and reported as they stand."""


class Aspect(Enum):
    """What of a node changed; the value is the code in `--json`."""

    NEW = "new-node"
    GONE = "gone-node"
    ROLE = "role"
    SLOTS = "slots"
    FAIL = "fail"
    WELL = "well"


CAUGHT_UP: Final = (Aspect.NEW, Aspect.ROLE, Aspect.SLOTS, Aspect.FAIL)
"""Who shows one of these after others did long ago has just joined or come back: that is no change of the cluster."""


@dataclass(frozen=True)
class Change:
    """`primary_id` is of a ROLE: None for a primary. `slot_bits` are of SLOTS: those that the node has now; a node id
    of "" means that nobody has them.
    """

    aspect: Aspect
    node_id: str
    primary_id: str | None = None
    slot_bits: int = 0

    def is_shown_by(self, answer: Answer) -> bool:
        row = answer.rows.get(self.node_id)
        if self.aspect is Aspect.SLOTS and not self.node_id:
            return not any(row.slot_bits & self.slot_bits for row in answer.nodes)
        if self.aspect is Aspect.GONE or row is None:
            return self.aspect is Aspect.GONE and row is None
        return self._is_shown_in(row)

    def _is_shown_in(self, row: NodeRow) -> bool:
        if self.aspect is Aspect.ROLE:
            return row.is_primary if self.primary_id is None else row.primary_id == self.primary_id
        if self.aspect is Aspect.SLOTS:
            return row.slot_bits & self.slot_bits == self.slot_bits
        return self.aspect is Aspect.NEW or row.is_failed == (self.aspect is Aspect.FAIL)

    def concerns(self, answer: Answer) -> bool:
        """Whether that view can show it: nobody holds itself failed, new or gone, nor anything of whom it forgot."""
        if self.aspect is Aspect.SLOTS:
            return True
        if self.aspect is not Aspect.ROLE and answer.node_id == self.node_id:
            return False
        return self.aspect in (Aspect.NEW, Aspect.GONE) or self.node_id in answer.rows

    def undoes(self, other: Change) -> bool:
        """Whether nobody who shows this one still shows the other."""
        if self.aspect is Aspect.SLOTS and other.aspect is Aspect.SLOTS:
            return self.node_id != other.node_id and bool(self.slot_bits & other.slot_bits)
        if self.node_id != other.node_id or self == other:
            return False
        pairs = ({Aspect.NEW, Aspect.GONE}, {Aspect.FAIL, Aspect.WELL}, {Aspect.ROLE})
        return {self.aspect, other.aspect} in pairs or self.aspect is Aspect.GONE

    def text(self, addresses: dict[str, str]) -> str:
        """One line. `addresses` are those of the nodes by id."""

        def name(node_id: str) -> str:
            short = node_id[:ID_SHOWN_CHARS]
            return f"{addresses[node_id]} ({short})" if node_id in addresses else f"({short})"

        if self.aspect is Aspect.SLOTS:
            return f"{slots_text(self.slot_bits)}: {name(self.node_id) if self.node_id else 'no owner'}"
        words = {
            Aspect.NEW: "is new",
            Aspect.GONE: "is gone",
            Aspect.FAIL: "is FAIL",
            Aspect.WELL: "is FAIL no more",
            Aspect.ROLE: f"is a replica of {name(self.primary_id)}" if self.primary_id else "is a primary",
        }
        return f"{name(self.node_id)} {words[self.aspect]}"


@dataclass
class Spread:
    """How far a change came. Times are those of the answers' clock, in seconds.

    `shown_at_s` has the nodes that show it or did, the first one first. `resolution_s` is the longest time between two
    answers of one of these nodes: so much later than it says may a node have been asked.
    """

    change: Change
    shown_at_s: dict[str, float] = field(default_factory=dict)
    resolution_s: float = 0.0
    is_whole: bool = False
    """Whether all nodes that answer show it. If not, it was undone before, or the watch ended."""
    of: int = 0
    """The number of nodes that could show it."""

    @property
    def first(self) -> str:
        return next(iter(self.shown_at_s))

    @property
    def last(self) -> str:
        return list(self.shown_at_s)[-1]

    @property
    def delays_ms(self) -> list[float]:
        """Of every node but the first, how much later than that it showed the change; ascending."""
        first_s, *others_s = self.shown_at_s.values()
        return [(at_s - first_s) * 1000 for at_s in others_s]

    @property
    def min_median_max_ms(self) -> tuple[float, float, float] | None:
        """None if no node but the first shows it."""
        delays_ms = self.delays_ms
        return (delays_ms[0], median(delays_ms), delays_ms[-1]) if delays_ms else None


class SpreadWatch:
    """Follows changes through the views. `addresses` are those of all nodes that were ever seen, by id."""

    def __init__(self) -> None:
        self.views: dict[str, Answer] = {}
        self.addresses: dict[str, str] = {}
        self._open: dict[Change, Spread] = {}

    @property
    def open(self) -> list[Spread]:
        return list(self._open.values())

    def feed(self, answer: Answer) -> list[Spread]:
        """The next answer of a node; answers come in the order of their times. Returns what ended with it."""
        before = self.views.get(answer.node_id)
        self.views[answer.node_id] = answer
        for row in answer.nodes:
            if row.has_address:
                self.addresses[row.node_id] = row.address
        self.addresses[answer.node_id] = answer.address
        ended: list[Spread] = []
        if before is not None:
            for change in changes(before, answer):
                ended += self._begin(change, answer)
        gap_s = answer.at_s - before.at_s if before is not None else 0.0
        for spread in self._open.values():
            change = spread.change
            if answer.node_id not in spread.shown_at_s and change.concerns(answer):
                if change.is_shown_by(answer):
                    spread.shown_at_s[answer.node_id] = answer.at_s
                spread.resolution_s = max(spread.resolution_s, gap_s)
        return ended + self._whole()

    def lose(self, node_id: str) -> list[Spread]:
        """A node answers no more: nothing waits for it. Returns what ended with that."""
        self.views.pop(node_id, None)
        return self._whole()

    def _begin(self, change: Change, seen_by: Answer) -> Iterator[Spread]:
        if change in self._open:
            return
        others = (answer for answer in self.views.values() if answer is not seen_by and change.concerns(answer))
        if change.aspect in CAUGHT_UP and any(change.is_shown_by(answer) for answer in others):
            return
        for older in [older for older in self._open if change.undoes(older)]:
            yield self._end(older, is_whole=False)
        while len(self._open) >= OPEN_MAX:
            yield self._end(next(iter(self._open)), is_whole=False)
        self._open[change] = Spread(change)

    def _whole(self) -> list[Spread]:
        return [
            self._end(change, is_whole=True)
            for change, spread in list(self._open.items())
            if all(node_id in spread.shown_at_s for node_id, answer in self.views.items() if change.concerns(answer))
        ]

    def _end(self, change: Change, *, is_whole: bool) -> Spread:
        spread = self._open.pop(change)
        spread.is_whole = is_whole
        able = (node_id for node_id, answer in self.views.items() if change.concerns(answer))
        spread.of = len({*spread.shown_at_s, *able})
        return spread

    def close(self) -> list[Spread]:
        """What had not come to an end."""
        return [self._end(change, is_whole=False) for change in list(self._open)]


def changes(before: Answer, after: Answer) -> Iterator[Change]:
    """What of a view is another thing than before."""
    lost = 0
    gained = 0
    for node_id in before.rows.keys() - after.rows.keys():
        lost |= before.rows[node_id].slot_bits
        yield Change(Aspect.GONE, node_id)
    for node_id, row in after.rows.items():
        old = before.rows.get(node_id)
        if old is row:
            continue
        had = old.slot_bits if old is not None else 0
        gained |= row.slot_bits & ~had
        lost |= had & ~row.slot_bits
        if old is None:
            yield Change(Aspect.NEW, node_id)
        if row.slot_bits & ~had:
            yield Change(Aspect.SLOTS, node_id, slot_bits=row.slot_bits & ~had)
        if old is not None and (old.is_primary, old.primary_id) != (row.is_primary, row.primary_id):
            yield Change(Aspect.ROLE, node_id, primary_id=None if row.is_primary else row.primary_id)
        if old is not None and old.is_failed != row.is_failed:
            yield Change(Aspect.FAIL if row.is_failed else Aspect.WELL, node_id)
    if lost & ~gained:
        yield Change(Aspect.SLOTS, "", slot_bits=lost & ~gained)
