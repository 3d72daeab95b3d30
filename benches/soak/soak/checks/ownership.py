"""CLUSTER NODES of every node, compared: no slot of two owners for longer than a takeover takes, and agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DOUBLE_OWNER_MAX_S: Final = 15.0
"""An owner that comes back hears within this time that another one has taken its slots over."""


@dataclass(frozen=True)
class Line:
    """One line of CLUSTER NODES."""

    node_id: str
    ip_port: str
    flags: frozenset[str]
    primary_id: str
    config_epoch: int
    is_connected: bool
    slots: frozenset[int]

    @property
    def is_myself(self) -> bool:
        return "myself" in self.flags

    @property
    def is_well(self) -> bool:
        return self.is_connected and not self.flags & {"fail", "fail?", "handshake", "noaddr"}

    @property
    def said(self) -> tuple[object, ...]:
        """What all nodes must say alike."""
        return (self.node_id, self.ip_port, self.flags - {"myself"}, self.primary_id, self.config_epoch, self.slots)


Table = dict[str, Line]


def parse(text: str) -> Table:
    """CLUSTER NODES by node id. Raises ValueError if the text is not well-formed."""
    table: Table = {}
    for line in text.splitlines():
        node_id, address, flags, primary_id, _sent, _received, epoch, link, *words = line.split()
        if node_id in table:
            raise ValueError(f"{node_id} is listed twice")
        slots: set[int] = set()
        for word in words:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                slots.update(range(int(first), int(last or first) + 1))
        table[node_id] = Line(
            node_id,
            address.split(",")[0],
            frozenset(flags.split(",")),
            primary_id,
            int(epoch),
            link == "connected",
            frozenset(slots),
        )
    return table


def listed_twice(table: Table) -> set[int]:
    """Slots that one node lists for two owners."""
    seen: set[int] = set()
    twice: set[int] = set()
    for line in table.values():
        twice |= seen & line.slots
        seen |= line.slots
    return twice


def claimed_twice(tables: Mapping[str, Table]) -> dict[tuple[str, str], int]:
    """Pairs of nodes that each say of themselves to own a slot, and how many slots it is."""
    claims = [(name, line.slots) for name, table in sorted(tables.items()) for line in table.values() if line.is_myself]
    return {
        (one, other): len(slots & others)
        for number, (one, slots) in enumerate(claims)
        for other, others in claims[number + 1 :]
        if slots & others
    }


class DoubleOwners:
    """Follows claims over time: who claims the same slot for longer than a takeover takes is a finding."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._found: set[tuple[str, str]] = set()
        self.findings: list[str] = []
        self.longest_s = 0.0

    def see(self, tables: Mapping[str, Table], at_s: float) -> None:
        now = claimed_twice(tables)
        self._since = {pair: self._since.get(pair, at_s) for pair in now}
        for pair, since_s in self._since.items():
            self.longest_s = max(self.longest_s, at_s - since_s)
            if at_s - since_s > DOUBLE_OWNER_MAX_S and pair not in self._found:
                self._found.add(pair)
                self.findings.append(f"{now[pair]} slots are claimed by {pair[0]} and {pair[1]} since {since_s:.1f} s")
        for name, table in tables.items():
            if twice := listed_twice(table):
                self.findings.append(f"{name} lists {len(twice)} slots twice at {at_s:.1f} s")


def disagreement(tables: Mapping[str, Table], expected: int) -> str:
    """What keeps the nodes from being of one mind; empty if they are. `expected` is the number of nodes."""
    first: Table | None = None
    for name, table in tables.items():
        unwell = [line.node_id[:8] for line in table.values() if not line.is_well]
        if len(table) != expected:
            return f"{name} knows {len(table)} nodes instead of {expected}"
        if unwell:
            return f"{name} holds {', '.join(unwell)} to be away"
        if twice := listed_twice(table):
            return f"{name} lists {len(twice)} slots twice"
        first = first or table
        for node_id, line in table.items():
            if node_id not in first or first[node_id].said != line.said:
                return f"{name} says something else of {node_id[:8]} than {next(iter(tables))}"
    if twice_claimed := claimed_twice(tables):
        return f"slots are claimed by both of {next(iter(twice_claimed))}"
    return ""
