"""The lines around the table: title, slot map, and the feed.

Owns what these say. Must never ask a node or keep more than it was given last. Screen's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import struct_time
from typing import Final

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip
from textual.widget import Widget

from clusterbus.cli.top import words
from clusterbus.cli.top.colours import ALTERNATE, FAINT, LEVELS, colour_of_shard
from clusterbus.cli.top.feed import Event
from clusterbus.cli.top.picture import UNOWNED, Health, Picture
from clusterbus.wire import CLUSTER_SLOTS

OLD_INTERVALS: Final = 3
"""A picture that is older than so many intervals is shown as old."""


class Title(Widget):
    """One line: the cluster's state, slots, nodes; how old the picture is; what is filtered, sorted, paused."""

    DEFAULT_CSS = "Title { height: 1; background: $panel; }"

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._picture: Picture | None = None
        self._age_s = 0.0
        self._notes: tuple[str, ...] = ()

    def show(self, picture: Picture | None, age_s: float, notes: Sequence[str]) -> None:
        state = (picture, words.age(age_s), tuple(notes))
        if state != (self._picture, words.age(self._age_s), self._notes):
            self._picture, self._age_s, self._notes = picture, age_s, tuple(notes)
            self.refresh()

    def render(self) -> Text:
        return title_text(self._picture, self._age_s, self._notes, self._interval_s, self.size.width)


def title_text(picture: Picture | None, age_s: float, notes: Sequence[str], interval_s: float, width: int) -> Text:
    """What is cut off when it is too narrow comes last: the cluster's name goes first."""
    text = Text(no_wrap=True, overflow="crop")
    if picture is None:
        return text.append(" clusterbus top: asking ...")
    state = ALTERNATE["good"] if picture.state == "ok" else ALTERNATE["bad"]
    text.append(" cluster ").append(picture.state, state + Style(bold=True))
    whole = picture.slots_owned == CLUSTER_SLOTS
    owned = "all slots" if whole else f"{CLUSTER_SLOTS - picture.slots_owned} slots open"
    text.append("  ").append(owned, None if whole else ALTERNATE["bad"])
    text.append(f"  {len(picture.rows)} nodes, {picture.shards} shards")
    if picture.silent:
        text.append(f"  {picture.silent} silent", ALTERNATE["bad"])
    is_old = age_s > OLD_INTERVALS * interval_s
    text.append(f"  {words.age(age_s)} old", ALTERNATE["warning"] if is_old else FAINT)
    if picture.oldest_s > OLD_INTERVALS * interval_s and width > 100:
        text.append(f" (oldest answer {words.age(picture.oldest_s)})", FAINT)
    for note in notes:
        text.append("  ").append(f" {note} ", Style(reverse=True))
    return text


class SlotMap(Widget):
    """A bar of all slots in the colours of their shards; `░` has no owner, the owner of `▒` is held failed or silent.
    The shard at the cursor is drawn as `█` in white."""

    DEFAULT_CSS = "SlotMap { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._picture: Picture | None = None
        self._marked = UNOWNED

    def show(self, picture: Picture, marked: int) -> None:
        self._picture, self._marked = picture, marked
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        if y or self._picture is None or width <= 0:
            return Strip.blank(width, self.rich_style)
        cells = slot_cells(self._picture, width)
        segments = [Segment(sign, self._style(sign, shard)) for sign, shard in cells]
        return Strip(segments).simplify().apply_style(self.rich_style).adjust_cell_length(width, self.rich_style)

    def _style(self, sign: str, shard: int) -> Style:
        if sign != "█":
            return ALTERNATE["bad"]
        return Style(color="#ffffff", bold=True) if shard == self._marked else colour_of_shard(shard)


def slot_cells(picture: Picture, width: int) -> list[tuple[str, int]]:
    """(sign, shard) for each of `width` cells. A cell shows the worst of its slots, and the shard of the first."""
    bad = {row.shard for row in picture.rows if row.is_primary and (row.health is Health.FAILED or row.error)}
    cells = []
    for cell in range(width):
        first = CLUSTER_SLOTS * cell // width
        part = picture.owners[first : max(first + 1, CLUSTER_SLOTS * (cell + 1) // width)]
        sign = "░" if UNOWNED in part else "▒" if bad and not bad.isdisjoint(part) else "█"
        cells.append((sign, part[0]))
    return cells


class FeedPanel(Widget):
    """The newest events, the last one at the bottom."""

    DEFAULT_CSS = "FeedPanel { height: 6; border-top: solid $primary; padding: 0 1; }"

    def __init__(self, local: Callable[[float], struct_time]) -> None:
        super().__init__()
        self._local = local
        self._events: Sequence[Event] = ()
        self.border_title = "events"

    def show(self, events: Sequence[Event]) -> None:
        if self._events != events:
            self._events = events
            self.refresh()

    def render(self) -> Text:
        room = max(0, self.content_size.height)
        shown = self._events[-room:] if room else ()
        lines = [event_text(event, self._local) for event in shown]
        for line in lines:
            line.truncate(self.content_size.width, overflow="ellipsis")
        return Text("\n").join(lines)


def event_text(event: Event, local: Callable[[float], struct_time]) -> Text:
    clock = local(event.at_ms / 1000)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{clock.tm_hour:02}:{clock.tm_min:02}:{clock.tm_sec:02} ", FAINT)
    text.append(event.text, LEVELS[event.level])
    if event.source:
        text.append(f"  [{event.source}]", FAINT)
    return text


def notes_of(*, is_paused: bool, sort: str, is_reversed: bool, shown: int, of: int, words_: str) -> list[str]:
    """What is out of the ordinary about what is shown."""
    notes = ["PAUSED"] if is_paused else []
    if words_:
        notes.append(f"/{words_}: {shown} of {of}")
    if sort != "shard" or is_reversed:
        notes.append(f"by {sort}{' reversed' if is_reversed else ''}")
    return notes
