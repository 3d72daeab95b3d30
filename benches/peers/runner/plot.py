"""The picture: CPU time per packet over cluster size, for the main thread and for all threads."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from runner.figures import Tables, median
from runner.workloads import SIZES

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
TICKS_US = (1, 2, 5, 10, 20, 50, 100, 200)
PANELS = (("main_us", "main thread"), ("all_us", "all threads"))


def draw(tables: Tables, caption: str, file: Path) -> bool:
    """Writes the picture. Returns False if fewer than two sizes were measured."""
    sizes = [size for size in SIZES if f"tcp-{size}" in tables]
    if len(sizes) < 2:
        return False
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
    for axis, (name, title) in zip(axes, PANELS, strict=True):
        for server, colour in COLOURS.items():
            points = [(size, median(rows[server], name)) for size in sizes if server in (rows := tables[f"tcp-{size}"])]
            if points:
                style = "--" if server in ("floor", "asyncio", "uvloop") else "-"
                axis.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=server)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_yticks(TICKS_US, [str(tick) for tick in TICKS_US])
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel("nodes in the cluster")
        axis.set_title(f"CPU time per PING answered, {title}")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("microseconds")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
    figure.text(0.5, 0.005, caption, ha="center", fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True
