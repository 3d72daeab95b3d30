"""The tables as text: for each workload one row per server, then every figure to reach with the value reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.figures import (
    ELSEWHERE_CORES_MAX,
    TARGETS,
    Row,
    Rows,
    Tables,
    bound_text,
    bytes_per_link,
    bytes_per_node,
    elsewhere_cores,
    median,
    ratio,
    spread,
)
from runner.workloads import WORKLOADS, Workload

UNIT_NAMES = {
    "pongs": "PONG",
    "deliveries": "delivery",
    "handshakes": "handshake",
    "seconds": "second",
    "joins": "join",
}


def report(tables: Tables) -> str:
    """All tables, in the order of the workloads."""
    parts = [_table(WORKLOADS[name], rows) for name, rows in tables.items()]
    memory = _memory(tables)
    if memory:
        parts.append(memory)
    parts.append(_targets(tables))
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Column:
    """A column of some workloads: a figure divided by `scale`."""

    head: str
    figure: str
    scale: float = 1.0
    decimals: int = 2


PACED = (Column("late p99 ms", "late_p99_us", 1e3), Column("missed %", "missed_percent", decimals=1))
STORM = (
    Column("heartbeat p99 ms calm", "calm_p99_us", 1e3),
    Column("in storm", "storm_p99_us", 1e3),
)
BUSY = (
    Column("loop % without PINGs", "loop_calm_percent"),
    Column("with", "loop_busy_percent"),
    Column("lost", "loop_lost_percent"),
    Column("callbacks with / without", "callbacks_ratio", decimals=3),
)
JOIN = (
    Column("seconds", "seconds"),
    Column("first dial s", "first_dial_s"),
    Column("all dialled s", "dialled_s"),
    Column("CPU ms to first dial", "start_ms", decimals=0),
)


def _columns(workload: Workload) -> list[Column]:
    """The columns that only this workload and its like have."""
    kinds = (
        (workload.pace_per_s > 0 and not workload.storm_links, PACED),
        (workload.storm_links > 0, STORM),
        (workload.is_busy, BUSY),
        (workload.unit == "joins", JOIN),
    )
    return [column for applies, columns in kinds if applies for column in columns]


def _table(workload: Workload, rows: Rows) -> str:
    unit = UNIT_NAMES[workload.unit]
    heads = ["server", f"main us/{unit}", "(min-max)", "x redis", "x floor", f"all us/{unit}", "(min-max)"]
    heads += ["x redis", "x floor", f"{workload.unit}/s", "p50 ms", "p99 ms", "RSS MiB", "load cores"]
    heads += [column.head for column in _columns(workload)]
    lines = [_line(workload, rows, server, own) for server, own in rows.items()]
    rounds = max(map(len, rows.values()), default=0)
    elsewhere = elsewhere_cores({workload.name: rows})
    note = ""
    if elsewhere > ELSEWHERE_CORES_MAX:
        note = f"\n\nOther processes used {elsewhere:.2f} cores meanwhile: provisional."
    return f"### {workload.name}: {workload.title} (median of {rounds})\n\n{_grid(heads, lines)}{note}"


def _line(workload: Workload, rows: Rows, server: str, own: list[Row]) -> list[str]:
    cells = [server]
    for figure in ("main_us", "all_us"):
        low, high = spread(own, figure)
        cells += [_number(median(own, figure)), f"{_number(low)}-{_number(high)}"]
        cells += [_ratio(ratio(rows, server, other, figure)) for other in ("redis", "floor")]
    per_s = f"{median(own, 'per_s'):,.0f}" if workload.unit not in ("seconds", "joins") else "-"
    latencies = [f"{median(own, figure) / 1e3:.2f}" for figure in ("p50_us", "p99_us")]
    if workload.unit == "seconds":
        latencies = ["-", "-"]
    cells += [per_s, *latencies, f"{median(own, 'rss_mib'):.1f}", f"{median(own, 'generator_cores'):.2f}"]
    cells += [f"{median(own, column.figure) / column.scale:.{column.decimals}f}" for column in _columns(workload)]
    return cells


def _memory(tables: Tables) -> str:
    lines = []
    for server in tables.get("idle-unlinked", {}):
        link, node = bytes_per_link(tables, server), bytes_per_node(tables, server)
        lines.append([server, _bytes(link), _bytes(node)])
    if not lines:
        return ""
    heads = ["server", "bytes per link", "bytes per known node"]
    return f"### memory\n\n{_grid(heads, lines)}"


def _targets(tables: Tables) -> str:
    lines = []
    for target in TARGETS:
        value = target.value(tables)
        if value is not None:
            verdict = "met" if target.is_met(value) else "missed"
            lines.append([target.text, bound_text(target.bound), _number(value), verdict])
    return "### figures to reach\n\n" + _grid(["figure", "bound", "reached", ""], lines)


# ---------------------------------------------------------------- text


def _grid(heads: list[str], lines: Iterable[list[str]]) -> str:
    table = [heads, *lines]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]

    def joined(cells: list[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([joined(heads), rule, *map(joined, table[1:])])


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else _number(value)


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
