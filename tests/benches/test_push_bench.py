"""The benchmark of failovers counts calls as they are."""

from __future__ import annotations

import time

import failover_calls
from failover_calls import Calls


def test_calls_are_counted_and_the_longest_gap_has_an_end() -> None:
    calls, began_s = Calls(), time.monotonic()
    calls.note(began_s, is_good=True)
    calls.note(began_s - 2, is_good=False)
    calls.note(began_s, is_good=True)
    assert (calls.made, calls.failed) == (3, 1)
    assert calls.longest_s >= 2
    assert 0 < calls.gap_s <= time.monotonic() - began_s
    assert began_s <= calls.recovered_s <= time.monotonic()


def test_the_table_shows_medians_and_spreads_of_pairs() -> None:
    own = [Calls(failed=number, gap_s=4.0, recovered_s=10.25) for number in (40, 44, 60)]
    pairs = [(calls, Calls(failed=0, gap_s=2.0, recovered_s=10.0)) for calls in own]
    text = failover_calls.table(pairs, 0)
    assert "44.00 (40.00-60.00)" in text
    assert "earlier by, ms: 250.00 (250.00-250.00)" in text
    assert "pushed / alone: 0.50 (0.50-0.50), of 3 failovers" in text
    assert text.endswith("data nodes by the pushed client: 0")
