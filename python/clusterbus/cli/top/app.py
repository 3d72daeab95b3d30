"""The screen of `clusterbus top`: title, slot map, table, feed, and the keys.

Owns what is shown of the moments that the watch hands over, and what keys do. Must never ask a node itself, nor change
anything in the cluster. Screen's thread, Textual's event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from time import struct_time
from typing import ClassVar, Final, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key, Resize
from textual.message import Message
from textual.widgets import Footer, Input

from clusterbus.cli.top.feed import Event
from clusterbus.cli.top.order import Arrangement, Sort, arrange, words_of
from clusterbus.cli.top.panels import FeedPanel, SlotMap, Title, notes_of
from clusterbus.cli.top.picture import Picture, Row
from clusterbus.cli.top.screens import DetailsScreen, HelpScreen
from clusterbus.cli.top.table import NodeTable
from clusterbus.cli.top.watch import Moment

AGE_PERIOD_S: Final = 0.5
FEED_SHARE: Final = 0.22
FEED_HEIGHT_MIN: Final = 4
FEED_HEIGHT_MAX: Final = 14
FEED_LARGE_SHARE: Final = 0.6


class FeedSize(IntEnum):
    SMALL = 0
    LARGE = 1
    NONE = 2


class Source(Protocol):
    """Where moments come from: `watch.Watch`, or what stands for it in a test."""

    on_screen: frozenset[str]
    details: str
    is_paused: bool

    def start(self, deliver: Callable[[Moment], None]) -> None: ...

    def stop(self) -> None: ...

    def hurry(self) -> None: ...


class TopApp(App[None]):
    """The program's screen. `now_s` and `local` are its clocks, for tests."""

    TITLE = "clusterbus top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #filter { height: 1; border: none; padding: 0 1; display: none; background: $boost; }
    #filter.open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("s", "sort(1)", "sort"),
        Binding("S", "sort(-1)", "sort back", show=False),
        Binding("r", "reverse", "reverse", show=False),
        Binding("g", "group", "group"),
        Binding("f", "feed", "feed"),
        Binding("space,p", "pause", "pause", key_display="space"),
        Binding("h,question_mark", "help", "help", key_display="h"),
        Binding("q", "quit", "quit"),
        Binding("escape", "clear_filter", "clear the filter", show=False),
    ]

    class Came(Message):
        """A moment came from the watch's thread."""

        def __init__(self, moment: Moment) -> None:
            super().__init__()
            self.moment = moment

    def __init__(
        self,
        source: Source,
        *,
        interval_s: float = 1.0,
        now_s: Callable[[], float] = time.monotonic,
        local: Callable[[float], struct_time] = time.localtime,
    ) -> None:
        super().__init__()
        self._source = source
        self._now_s = now_s
        self._local = local
        self._interval_s = interval_s
        self._picture: Picture | None = None
        self._events: tuple[Event, ...] = ()
        self._shown: list[Row] = []
        self._arrangement = Arrangement()
        self._feed_size = FeedSize.SMALL

    def compose(self) -> ComposeResult:
        yield Title(self._interval_s)
        yield SlotMap()
        yield NodeTable()
        yield Input(placeholder="filter", id="filter", select_on_focus=False)
        yield FeedPanel(self._local)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.table = self.query_one(NodeTable)
        self.table.focus()
        self._place_feed(self.size.height)
        self.set_interval(AGE_PERIOD_S, self._show_title)
        self._source.start(self._deliver)

    def on_unmount(self) -> None:
        self._source.stop()

    # ------------------------------------------------------------ what comes in

    def _deliver(self, moment: Moment) -> None:
        """Any thread."""
        self.post_message(self.Came(moment))

    def on_top_app_came(self, message: Came) -> None:
        if self._source.is_paused:
            return
        self._picture, self._events = message.moment.picture, message.moment.events
        self._show()

    def _show(self) -> None:
        picture = self._picture
        if picture is None:
            return
        arrangement = self._arrangement
        self._shown = arrange(picture.rows, arrangement)
        self.table.show(
            self._shown,
            arrangement.sort,
            is_reversed=arrangement.is_reversed,
            is_grouped=arrangement.is_grouped,
        )
        self.screen_stack[0].query_one(FeedPanel).show(self._events)
        self._show_title()
        self._look()
        if isinstance(self.screen, DetailsScreen):
            self.screen.show(picture, self._events, self._now_s())

    def _show_title(self) -> None:
        arrangement = self._arrangement
        picture = self._picture
        notes = notes_of(
            is_paused=self._source.is_paused,
            sort=arrangement.sort.value,
            is_reversed=arrangement.is_reversed,
            shown=len(self._shown),
            of=len(picture.rows) if picture is not None else 0,
            words_=" ".join(arrangement.words),
        )
        age_s = self._now_s() - picture.at_s if picture is not None else 0.0
        self.screen_stack[0].query_one(Title).show(picture, age_s, notes)

    def _look(self) -> None:
        """Tells the watch what is seen, and marks the shard at the cursor in the slot map."""
        self._source.on_screen = frozenset(row.address for row in self.table.rows_on_screen)
        if self._picture is not None:
            current = self.table.current
            bar = self.screen_stack[0].query_one(SlotMap)
            bar.show(self._picture, current.shard if current is not None else -1)

    def on_node_table_moved(self) -> None:
        self._look()

    def on_resize(self, event: Resize) -> None:
        self._place_feed(event.size.height)

    def _place_feed(self, height: int) -> None:
        panel = self.screen_stack[0].query_one(FeedPanel)
        share = FEED_LARGE_SHARE if self._feed_size is FeedSize.LARGE else FEED_SHARE
        most = height if self._feed_size is FeedSize.LARGE else FEED_HEIGHT_MAX
        panel.styles.height = max(FEED_HEIGHT_MIN, min(most, int(height * share)))
        panel.display = self._feed_size is not FeedSize.NONE and height >= 12

    # ------------------------------------------------------------ keys

    def action_sort(self, step: int) -> None:
        sorts = list(Sort)
        place = (sorts.index(self._arrangement.sort) + step) % len(sorts)
        self._arrange(sort=sorts[place])

    def action_reverse(self) -> None:
        self._arrange(is_reversed=not self._arrangement.is_reversed)

    def action_group(self) -> None:
        self._arrange(is_grouped=not self._arrangement.is_grouped)

    def _arrange(self, **changes: object) -> None:
        self._arrangement = replace(self._arrangement, **changes)  # type: ignore[arg-type]
        self._show()
        self._show_title()

    def action_feed(self) -> None:
        self._feed_size = FeedSize((self._feed_size + 1) % len(FeedSize))
        self._place_feed(self.size.height)

    def action_pause(self) -> None:
        self._source.is_paused = not self._source.is_paused
        if not self._source.is_paused:
            self._source.hurry()
        self._show_title()

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.add_class("open")
        box.focus()

    def action_clear_filter(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._arrange(words=words_of(event.value))

    def on_input_submitted(self) -> None:
        self._close_filter()

    def on_key(self, event: Key) -> None:
        if event.key in ("up", "down") and self.focused is not self.table and not isinstance(self.screen, HelpScreen):
            self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self.table.focus()

    def on_node_table_opened(self, message: NodeTable.Opened) -> None:
        details = DetailsScreen(message.row, self._local)
        self._source.details = message.row.address
        self._source.hurry()

        def closed(_result: None) -> None:
            self._source.details = ""

        self.push_screen(details, closed)
        if self._picture is not None:
            picture = self._picture
            self.call_after_refresh(lambda: details.show(picture, self._events, self._now_s()))
