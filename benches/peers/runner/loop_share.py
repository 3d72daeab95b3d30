"""What the bus takes of a busy main loop: read from the notes of `busy.py`, for the time of a window."""

from __future__ import annotations

from typing import Any

from runner.errors import MeasurementError

Window = dict[str, Any]
NOTES_MIN = 3


def add_loop_share(window: Window, notes: str) -> None:
    """Adds to `window`, as far as the notes cover it: `loop_ns`, how long; `loop_burnt_ns`, the CPU time that callbacks
    burnt; `loop_bus_ns`, the CPU time that the main thread used besides; `loop_callbacks`, how many there were.
    """
    began_ns, end_ns = window["began_ns"], window["began_ns"] + window["elapsed_ns"]
    # The last line may be half written.
    table = [tuple(map(int, line.split())) for line in notes.splitlines(keepends=True) if line.endswith("\n")]
    inside = [note for note in table if began_ns <= note[0] <= end_ns]
    if len(inside) < NOTES_MIN:
        raise MeasurementError(f"{len(inside)} callbacks in a window")
    (first_ns, first_cpu_ns, first_burnt_ns), (last_ns, last_cpu_ns, last_burnt_ns) = inside[0], inside[-1]
    burnt_ns = last_burnt_ns - first_burnt_ns
    window["loop_ns"] = last_ns - first_ns
    window["loop_burnt_ns"] = burnt_ns
    window["loop_bus_ns"] = last_cpu_ns - first_cpu_ns - burnt_ns
    window["loop_callbacks"] = len(inside) - 1
