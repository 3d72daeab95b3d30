"""What happened, as lines of text: for people who study one seed, and to compare two runs of it.

Owns the form of a line: virtual milliseconds, the host, what it did or what was done to it. Written only on request; a
run without a trace makes the same draws and has the same events. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from clusterbus.cluster.constants import message_name
from clusterbus.cluster.events import Event
from clusterbus.sim.timeline import Timeline
from clusterbus.wire import Packet

SHORT_ID_LEN: Final = 8
VERBOSE_MESSAGES: Final = frozenset({"ping", "pong"})
"""Messages that only a verbose trace shows."""
VERBOSE_LEVELS: Final = frozenset({"debug", "verbose"})
"""Log levels that only a verbose trace shows."""


class Trace:
    """Lines in the order in which things happened. `write` gets each line at once; without it they are kept in `lines`.

    `verbose` adds heartbeats, and the debug and verbose lines of the members' logs.
    """

    def __init__(
        self, timeline: Timeline, *, write: Callable[[str], None] | None = None, verbose: bool = False
    ) -> None:
        self.lines: list[str] = []
        self._timeline = timeline
        self._write = write if write is not None else self.lines.append
        self._verbose = verbose

    def note(self, who: str, what: str) -> None:
        """Writes one line. `who` is the name of a host, or `net` or `operator`."""
        self._write(f"{self._timeline.now_us / 1000:12.3f} {who:>4} {what}")

    def received(self, who: str, packet: Packet) -> None:
        """A packet came out of the network."""
        name = message_name(packet.type)
        if self._verbose or name not in VERBOSE_MESSAGES:
            self.note(who, f"<- {packet.sender[:SHORT_ID_LEN]} {name} {_header_text(packet)}")

    def sent(self, who: str, packet: Packet, receivers: Sequence[str]) -> None:
        """A message was handed to the engine."""
        name = message_name(packet.type)
        if self._verbose or name not in VERBOSE_MESSAGES:
            self.note(who, f"-> {','.join(receivers)} {name} {_epochs_text(packet)}")

    def event(self, who: str, event: Event) -> None:
        """A member reported an event."""
        fields = (f"{name}={_short(getattr(event, name))}" for name in event.__slots__)
        self.note(who, f"!! {type(event).__name__} {' '.join(fields)}")

    def log(self, who: str, level: str, text: str) -> None:
        """A member logged a line."""
        if self._verbose or level not in VERBOSE_LEVELS:
            self.note(who, f"## {text}")


def _header_text(packet: Packet) -> str:
    text = _epochs_text(packet)
    mentioned = ",".join(f"{entry.node_id[:SHORT_ID_LEN]}:{entry.flags}" for entry in packet.gossip)
    return f"{text} gossip {mentioned}" if mentioned else text


def _epochs_text(packet: Packet) -> str:
    return "light" if packet.is_light else f"epoch {packet.current_epoch}/{packet.config_epoch}"


def _short(value: object) -> str:
    text = str(value)
    return text[:SHORT_ID_LEN] if isinstance(value, str) else text
