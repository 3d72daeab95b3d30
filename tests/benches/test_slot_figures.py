"""The figures of the benchmark of slot moves: ratios within a round, what is missed, the table."""

from __future__ import annotations

import pytest
from moves.figures import FIX_RATIO_MAX, Runs, missed, ratio, table
from moves.measure import Case

VALKEY, OURS = Case("valkey", 0), Case("clusterbus", 0)


def runs_of(valkey: list[float], ours: list[float]) -> Runs:
    return {VALKEY: [{"fix": value} for value in valkey], OURS: [{"fix": value} for value in ours]}


def test_a_ratio_compares_the_same_round_and_cases_with_as_many_keys() -> None:
    runs = runs_of([100, 200, 400], [100, 220, 800])
    assert ratio(runs, OURS, "fix") == pytest.approx(1.1)
    assert ratio(runs, VALKEY, "fix") == 1
    assert ratio(runs, OURS, "MIGRATE") is None
    assert ratio(runs | {Case("kv_node", 3): [{"fix": 5.0}]}, Case("kv_node", 3), "fix") is None


def test_a_round_that_failed_counts_in_no_ratio_and_keeps_its_place() -> None:
    runs = runs_of([100, 200], [100, 300])
    runs[OURS][0] = {}
    assert ratio(runs, OURS, "fix") == 1.5


def test_a_fix_that_takes_too_long_is_named() -> None:
    assert missed(runs_of([100], [100 * FIX_RATIO_MAX])) == []
    (line,) = missed(runs_of([100], [170]))
    assert "clusterbus" in line
    assert "1.70" in line


def test_the_table_has_a_line_for_each_figure_and_case_with_median_and_spread() -> None:
    lines = table(runs_of([100, 200, 300], [150, 250, 400])).splitlines()
    assert lines[2:] == [
        "| fix | valkey | 200.00 | 100.00-300.00 | 1.00 |",
        "| fix | clusterbus | 250.00 | 150.00-400.00 | 1.33 |",
    ]
