"""The picture: CPU time per PING answered, for the main thread and for all threads; a calm cluster above, and below it
saturated links over cluster size."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from runner.figures import Tables, median
from runner.workloads import SIZES, SPARSE_PER_S, SPARSE_SIZES

COLOURS = {
    "floor": "#888888",
    "redis": "#c0392b",
    "valkey": "#8e44ad",
    "asyncio": "#d4a017",
    "uvloop": "#e67e22",
    "clusterbus-1": "#7fb3d5",
    "clusterbus-2": "#2e86c1",
    "clusterbus-3": "#1b4f72",
}
TICKS_US = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
PANELS = (("main_us", "main thread"), ("all_us", "all threads"))
# The part of the room between two sizes that the bars take.
BARS_WIDTH = 0.8


def draw(tables: Tables, caption: str, file: Path) -> bool:
    """Writes the picture, with those rows that can be filled. Returns False if there is none."""
    calm = [size for size in SPARSE_SIZES if f"sparse-{size}" in tables]
    saturated = [size for size in SIZES if f"tcp-{size}" in tables]
    rows = ([_draw_calm] if calm else []) + ([_draw_saturated] if len(saturated) > 1 else [])
    if not rows:
        return False
    figure, grid = plt.subplots(len(rows), 2, figsize=(12, 4.4 * len(rows)), sharey="row", squeeze=False)
    for draw_row, axes in zip(rows, grid, strict=True):
        sizes = calm if draw_row is _draw_calm else saturated
        for axis, (name, title) in zip(axes, PANELS, strict=True):
            draw_row(axis, tables, sizes, name)
            axis.set_xlabel("nodes in the cluster")
            kind = f"calm, {SPARSE_PER_S} PINGs a second" if draw_row is _draw_calm else "saturated"
            axis.set_title(f"{kind}: {title}")
        axes[0].set_ylabel("microseconds of CPU per PING answered")
        axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
    figure.text(0.5, 0.005, caption, ha="center", fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True


def _draw_calm(axis: Axes, tables: Tables, sizes: list[int], name: str) -> None:
    """Bars in groups by cluster size."""
    servers = [server for server in COLOURS if any(server in tables[f"sparse-{size}"] for size in sizes)]
    width = BARS_WIDTH / len(servers)
    for number, server in enumerate(servers):
        left = number * width - (BARS_WIDTH - width) / 2
        values = [_value(tables, f"sparse-{size}", server, name) for size in sizes]
        bars = axis.bar(
            [place + left for place in range(len(sizes))], values, width, color=COLOURS[server], label=server
        )
        axis.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    axis.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axis.margins(y=0.1)
    axis.grid(alpha=0.3, axis="y")
    axis.set_axisbelow(True)


def _draw_saturated(axis: Axes, tables: Tables, sizes: list[int], name: str) -> None:
    """Lines over cluster size; both axes are logarithmic."""
    for server, colour in COLOURS.items():
        points = [
            (size, _value(tables, f"tcp-{size}", server, name)) for size in sizes if server in tables[f"tcp-{size}"]
        ]
        if points:
            style = "--" if server in ("floor", "asyncio", "uvloop") else "-"
            axis.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=server)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_yticks(TICKS_US, [str(tick) for tick in TICKS_US])
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3, which="both")


def _value(tables: Tables, workload: str, server: str, name: str) -> float:
    rows = tables[workload].get(server)
    return median(rows, name) if rows else 0.0
