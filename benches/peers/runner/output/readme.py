"""README's short table, written from the figures of a run: a calm cluster beside a saturated link.

`python -m runner.output.readme` writes it again from `docs/peers.json`; a run with `--output docs` does so itself. Must
never show a figure that is not in that file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.figures import Row, Rows, Tables, median

BEGIN, END = "<!-- from docs/peers.json: begin -->", "<!-- from docs/peers.json: end -->"
RUN_FILE, README_FILE = Path("docs/peers.json"), Path("README.md")
NAMES = {
    "floor": "bare epoll loop",
    "redis": "Redis",
    "valkey": "Valkey",
    "clusterbus-1": "clusterbus, io-threads 1",
    "clusterbus-2": "clusterbus, io-threads 2",
    "clusterbus-3": "clusterbus, io-threads 3",
}


@dataclass(frozen=True)
class Group:
    """Columns of one workload: `figures` are heads, names of figures, and what they are divided by."""

    workload: str
    title: str
    figures: tuple[tuple[str, str, float], ...]


MAIN, ALL = ("main thread", "main_us", 1.0), ("all threads", "all_us", 1.0)
P99, PER_S = ("p99 ms", "p99_us", 1e3), ("PONGs a second", "per_s", 1.0)
GROUPS = (
    Group("sparse-201", "calm, 201 nodes", (MAIN, ALL, P99)),
    Group("sparse-2000", "calm, 2,000 nodes", (MAIN, ALL, P99)),
    Group("tcp-201", "saturated, 201 nodes", (MAIN, ALL)),
    Group("tcp-2000", "saturated, 2,000 nodes", (MAIN, ALL, PER_S)),
)


def main() -> int:
    write(json.loads(RUN_FILE.read_text()), README_FILE)
    return 0


def write(run: dict[str, Any], file: Path) -> None:
    """Puts the table of a run between the marks in `file`."""
    text = file.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{file}: the marks of the table are missing")
    file.write_text(f"{before}{BEGIN}\n{short_table(run)}{END}{after}")


def tables_of(run: dict[str, Any]) -> Tables:
    """The rows of a run by workload and server, as it wrote them to its JSON file."""
    tables: Tables = {}
    for name, workload in run["workloads"].items():
        rows: Rows = tables.setdefault(name, {})
        for measurement in workload["measurements"]:
            row: Row = measurement["figures"]
            rows.setdefault(measurement["server"], []).append(row)
    return tables


def short_table(run: dict[str, Any]) -> str:
    """The lines between the marks: the table, and a line that names the machine."""
    tables = tables_of(run)
    groups = [group for group in GROUPS if tables.get(group.workload)]
    heads = ["Server"]
    for group in groups:
        first, *rest = group.figures
        heads += [f"{group.title}: {first[0]}", *(figure[0] for figure in rest)]
    lines = [heads, ["---"] * len(heads)]
    for server, name in NAMES.items():
        cells = [_name_of(server, name, run)]
        for group in groups:
            rows = tables[group.workload].get(server)
            cells += [_number(median(rows, figure) / scale) if rows else "-" for _, figure, scale in group.figures]
        if set(cells[1:]) != {"-"}:
            lines.append(cells)
    machine = run["machine"]
    source = (
        f"Medians of up to {run['rounds']} rounds on {machine['cpu']}, {machine['cores']} cores, Linux "
        f"{machine['kernel']}, Python {machine['python']}."
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{source}\n"


def _name_of(server: str, name: str, run: dict[str, Any]) -> str:
    """The name with the version that the server printed: `Redis server v=7.0.15 ...`."""
    words = run["versions"].get(server, "").split()
    version = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "")
    return f"{name} {version}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
