"""The colours of shards, flags and events.

Owns which colour means what. Nothing is told by colour alone: words and signs say the same. Plain data, any thread.
"""

from __future__ import annotations

from typing import Final

from rich.style import Style

from clusterbus.cli.top.feed import Level
from clusterbus.cli.top.picture import Health, Row

_SHARDS: Final = tuple(
    Style(color=colour)
    for colour in ("#4fa3e0", "#e0a24f", "#6fc27a", "#b58be0", "#e07fa8", "#5cc4c0", "#c9c25a", "#8f9fd9")
)
"""Neighbours differ, also to eyes that see no red or no green: by their lightness."""
FAINT: Final = Style(color="#7a8288")
ALTERNATE: Final = {
    "bad": Style(color="#ff6b6b", bold=True),
    "warning": Style(color="#f2c14e"),
    "good": Style(color="#7bd389"),
    "replica": Style(color="#a9b4bd"),
    "unowned": Style(color="#ff6b6b"),
}
LEVELS: Final = {
    Level.NEWS: Style(),
    Level.GOOD: ALTERNATE["good"],
    Level.WARNING: ALTERNATE["warning"],
    Level.BAD: ALTERNATE["bad"],
}


def colour_of_shard(shard: int) -> Style:
    return _SHARDS[shard % len(_SHARDS)]


def style_of_flags(row: Row) -> Style:
    if row.health is Health.FAILED or row.disputed:
        return ALTERNATE["bad"]
    if row.health is Health.SUSPECTED or row.known_by < row.views or row.state not in ("ok", ""):
        return ALTERNATE["warning"]
    if row.migrating or row.importing:
        return ALTERNATE["warning"]
    return ALTERNATE["good"] if row.is_primary else ALTERNATE["replica"]
