"""Numbers and flags as a table shows them: short, of a width that is known before.

Owns how a quantity is written on the screen. Must never be wider than the column says. Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clusterbus.cli.top.picture import Health, Row

NOTHING: Final = "-"
_STEPS: Final = ("", "k", "M", "G", "T")


def count(value: float | None) -> str:
    """At most 5 characters: 7, 999, 1.2k, 34k, 5.6M; below 10 with one digit behind the point, unless it is whole."""
    if value is None:
        return NOTHING
    value = max(0.0, value)
    for step in _STEPS:
        if value < 9.95:
            return f"{value:.1f}".removesuffix(".0") + step
        if value < 999.5:
            return f"{value:.0f}{step}"
        value /= 1000
    return "max"


def milliseconds(value: float | None) -> str:
    """At most 5 characters; three digits that count."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.2f}"
    if value < 1000:
        return f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return f"{value / 1000:.1f}s" if value < 100_000 else "long"


def microseconds(value: int | None) -> str:
    return milliseconds(None if value is None else value / 1000)


def age(value_s: float) -> str:
    if value_s < 10:
        return f"{max(0.0, value_s):.1f} s"
    if value_s < 600:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 36_000 else f"{value_s / 3600:.0f} h"


def slots(row: Row, width: int) -> str:
    """The number of slots and as many of their ranges as fit; what is left out is counted."""
    if not row.is_primary:
        return ""
    head = f"{row.slots:>5}"
    if not row.ranges:
        return head.rjust(5)
    texts = [range_text(one) for one in row.ranges]
    for shown in range(len(texts), 0, -1):
        if shown > width:  # each takes more than a character
            continue
        rest = len(texts) - shown
        line = f"{head} {' '.join(texts[:shown])}" + (f" +{rest}" if rest else "")
        if len(line) <= width:
            return line
    line = f"{head} +{len(texts)}"
    return line if len(line) <= width else head


def range_text(one: tuple[int, int]) -> str:
    first, last = one
    return str(first) if first == last else f"{first}-{last}"


def ranges_text(ranges: Sequence[tuple[int, int]]) -> str:
    return " ".join(map(range_text, ranges)) or "none"


def flags(row: Row) -> str:
    """What is odd about a node, the gravest first, "ok" if nothing is."""
    if row.health is Health.FAILED:
        return "FAIL" if row.failed_by == row.judges else f"FAIL {row.failed_by}/{row.judges}"
    if row.health is Health.SUSPECTED:
        return f"fail? {row.suspected_by}/{row.judges}"
    if row.disputed:
        return "disputed"
    if row.known_by < row.views:
        return f"known {row.known_by}/{row.views}"
    if row.state not in ("ok", ""):
        return f"sees {row.state}"
    if row.migrating or row.importing:
        return f"moves {len(row.migrating) + len(row.importing)}"
    return "ok"
