"""The share of a busy main loop that the bus takes, read from the notes of the program."""

from __future__ import annotations

from typing import Any

import pytest
from runner.errors import MeasurementError
from runner.loop_share import add_loop_share


def note(at: int, cpu: int, burnt: int) -> str:
    return f"{at} {cpu} {burnt}\n"


def test_only_what_lies_between_the_first_and_the_last_callback_of_the_window_counts() -> None:
    window: dict[str, Any] = {"began_ns": 100, "elapsed_ns": 300}
    notes = [note(50, 40, 30), note(110, 70, 55), note(200, 130, 105), note(390, 240, 205), note(410, 999, 999)]
    add_loop_share(window, "".join(notes) + "500 12")
    assert window["loop_ns"] == 280
    assert (window["loop_burnt_ns"], window["loop_bus_ns"]) == (150, 20)
    assert window["loop_callbacks"] == 2


def test_a_window_with_hardly_a_callback_gives_no_figure() -> None:
    with pytest.raises(MeasurementError, match="1 callbacks in a window"):
        add_loop_share({"began_ns": 100, "elapsed_ns": 300}, note(50, 40, 30) + note(110, 70, 55))
