"""SECURITY.md: its limits are the directives with their defaults, its counters those of the one table."""

from __future__ import annotations

import re
from pathlib import Path

from clusterbus.config import DIRECTIVES
from clusterbus.member import counters

PAGE = (Path(__file__).parent.parent.parent / "SECURITY.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_each_limit_is_a_directive_with_its_default() -> None:
    defaults = {directive.name: directive.default_text for directive in DIRECTIVES if not directive.without_effect}
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", section("Limits"), re.MULTILINE))
    assert {name for name in defaults if name.startswith("cluster-max-")} <= set(told)
    assert told == {name: defaults[name] for name in told}


def test_each_counter_is_one_that_is_shown() -> None:
    shown = {
        row.shown for table in (counters.OFFLOAD, counters.GAUGES, counters.DRIVER, counters.REFUSALS) for row in table
    }
    told = set(re.findall(r"`(cluster_[a-z_]+)`", PAGE))
    assert told
    assert told <= shown
