"""Nothing unhandled: what no log of a node may hold, and the counters that must stay 0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

CRY: Final = re.compile(
    r"Traceback \(most recent call last\)|panicked at|Unhandled|never awaited|never retrieved|Fatal Python error"
    r"|BUG REPORT START|ASSERTION FAILED|crashed by signal|ERROR: AddressSanitizer"
)
FAULT_COUNTERS: Final = (
    "cluster_packet_errors",
    "cluster_event_errors",
    "cluster_effect_errors",
    "cluster_tick_errors",
    "cluster_data_plane_errors",
    "cluster_callback_errors",
    "cluster_io_job_panics",
    "cluster_messages_withheld",
    "cluster_messages_dropped_slow_link",
    "cluster_config_file_save_failures",
)
"""Errors of clusterbus in its own code, and messages that it kept back."""


def cries(name: str, text: str) -> list[str]:
    """A finding for each line of a log that tells of something unhandled, with the lines after it."""
    lines = text.splitlines()
    return [
        f"log of {name}: " + " | ".join(line.strip() for line in lines[number : number + 12])
        for number, line in enumerate(lines)
        if CRY.search(line)
    ]


def faults(name: str, info: Mapping[str, str]) -> list[str]:
    """A finding for each counter of faults that is missing or not 0."""
    return [
        f"{name}: {counter} is {info.get(counter, 'missing')}" for counter in FAULT_COUNTERS if info.get(counter) != "0"
    ]


def parse_info(text: str) -> dict[str, str]:
    """INFO as a table."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
