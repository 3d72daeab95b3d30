"""The screens over the table: the details of one node, and the help.

Owns their text. Must never show more of a node than it said itself or others said of it. Screen's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import struct_time
from typing import ClassVar, Final

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from clusterbus.cli.top import words
from clusterbus.cli.top.colours import ALTERNATE, FAINT, style_of_flags
from clusterbus.cli.top.feed import Event
from clusterbus.cli.top.panels import event_text
from clusterbus.cli.top.picture import Health, Picture, Row

LABEL_WIDTH: Final = 13
EVENTS_SHOWN: Final = 8
HELP: Final = """\
up down j k  page-up page-down  home end   move
enter        details of the node           esc  back
/            filter: words that address, id, role, version, flags
             or reason must hold; "fail", "silent", "replica", "shard:2"
s  S         sort by the next, the one before
r            turn the order round
g            shards together, or each node alone
f            feed: small, large, none
space  p     pause: nothing is asked, the picture stays
h  ?         this help                     q  ctrl-c  quit

FLAGS   FAIL 3/5: three of the five other views hold it failed;
        FAIL: all do; fail? 1/5: suspected; known 2/6: two of six
        list it; disputed: it claims slots of a node of a higher
        epoch; sees fail: it holds the cluster failed
RTT     of a question from here to the client port
BUS     median of what clusterbus nodes measured on the bus
QUEUE   bytes that wait on its links to its peers
OUT IN  bytes a second on the bus; MSG/s messages both ways
SLOTS   \u2588 owned, in the colour of the shard, white at the cursor;
        \u2592 owner failed or silent; \u2591 nobody's
"""


class Sheet(ModalScreen[None]):
    """A box with text over the table, closed by escape, enter or q."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,h,question_mark", "dismiss", "back", show=False)]
    DEFAULT_CSS = """
    Sheet { align: center middle; }
    Sheet > VerticalScroll {
        width: 84; max-width: 96%; height: auto; max-height: 96%; padding: 0 1;
        border: round $primary; background: $surface;
    }
    Sheet Static { height: auto; }
    """

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._heading = title
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._heading
            yield Static(self._text)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class HelpScreen(Sheet):
    def __init__(self) -> None:
        super().__init__("keys and columns", Text(HELP.rstrip("\n")))


class DetailsScreen(Sheet):
    """All that is known of one node; `show` brings it up to date."""

    def __init__(self, row: Row, local: Callable[[float], struct_time]) -> None:
        super().__init__(row.address, Text())
        self.node_id = row.node_id
        self._local = local

    def show(self, picture: Picture, events: Sequence[Event], now_s: float) -> None:
        row = next((row for row in picture.rows if row.node_id == self.node_id), None)
        text = Text(f"{self.node_id} is gone: no node lists it any more")
        if row is not None:
            own = [event for event in events if event.node_id == self.node_id][-EVENTS_SHOWN:]
            text = details_text(row, picture, own, now_s, self._local)
        self.query_one(Static).update(text)


def details_text(
    row: Row, picture: Picture, events: Sequence[Event], now_s: float, local: Callable[[float], struct_time]
) -> Text:
    text = Text()
    for label, value, style in _lines(row, picture, now_s):
        text.append(label.ljust(LABEL_WIDTH), FAINT).append(value + "\n", style)
    if events:
        text.append("\n")
    return text.append(Text("\n").join(event_text(event, local) for event in events))


def _lines(row: Row, picture: Picture, now_s: float) -> Iterator[tuple[str, str, Style | None]]:
    names = {other.node_id: other for other in picture.rows}
    yield "id", row.node_id, None
    yield "address", row.address + (f", {row.hostname}" if row.hostname else ""), None
    if row.error:
        yield "no answer", row.error, ALTERNATE["bad"]
    if row.version:
        yield "server", row.version, None
    yield "role", _role(row, names), None
    replicas = [other.address for other in picture.rows if other.primary_id == row.node_id and not other.is_primary]
    if row.is_primary:
        yield "replicas", ", ".join(replicas) or "none", None if replicas else ALTERNATE["warning"]
        yield "slots", f"{row.slots}: {words.ranges_text(row.ranges)}" if row.slots else "none", None
    if row.disputed:
        yield "disputed", f"claims {row.disputed} slots that a node of a higher epoch has", ALTERNATE["bad"]
    for name, way, moves in (("migrating", "to", row.migrating), ("importing", "from", row.importing)):
        for slot, node_id in moves:
            other = names[node_id].address if node_id in names else node_id
            yield name, f"slot {slot} {way} {other}", ALTERNATE["warning"]
    yield "epoch", str(row.epoch), None
    yield "flags", words.flags(row), style_of_flags(row)
    yield "seen by", _seen(row), None
    if row.state:
        yield "sees cluster", row.state, None if row.state == "ok" else ALTERNATE["bad"]
    if row.asked_at_s is not None:
        yield "asked", f"{words.age(now_s - row.asked_at_s)} ago", None
    if row.rtt_ms is not None:
        bus = f", on the bus {words.microseconds(row.bus_rtt_us)} ms" if row.bus_rtt_us is not None else ""
        yield "round trip", f"{words.milliseconds(row.rtt_ms)} ms from here{bus}", None
    if row.links is not None:
        yield "links", f"{row.links}, {row.queue_len_bytes} bytes wait to be sent", None
    yield from _rates(row)
    for question, reason in row.refused.items():
        yield "not told", f"{question}: {reason}", ALTERNATE["warning"]


def _role(row: Row, names: dict[str, Row]) -> str:
    if row.is_primary:
        return f"primary of shard {row.shard + 1}"
    primary = names.get(row.primary_id or "")
    return f"replica of {primary.label if primary is not None else row.primary_id or 'nobody'}"


def _seen(row: Row) -> str:
    parts = [f"listed in {row.known_by} of {row.views} views"]
    parts += [f"failed in {row.failed_by}"] * bool(row.failed_by)
    parts += [f"suspected in {row.suspected_by}"] * bool(row.suspected_by)
    return ", ".join(parts) + ("" if row.health is not Health.WELL else ", well in all")


def _rates(row: Row) -> Iterator[tuple[str, str, Style | None]]:
    rates = row.rates
    if rates is None:
        return
    yield "messages/s", f"{words.count(rates.sent)} sent, {words.count(rates.received)} received", None
    for name, (sent, received) in sorted(rates.by_type.items(), key=lambda item: -sum(item[1])):
        if sent + received > 0:
            yield "", f"{name}: {words.count(sent)} sent, {words.count(received)} received", None
    if rates.bytes_sent is None:
        yield "bytes/s", "this server counts none", None
        return
    yield "bytes/s", f"{words.count(rates.bytes_sent)} sent, {words.count(rates.bytes_received)} received", None
    for name, (sent, received) in rates.by_class.items():
        yield "", f"{name}: {words.count(sent)} sent, {words.count(received)} received", None
