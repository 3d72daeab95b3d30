"""`Evidence`: a survey turned round: of each node, what is said about it and by whom. `views`: who says the same.

Owns no judgement. Its size is that of the survey. Must stay quick at 2,000 nodes, that is four million lines: it counts
on lines that are the same being the same row. Any thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from clusterbus.cluster.model.records import ranges_text
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.survey.asking import Answer, Survey
from clusterbus.survey.node_rows import NodeRow

ID_SHOWN_CHARS: Final = 8
RANGES_SHOWN_MAX: Final = 8
DIFFERENCES_SHOWN_MAX: Final = 6


@dataclass(frozen=True, eq=False)
class Telling:
    """One row, and the answers that have it."""

    row: NodeRow
    answers: list[Answer]


@dataclass(frozen=True, eq=False)
class ViewGroup:
    """Nodes whose tables say the same about slots, roles and epochs. `differences` says how it differs from the first
    group, the largest: one line for each node that it sees otherwise, at most DIFFERENCES_SHOWN_MAX.
    """

    answers: list[Answer]
    differences: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(answer.address for answer in self.answers)


class Evidence:
    """What the checks look at."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.members = survey.members
        self.addresses_of = survey.addresses_of

    @cached_property
    def tellings(self) -> dict[str, list[Telling]]:
        """By node id, each different row about it. Nodes in handshake are not among them."""
        said: dict[NodeRow, list[Answer]] = {}
        for answer in self.members.values():
            for row in answer.nodes:
                if row in said:
                    said[row].append(answer)
                else:
                    said[row] = [answer]
        found: dict[str, list[Telling]] = {}
        for row, answers in said.items():
            if not row.is_in_handshake:
                found.setdefault(row.node_id, []).append(Telling(row, answers))
        return found

    def by_others(self, node_id: str, wanted: Callable[[NodeRow], bool]) -> list[tuple[NodeRow, Answer]]:
        """What nodes say of one that is not themselves, as far as the row is a wanted one."""
        return [
            (telling.row, answer)
            for telling in self.tellings.get(node_id, ())
            if wanted(telling.row)
            for answer in telling.answers
            if answer.node_id != node_id
        ]

    def name(self, node_id: str) -> str:
        """Where a node answers, or is said to be, and the beginning of its id."""
        short = node_id[:ID_SHOWN_CHARS]
        if node_id in self.addresses_of:
            return f"{self.addresses_of[node_id][0]} ({short})"
        places = Counter(telling.row.address for telling in self.tellings.get(node_id, ()) if telling.row.has_address)
        return f"{places.most_common(1)[0][0]} ({short})" if places else f"({short})"

    @cached_property
    def views(self) -> list[ViewGroup]:
        """The largest group first."""
        groups: dict[frozenset[object], list[Answer]] = {}
        for answer in self.members.values():
            view = frozenset(row.claim for row in answer.nodes if not row.is_in_handshake)
            groups.setdefault(view, []).append(answer)
        ordered = sorted(groups.values(), key=lambda answers: -len(answers))
        return [ViewGroup(answers, self._differences(answers[0], ordered[0][0])) for answers in ordered]

    def _differences(self, answer: Answer, usual: Answer) -> tuple[str, ...]:
        lines = []
        for node_id in sorted({*answer.rows, *usual.rows}):
            ours, theirs = answer.rows.get(node_id), usual.rows.get(node_id)
            if (ours and ours.claim) != (theirs and theirs.claim):
                lines.append(f"{self.name(node_id)}: {self._claimed(ours)} (for most: {self._claimed(theirs)})")
        rest = len(lines) - DIFFERENCES_SHOWN_MAX
        return (*lines[:DIFFERENCES_SHOWN_MAX], *([f"and {rest} more"] if rest > 0 else []))

    def _claimed(self, row: NodeRow | None) -> str:
        if row is None:
            return "not known"
        role = "primary" if row.is_primary else f"replica of {self.name(row.primary_id or '?')}"
        slots = f", {slots_text(row.slot_bits)}" if row.slot_bits else ""
        return f"{role}, epoch {row.config_epoch}{slots}"

    @cached_property
    def pieces(self) -> list[list[Answer]]:
        """The members that hear each other, directly or through others, the largest piece first. Two nodes do if one of
        them has a link to the other and neither FAIL nor PFAIL on it.
        """
        roots = {node_id: node_id for node_id in self.members}

        def root(node_id: str) -> str:
            while roots[node_id] != node_id:
                roots[node_id] = node_id = roots[roots[node_id]]
            return node_id

        apart = len(roots) - 1
        for telling in (telling for tellings in self.tellings.values() for telling in tellings):
            row = telling.row
            if not apart:
                break
            if row.node_id not in roots or not row.is_connected or row.is_failed or row.is_suspected:
                continue
            for answer in telling.answers:
                one, other = root(answer.node_id), root(row.node_id)
                if one != other:
                    roots[one] = other
                    apart -= 1
        found: dict[str, list[Answer]] = {}
        for node_id, answer in self.members.items():
            found.setdefault(root(node_id), []).append(answer)
        return sorted(found.values(), key=lambda answers: -len(answers))


def slots_text(bits: int) -> str:
    """`slot 5`, or `slots 0-5460, 7000`, or the first RANGES_SHOWN_MAX ranges of more."""
    ranges = ranges_of(bits)
    shown = ", ".join(ranges_text(ranges[:RANGES_SHOWN_MAX]).split())
    word = "slot" if bits.bit_count() == 1 else "slots"
    rest = len(ranges) - RANGES_SHOWN_MAX
    return f"{word} {shown}" + (f" and {rest} more ranges" if rest > 0 else "")


def addresses(answers: Iterable[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(answer.address for answer in answers))
