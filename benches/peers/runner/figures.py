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
# Two bounds closer than this are the same.
ROUNDING = 1e-9
# If other processes use more of the machine than this, the figures are provisional.
ELSEWHERE_CORES_MAX = 0.1


def row_of(workload: Workload, windows: list[Window], number: int) -> Row:
    """The figures of one measurement in round `number`. CPU time is microseconds per unit of the workload."""
    window = windows[-1]
    seconds = window["elapsed_ns"] / 1e9
    # What the user's callbacks burnt is no cost of the bus.
    burnt_ns = window["loop_burnt_ns"] * window["elapsed_ns"] / window["loop_ns"] if workload.is_busy else 0
    units = {"seconds": seconds, "joins": 1}.get(workload.unit) or window[workload.unit]
    if units == 0:
        raise ValueError(f"no {workload.unit} at all")
    row = {
        "round": float(number),
        "main_us": (window["server_main_ns"] - burnt_ns) / 1e3 / units,
        "all_us": (window["server_all_ns"] - burnt_ns) / 1e3 / units,
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
    if workload.is_busy:
        calm_percent, busy_percent = (100 * each["loop_bus_ns"] / each["loop_ns"] for each in (windows[0], window))
        row["loop_calm_percent"], row["loop_busy_percent"] = calm_percent, busy_percent
        row["loop_lost_percent"] = busy_percent - calm_percent
        row["callbacks_ratio"] = _rate(window, "loop_callbacks") / _rate(windows[0], "loop_callbacks")
    if workload.unit == "joins":
        row["seconds"] = seconds
        row["dialled_s"] = window["dialled_ns"] / 1e9
        row["first_dial_s"] = window["first_dial_ns"] / 1e9
        row["start_ms"] = window["start_all_ns"] / 1e6
    if workload.unit == "seconds":
        row["main_percent"] = row["main_us"] / 1e4
        row["all_percent"] = row["all_us"] / 1e4
    return row


def _rate(window: Window, figure: str) -> float:
    return float(window[figure] / window["loop_ns"])


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


WORDS = {"main_us": "main thread", "all_us": "all threads", "per_s": "a second", "p99_us": "p99"}


def _by(
    workload: str, server: str, figure: str, bound: float, reference: str = "redis", *, at_least: bool = False
) -> Target:
    """A figure of a server, divided by the reference's in the same round."""
    relation = ">=" if at_least else "<="
    return Target(
        f"{workload}: {server}, {WORDS[figure]} {relation} {bound_text(bound)} x {reference}",
        bound,
        lambda tables: ratio(tables.get(workload, {}), server, reference, figure),
        at_least,
    )


def _own(workload: str, server: str, figure: str, text: str, bound: float) -> Target:
    def value(tables: Tables) -> float | None:
        rows = tables.get(workload, {}).get(server)
        return median(rows, figure) if rows else None

    return Target(f"{workload}: {server}, {text} <= {bound_text(bound)}", bound, value)


def bound_text(bound: float) -> str:
    """A bound as it was given: 1/60 rather than 0.0166667."""
    parts = round(1 / bound)
    return f"1/{parts}" if parts > 9 and abs(parts * bound - 1) < ROUNDING else f"{bound:g}"


def _with_workers(server: str) -> tuple[Target, ...]:
    """What a server with I/O threads is to reach."""
    return (
        _by("sparse-2000", server, "main_us", 0.2),
        _by("sparse-2000", server, "all_us", 0.6),
        _by("sparse-2000", server, "p99_us", 1),
        _by("sparse-201", server, "main_us", 0.3),
        _by("sparse-201", server, "all_us", 1),
        _by("sparse-201", server, "p99_us", 1.5),
        _by("tcp-2000", server, "main_us", 1 / 60),
        _by("tcp-2000", server, "all_us", 2, "floor"),
        _by("tcp-201", server, "main_us", 1 / 15),
        _by("tcp-201", server, "all_us", 2, "floor"),
        _by("tcp-4", server, "main_us", 0.3),
        _by("tcp-4", server, "all_us", 1.2),
        _own("busy", server, "loop_lost_percent", "percent of the loop lost", 2),
        _own("busy", server, "p99_us", "p99 microseconds", 5_000),
        _by("news-2000", server, "main_us", 0.5),
        _by("news-201", server, "main_us", 0.5),
        _by("churn-2000", server, "main_us", 0.2),
        _by("tls-2000", server, "main_us", 1 / 40),
        _by("tls-2000", server, "all_us", 0.35),
        _own("storm", server, "p99_ratio", "heartbeat p99 in the storm by calm", 3),
        _by("storm", server, "per_s", 3, at_least=True),
        _by("publish", server, "main_us", 1 / 10),
        _by("publish", server, "all_us", 1.5, "floor"),
        _by("failures", server, "main_us", 1 / 10),
        _by("idle", server, "all_us", 0.6),
        Target(f"idle: {server}, bytes a link <= 7168", 7 * 1024, lambda tables: bytes_per_link(tables, server)),
        _by("join-2000", server, "all_us", 1),
    )


TARGETS = (
    *_with_workers("clusterbus-3"),
    *_with_workers("clusterbus-2"),
    _by("tcp-2000", "clusterbus-1", "main_us", 0.2),
    _by("tcp-201", "clusterbus-1", "main_us", 0.45),
    _by("sparse-201", "clusterbus-1", "main_us", 1.1),
)
