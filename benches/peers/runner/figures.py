"""Turns windows into figures: one row of numbers for each server and round, their medians, and ratios.

A ratio compares two servers in the same round, so that other load on the machine affects both. The median of the
ratios is judged.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.workloads import Workload

Window = dict[str, Any]
# The value of each figure, for one server in one round.
Row = dict[str, float]
# The rows of each server, in the order of rounds.
Rows = dict[str, list[Row]]
# The rows of each workload.
Tables = dict[str, Rows]

MEBIBYTE = 2**20
# If other processes use more of the machine than this, the figures are provisional.
ELSEWHERE_CORES_MAX = 0.1


def row_of(workload: Workload, windows: list[Window], number: int) -> Row:
    """The figures of one measurement in round `number`. CPU time is microseconds per unit of the workload."""
    window = windows[-1]
    seconds = window["elapsed_ns"] / 1e9
    units = seconds if workload.unit == "seconds" else window[workload.unit]
    if units == 0:
        raise ValueError(f"no {workload.unit} at all")
    row = {
        "round": float(number),
        "main_us": window["server_main_ns"] / 1e3 / units,
        "all_us": window["server_all_ns"] / 1e3 / units,
        "per_s": units / seconds,
        "p50_us": window["latency_p50_ns"] / 1e3,
        "p99_us": window["latency_p99_ns"] / 1e3,
        # How late the PINGs of a pace left, and how many never left.
        "late_p99_us": window["late_p99_ns"] / 1e3,
        "missed_percent": 100 * window["missed"] / max(1, window["missed"] + window["pongs"]),
        "rss_mib": window["server_rss_bytes"] / MEBIBYTE,
        "server_cores": window["server_all_ns"] / window["elapsed_ns"],
        "generator_cores": window["generator_ns"] / window["elapsed_ns"],
        "elsewhere_cores": window["elsewhere_ns"] / window["elapsed_ns"],
    }
    if workload.storm_links:
        calm, during = windows[0], windows[-2]
        row["calm_p99_us"] = calm["latency_p99_ns"] / 1e3
        row["storm_p99_us"] = during["latency_p99_ns"] / 1e3
        row["p99_ratio"] = during["latency_p99_ns"] / max(1, calm["latency_p99_ns"])
        # Two generators ran; the time of the one that sends heartbeats must not count as other processes'.
        row["elsewhere_cores"] -= during["generator_ns"] / during["elapsed_ns"]
    if workload.unit == "seconds":
        row["main_percent"] = row["main_us"] / 1e4
        row["all_percent"] = row["all_us"] / 1e4
    return row


def median(rows: list[Row], figure: str) -> float:
    return statistics.median(row[figure] for row in rows)


def elsewhere_cores(tables: Tables) -> float:
    """How many cores other processes used, as the median over all measurements."""
    rows = [row for table in tables.values() for own in table.values() for row in own]
    return median(rows, "elsewhere_cores") if rows else 0.0


def spread(rows: list[Row], figure: str) -> tuple[float, float]:
    values = [row[figure] for row in rows]
    return min(values), max(values)


def ratio(rows: Rows, server: str, reference: str, figure: str) -> float | None:
    """The median over the rounds of (figure of `server` / figure of `reference`); None if one was not measured."""
    theirs = {row["round"]: row[figure] for row in rows.get(reference, []) if row[figure]}
    values = [row[figure] / theirs[row["round"]] for row in rows.get(server, []) if row["round"] in theirs]
    return statistics.median(values) if values else None


def bytes_per_link(tables: Tables, server: str) -> float | None:
    """Resident bytes of one link: the workload idle has 3,998 links, idle-unlinked has none."""
    return _rss_difference(tables, server, "idle", "idle-unlinked", 3_998)


def bytes_per_node(tables: Tables, server: str) -> float | None:
    """Resident bytes of one known node: idle-unlinked has 1,996 more nodes than idle-small."""
    return _rss_difference(tables, server, "idle-unlinked", "idle-small", 1_996)


def _rss_difference(tables: Tables, server: str, more: str, less: str, count: int) -> float | None:
    rows = [tables.get(name, {}).get(server) for name in (more, less)]
    if rows[0] is None or rows[1] is None:
        return None
    return (median(rows[0], "rss_mib") - median(rows[1], "rss_mib")) * MEBIBYTE / count


# ---------------------------------------------------------------- figures to reach


@dataclass(frozen=True)
class Target:
    """A figure to reach: `value(tables)` must be at most `bound`, or at least `bound` if `at_least`."""

    text: str
    bound: float
    value: Callable[[Tables], float | None]
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _by(workload: str, server: str, reference: str, figure: str, bound: float, *, at_least: bool = False) -> Target:
    words = {"main_us": "main thread", "all_us": "all threads", "per_s": "a second"}
    relation = ">=" if at_least else "<="
    return Target(
        f"{workload}: {server}, {words[figure]} {relation} {bound:g} x {reference}",
        bound,
        lambda tables: ratio(tables.get(workload, {}), server, reference, figure),
        at_least,
    )


def _own(workload: str, server: str, figure: str, text: str, bound: float) -> Target:
    def value(tables: Tables) -> float | None:
        rows = tables.get(workload, {}).get(server)
        return median(rows, figure) if rows else None

    return Target(f"{workload}: {server}, {text} <= {bound:g}", bound, value)


THREE, ONE = "clusterbus-3", "clusterbus-1"
TARGETS = (
    _by("tcp-2000", THREE, "redis", "main_us", 1 / 20),
    _by("tcp-2000", THREE, "floor", "all_us", 2.5),
    _by("tcp-2000", THREE, "redis", "per_s", 2.5, at_least=True),
    _by("tcp-201", THREE, "redis", "main_us", 1 / 8),
    _by("tcp-201", THREE, "floor", "all_us", 3),
    *(
        _by(workload, ONE, "redis", figure, 1)
        for workload in ("tcp-2000", "tcp-201")
        for figure in ("main_us", "all_us")
    ),
    _by("tls-2000", THREE, "redis", "main_us", 1 / 20),
    _by("tls-2000", THREE, "redis", "all_us", 0.7),
    _own("storm", THREE, "p99_ratio", "heartbeat p99 in the storm by calm", 2),
    _by("storm", THREE, "redis", "per_s", 3, at_least=True),
    _by("publish", THREE, "redis", "main_us", 1 / 10),
    _by("publish", THREE, "floor", "all_us", 1.5),
    _by("failures", THREE, "redis", "main_us", 1 / 10),
    _own("idle", THREE, "main_percent", "main thread, percent of a core", 2),
    Target(f"idle: {THREE}, bytes a link <= 8192", 8192, lambda tables: bytes_per_link(tables, THREE)),
)
