"""What happened, as lines of text: for people who look at one seed, and for comparing two runs of it.

Owns the form of a line: virtual milliseconds, the member, what it did or what was done to it. Written only
when somebody asked for it; a run without a trace makes the same draws and the same events. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from clusterbus.cluster.constants import MESSAGE_NAMES
from clusterbus.cluster.effects import BindLink, Broadcast, CloseLink, Dial, Effect, Log, Notify, Refuse, Save, Send, SendHeartbeat
from clusterbus.sim.timeline import Timeline
from clusterbus.wire import Message, Packet

SHORT_ID_LEN: Final = 8
QUIET_MESSAGES: Final = frozenset({"ping", "pong"})


class Trace:
    """Lines in the order they happened. `write` gets each as it comes; without it they are kept in `lines`.

    `verbose` adds heartbeats and the debug lines of the members' logs.
    """

    def __init__(
        self, timeline: Timeline, *, write: Callable[[str], None] | None = None, verbose: bool = False
    ) -> None:
        self.lines: list[str] = []
        self._timeline = timeline
        self._write = write if write is not None else self.lines.append
        self._verbose = verbose

    def note(self, who: str, what: str) -> None:
        """One line. `who` is a member's name, or `net` or `operator`."""
        self._write(f"{self._timeline.now_us / 1000:12.3f} {who:>4} {what}")

    def packet(self, who: str, packet: Packet) -> None:
        """A packet is about to be applied."""
        name = message_name(packet.type)
        if self._verbose or name not in QUIET_MESSAGES:
            self.note(who, f"<- {packet.sender[:SHORT_ID_LEN]} {name} {_header_text(packet)}")

    def effects(self, who: str, effects: Iterable[Effect]) -> None:
        """What a member asked for."""
        for effect in effects:
            text = self._effect_text(effect)
            if text:
                self.note(who, text)

    def _effect_text(self, effect: Effect) -> str:
        if isinstance(effect, Send | Broadcast):
            name = message_name(effect.message.type)
            if not self._verbose and name in QUIET_MESSAGES:
                return ""
            where = f"link {effect.link}" if isinstance(effect, Send) else f"{len(effect.links)} links"
            return f"-> {where} {name} {_epochs_text(effect.message)}"
        if isinstance(effect, SendHeartbeat):
            return f"-> link {effect.link} {message_name(effect.kind)}" if self._verbose else ""
        if isinstance(effect, Notify):
            return f"!! {_event_text(effect)}"
        if isinstance(effect, Log):
            return f"## {effect.text}" if self._verbose or effect.level != "debug" else ""
        if isinstance(effect, Save):
            return "saves nodes.conf durably" if effect.durable else "saves nodes.conf"
        if isinstance(effect, Dial):
            return f"dials {effect.ip}:{effect.cport} ({effect.node_id[:SHORT_ID_LEN]})"
        if isinstance(effect, BindLink):
            return f"link {effect.link} is {effect.node_id[:SHORT_ID_LEN]}'s" if self._verbose else ""
        if isinstance(effect, Refuse):
            return f"## {effect.peer}: {effect.text}"
        assert isinstance(effect, CloseLink)
        return f"closes link {effect.link}: {effect.reason}"


def message_name(kind: int) -> str:
    """The name of a message type."""
    return MESSAGE_NAMES[kind] if kind < len(MESSAGE_NAMES) else f"type-{kind}"


def _header_text(packet: Packet) -> str:
    text = f"epoch {packet.current_epoch}/{packet.config_epoch}"
    mentioned = ",".join(f"{entry.node_id[:SHORT_ID_LEN]}:{entry.flags}" for entry in packet.gossip)
    return f"{text} gossip {mentioned}" if mentioned else text


def _epochs_text(message: Message) -> str:
    header = message.header
    return f"epoch {header.current_epoch}/{header.config_epoch}" if header is not None else "light"


def _event_text(effect: Notify) -> str:
    event = effect.event
    fields = (f"{name}={_short(getattr(event, name))}" for name in event.__slots__)
    return f"{type(event).__name__} {' '.join(fields)}"


def _short(value: object) -> str:
    text = str(value)
    return text[:SHORT_ID_LEN] if isinstance(value, str) else text
