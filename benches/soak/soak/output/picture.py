"""The picture: memory, descriptors and threads of each clusterbus process and the messages over time, with the faults.

A heavy fault is a band as long as it lasted; the light ones are marks in a row each at the bottom. Read-only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from soak.checks.vitals import Sample
from soak.schedule import HEAVY, LIGHT, Fault
from soak.story import Outcome

BIN_S: Final = 10
BANDS: Final = {
    Fault.TERM: "#7fb3d5",
    Fault.KILL: "#1b4f72",
    Fault.CRASH: "#c0392b",
    Fault.FAILOVER: "#27ae60",
    Fault.PARTITION: "#e67e22",
}
PANELS: Final[tuple[tuple[str, Callable[[Sample], float]], ...]] = (
    ("RSS, MiB", lambda sample: sample.rss_bytes / 2**20),
    ("descriptors", lambda sample: sample.descriptors),
    ("threads", lambda sample: sample.threads),
)
BAND_MIN_S: Final = 1.0
"""A shorter one could not be seen."""


def draw(outcome: Outcome, file: Path) -> None:
    """Writes the picture."""
    figure, axes = plt.subplots(
        len(PANELS) + 2, 1, figsize=(14, 15), sharex=True, height_ratios=[3] * (len(PANELS) + 1) + [2]
    )
    for axis, (title, value) in zip(axes, PANELS, strict=False):
        _vitals(axis, outcome, title, value)
    _messages(axes[len(PANELS)], outcome)
    for axis in axes[:-1]:
        _bands(axis, outcome)
        axis.grid(alpha=0.3)
    _marks(axes[-1], outcome)
    axes[-1].set_xlabel("minutes")
    axes[-1].set_xlim(0, (outcome.ended_s - outcome.begun_s) / 60)
    handles = [Patch(color=colour, alpha=0.35, label=fault.value) for fault, colour in BANDS.items()]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), fontsize=9, bbox_to_anchor=(0.5, 0.965))
    figure.suptitle(
        f"Soak, seed {outcome.seed}: {outcome.account.published:,} published, {outcome.account.delivered:,} delivered, "
        f"{len(outcome.account.unexplained)} lost without a reason, {len(outcome.findings)} findings"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _vitals(axis: Axes, outcome: Outcome, title: str, value: Callable[[Sample], float]) -> None:
    """One line for each node; it is broken where a new process begins."""
    lives: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in outcome.samples:
        lives[sample.node, sample.pid].append(sample)
    nodes = list(dict.fromkeys(node for node, _pid in lives))
    drawn: set[str] = set()
    for (node, _pid), life in lives.items():
        axis.plot(
            [(sample.at_s - outcome.begun_s) / 60 for sample in life],
            [value(sample) for sample in life],
            color=f"C{nodes.index(node)}",
            linewidth=1.4,
            label=None if node in drawn else node,
        )
        drawn.add(node)
    axis.set_ylabel(title)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="lower right", ncols=len(nodes), fontsize=8)


def _messages(axis: Axes, outcome: Outcome) -> None:
    bins = Counter(int((at_s - outcome.begun_s) // BIN_S) for at_s in outcome.deliveries_s)
    # The last part is shorter than the others.
    numbers = [number for number in sorted(bins) if 0 <= number < (outcome.ended_s - outcome.begun_s) // BIN_S]
    axis.plot(
        [(number + 0.5) * BIN_S / 60 for number in numbers],
        [bins[number] / BIN_S for number in numbers],
        color="#333333",
        label="messages delivered a second",
    )
    axis.set_ylabel("messages a second")
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower right", fontsize=8)


def _bands(axis: Axes, outcome: Outcome) -> None:
    for done in outcome.done:
        colour = BANDS.get(done.planned.fault)
        if colour is not None:
            begun_s = done.begun_s - outcome.begun_s
            length_s = max(done.ended_s - done.begun_s, BAND_MIN_S)
            axis.axvspan(begun_s / 60, (begun_s + length_s) / 60, color=colour, alpha=0.25, linewidth=0)


def _marks(axis: Axes, outcome: Outcome) -> None:
    """A row of marks for each kind of fault."""
    kinds = [*HEAVY, *LIGHT]
    for row, fault in enumerate(kinds):
        times = [(done.begun_s - outcome.begun_s) / 60 for done in outcome.done if done.planned.fault is fault]
        axis.plot(times, [row] * len(times), "|", color=BANDS.get(fault, "#555555"), markersize=9)
    axis.set_yticks(range(len(kinds)), [f"{fault.value}" for fault in kinds], fontsize=8)
    axis.set_ylim(-0.7, len(kinds) - 0.3)
    axis.invert_yaxis()
