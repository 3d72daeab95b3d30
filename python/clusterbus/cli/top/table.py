"""The table of nodes: only the lines on the screen are drawn, however many nodes there are.

Owns the columns, the cursor and how a row is written. Must never draw, measure or copy rows that are not seen. Screen's
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from clusterbus.cli.top import words
from clusterbus.cli.top.colours import ALTERNATE, FAINT, colour_of_shard, style_of_flags
from clusterbus.cli.top.order import Sort
from clusterbus.cli.top.picture import UNOWNED, Row

SLOTS_WIDTH_MAX: Final = 40
NODE_WIDTH_MIN: Final = 15
NODE_WIDTH_MAX: Final = 50
MARK_WIDTH: Final = 2


class Column(NamedTuple):
    """`rank` says which columns a narrow terminal keeps: the lowest. `width` is without the space before it."""

    title: str
    width: int
    rank: int
    text: Callable[[Row, int], str]
    sort: Sort
    is_right: bool = True


def _bytes(row: Row, sent: bool) -> str:
    rates = row.rates
    return words.count(None if rates is None else rates.bytes_sent if sent else rates.bytes_received)


def _class(row: Row, name: str) -> str:
    pair = row.rates.by_class.get(name) if row.rates is not None else None
    return words.count(None if pair is None else pair[0] + pair[1])


FLAGS: Final = "FLAGS"
NODE: Final = "NODE"
SLOTS: Final = "SLOTS"
COLUMNS: Final = (
    Column(NODE, NODE_WIDTH_MIN, 0, lambda row, _: row.address, Sort.NODE, is_right=False),
    Column("ROLE", 7, 2, lambda row, _: row.role, Sort.SHARD, is_right=False),
    Column(SLOTS, 13, 1, words.slots, Sort.SLOTS, is_right=False),
    Column(FLAGS, 9, 0, lambda row, _: words.flags(row), Sort.HEALTH, is_right=False),
    Column("RTT ms", 6, 3, lambda row, _: words.milliseconds(row.rtt_ms), Sort.RTT),
    Column("BUS ms", 6, 7, lambda row, _: words.microseconds(row.bus_rtt_us), Sort.BUS_RTT),
    Column("QUEUE", 5, 4, lambda row, _: words.count(row.queue_len_bytes), Sort.QUEUE),
    Column("OUT/s", 5, 6, lambda row, _: _bytes(row, True), Sort.BYTES_OUT),
    Column("IN/s", 5, 6, lambda row, _: _bytes(row, False), Sort.BYTES_IN),
    Column("MSG/s", 5, 5, lambda row, _: words.count(row.rates.messages if row.rates else None), Sort.MESSAGES),
    Column("GOSSIP", 6, 8, lambda row, _: _class(row, "gossip"), Sort.BYTES_OUT),
    Column("PUBSUB", 6, 9, lambda row, _: _class(row, "pubsub"), Sort.BYTES_OUT),
    Column("MODULE", 6, 10, lambda row, _: _class(row, "module"), Sort.BYTES_OUT),
    Column("EPOCH", 5, 11, lambda row, _: str(row.epoch)[-5:], Sort.SHARD),
    Column("VERSION", 16, 12, lambda row, _: row.version[:16], Sort.NODE, is_right=False),
)


def chosen_columns(width: int, node_width: int) -> list[Column]:
    """The columns that fit, with their widths: NODE as wide as its texts where there is room, SLOTS what is left."""
    columns: list[Column] = []
    used = MARK_WIDTH
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        wanted = column._replace(width=max(NODE_WIDTH_MIN, node_width)) if column.title == NODE else column
        if used + wanted.width + 1 > width and columns:
            break
        columns.append(wanted)
        used += wanted.width + 1
    spare = width - used
    order = [column.title for column in COLUMNS]
    columns.sort(key=lambda column: order.index(column.title))
    return [
        column._replace(width=min(SLOTS_WIDTH_MAX, column.width + spare)) if column.title == SLOTS else column
        for column in columns
    ]


class NodeTable(ScrollView, can_focus=True):
    """Rows of nodes with a cursor. `show` gives it others; the cursor stays on the node that it was on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("enter", "open", "details"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--cursor", "table--header"}
    DEFAULT_CSS = """
    NodeTable { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    NodeTable > .table--cursor { background: $primary 60%; text-style: bold; }
    NodeTable > .table--header { background: $panel; text-style: bold; }
    """

    cursor = reactive(0)

    class Moved(Message):
        """Other lines are on the screen, or the cursor is on another."""

    class Opened(Message):
        """Details of the row at the cursor are wanted."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[Row] = ()
        self._columns: list[Column] = []
        self._sort = Sort.SHARD
        self._is_reversed = False
        self._node_width = NODE_WIDTH_MIN
        self._is_tree = True

    # ------------------------------------------------------------ what is shown

    def show(self, rows: Sequence[Row], sort: Sort, *, is_reversed: bool, is_grouped: bool) -> None:
        """Shows other rows."""
        here = self.current
        self._rows, self._sort, self._is_reversed, self._is_tree = rows, sort, is_reversed, is_grouped
        width = max((len(row.address) for row in rows), default=NODE_WIDTH_MIN)
        self._node_width = min(NODE_WIDTH_MAX, max(NODE_WIDTH_MIN, width))
        self._columns = chosen_columns(self.size.width - 1, self._node_width)
        self.virtual_size = Size(self.size.width - 1, len(rows) + 1)
        if here is not None:
            place = next((number for number, row in enumerate(rows) if row.node_id == here.node_id), None)
            self.set_reactive(NodeTable.cursor, min(self.cursor, max(0, len(rows) - 1)) if place is None else place)
        self.refresh()
        self._keep_in_sight()

    @property
    def current(self) -> Row | None:
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    @property
    def rows_on_screen(self) -> Sequence[Row]:
        first = self.scroll_offset.y
        return self._rows[first : first + max(0, self.size.height - 1)]

    def on_resize(self) -> None:
        self._columns = chosen_columns(self.size.width - 1, self._node_width)
        self.virtual_size = Size(self.size.width - 1, len(self._rows) + 1)
        self._keep_in_sight()
        self.refresh()

    # ------------------------------------------------------------ moving

    def action_move(self, step: int) -> None:
        self._move_to(self.cursor + step)

    def action_page(self, direction: int) -> None:
        self._move_to(self.cursor + direction * max(1, self.size.height - 2))

    def action_edge(self, end: int) -> None:
        self._move_to(len(self._rows) - 1 if end else 0)

    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.Opened(self.current))

    def _move_to(self, place: int) -> None:
        before = self.cursor
        self.set_reactive(NodeTable.cursor, max(0, min(place, len(self._rows) - 1)))
        if self.cursor != before:
            self._keep_in_sight()
            self.refresh()
            self.post_message(self.Moved())

    def _keep_in_sight(self) -> None:
        """Scrolls as little as is needed. The first line of the widget is the header, which stays."""
        height = self.size.height - 1
        if height <= 0:
            return
        first = self.scroll_offset.y
        if self.cursor < first:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= first + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Moved())

    def on_click(self, event: object) -> None:
        y = getattr(event, "y", 0)
        if y > 0:
            self._move_to(self.scroll_offset.y + y - 1)

    # ------------------------------------------------------------ drawing

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._header(width)
        number = self.scroll_offset.y + y - 1
        if number >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[number]
        strip = Strip(self._segments(row)).adjust_cell_length(width)
        at_cursor = number == self.cursor
        return strip.apply_style(self.get_component_rich_style("table--cursor") if at_cursor else self.rich_style)

    def _header(self, width: int) -> Strip:
        style = self.get_component_rich_style("table--header")
        segments = [Segment(" " * MARK_WIDTH, style)]
        seen = False
        for column in self._columns:
            title = column.title
            if column.sort is self._sort and not seen and self._sort is not Sort.SHARD:
                seen = True
                title = f"{'^' if self._is_reversed else 'v'}{title}"
                segments.append(Segment(" ", style))
                segments.append(Segment(_fitted(title, column), style + Style(reverse=True)))
            else:
                segments.append(Segment(" " + _fitted(title, column), style))
        return Strip(segments).adjust_cell_length(width, style)

    def _segments(self, row: Row) -> list[Segment]:
        colour = FAINT if row.shard == UNOWNED else colour_of_shard(row.shard)
        mark = "█ " if row.is_primary or not self._is_tree else "└ "
        segments = [Segment(mark, colour)]
        for number, column in enumerate(self._columns):
            if row.error and column.is_right:
                # What a silent node cannot tell, its reason takes the place of.
                room = sum(rest.width + 1 for rest in self._columns[number:])
                segments.append(Segment(f" {row.error}"[:room].ljust(room), ALTERNATE["bad"]))
                return segments
            text = _fitted(column.text(row, column.width), column)
            style = style_of_flags(row) if column.title == FLAGS else None if row.is_primary else ALTERNATE["replica"]
            segments.append(Segment(" " + text, style))
        if row.error:
            segments.append(Segment(f" {row.error}", ALTERNATE["bad"]))
        return segments


def _fitted(text: str, column: Column) -> str:
    if len(text) > column.width:
        return text[: column.width - 1] + "…"
    return text.rjust(column.width) if column.is_right else text.ljust(column.width)
