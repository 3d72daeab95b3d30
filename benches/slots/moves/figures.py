"""From runs to a table: medians with their spread, and how many times as long as Valkey takes."""

from __future__ import annotations

import statistics
from typing import Final

from moves.measure import Case

Runs = dict[Case, list[dict[str, float]]]
# The figures of each case, one table of them for each round, in the order of rounds.

BASE_KIND: Final = "valkey"
FIX_RATIO_MAX: Final = 1.5
"""`redis-cli --cluster fix` may take this many times as long as between Valkey nodes."""


def base_of(case: Case) -> Case:
    """What a case is compared with: Valkey with as many keys."""
    return Case(BASE_KIND, case.keys_per_slot)


def ratio(runs: Runs, case: Case, figure: str) -> float | None:
    """The median over the rounds of (the case's time / Valkey's in the same round)."""
    pairs = zip(runs.get(case, []), runs.get(base_of(case), []), strict=False)
    values = [own[figure] / base[figure] for own, base in pairs if figure in own and figure in base]
    return statistics.median(values) if values else None


def missed(runs: Runs) -> list[str]:
    """A line for each case whose fix takes too long."""
    ratios = {case: ratio(runs, case, "fix") for case in runs}
    return [
        f"missed: fix, {case.name}: {value:.2f} times Valkey's time, the most is {FIX_RATIO_MAX}"
        for case, value in ratios.items()
        if value is not None and value > FIX_RATIO_MAX
    ]


def table(runs: Runs) -> str:
    """A Markdown table of all figures, in milliseconds."""
    lines = ["| Figure | Nodes | Median ms | Spread ms | x Valkey |", "|---|---|---|---|---|"]
    figures = dict.fromkeys(figure for rows in runs.values() for row in rows for figure in row)
    for figure in figures:
        for case, rows in runs.items():
            values = [row[figure] for row in rows if figure in row]
            if values:
                times = ratio(runs, case, figure)
                lines.append(
                    f"| {figure} | {case.name} | {statistics.median(values):.2f} | {min(values):.2f}-{max(values):.2f} "
                    f"| {'' if times is None else f'{times:.2f}'} |"
                )
    return "\n".join(lines)
