"""Nothing unhandled: a traceback, a panic and a counter of faults are found."""

from __future__ import annotations

import pytest
from soak.checks.logs import FAULT_COUNTERS, cries, faults, parse_info

CALM = "7:M 28 Nov 2026 21:00:00.000 * Ready to accept connections\n"


@pytest.mark.parametrize(
    "cry",
    [
        "Traceback (most recent call last):",
        "thread 'worker' panicked at rust/engine/src/pool.rs:1:1:",
        "Task exception was never retrieved",
        "RuntimeWarning: coroutine 'f' was never awaited",
        "=== REDIS BUG REPORT START: Cut & paste starting from here ===",
    ],
)
def test_what_is_unhandled_is_found_with_the_lines_after_it(cry: str) -> None:
    found = cries("c1", f"{CALM}{cry}\n  the next line\n")
    assert len(found) == 1
    assert "log of c1" in found[0]
    assert "the next line" in found[0]


def test_a_calm_log_has_no_findings() -> None:
    assert cries("c1", CALM * 3) == []


def test_a_counter_of_faults_must_be_there_and_be_0() -> None:
    calm = parse_info("# Stats\r\n" + "".join(f"{name}:0\r\n" for name in FAULT_COUNTERS))
    assert faults("c1", calm) == []
    assert faults("c1", calm | {"cluster_tick_errors": "1"}) == ["c1: cluster_tick_errors is 1"]
    del calm["cluster_io_job_panics"]
    assert faults("c1", calm) == ["c1: cluster_io_job_panics is missing"]
