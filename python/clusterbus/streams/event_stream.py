"""Typed events on their way to a user of `Bus.events()`.

Owns the limit of the backlog and the marker for events that did not fit; the queue itself is `backlog`'s. Main
thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clusterbus.cluster.events import Event, Message, ModuleReceived
from clusterbus.streams.backlog import Backlog, Stream

BACKLOG_EVENTS_MAX: Final = 4_096
BACKLOG_LEN_MAX_BYTES: Final = 32 * 1024 * 1024
"""Payloads of the messages among the waiting events, together."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The consumer was too slow: `count` events are missing here. `bus.nodes` and `bus.slots` are current."""

    count: int


class EventBacklog(Backlog[Event, EventsLost]):
    """Events one consumer has not taken yet, oldest first; at most `events_max` of them and one marker."""

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        super().__init__(
            EventsLost, items_max=events_max, bytes_max=BACKLOG_LEN_MAX_BYTES, size_bytes=payload_len_bytes
        )


class EventStream(Stream[Event, EventsLost]):
    """One asyncio consumer's view of the events, from the moment it was made; ends when the bus closes, and
    with an error when the bus broke down.
    """

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        super().__init__(EventBacklog(events_max))


def payload_len_bytes(event: Event) -> int:
    """Bytes a node put into a message; 0 for events that tell of the cluster itself."""
    match event:
        case Message(channel=channel, message=message):
            return len(channel) + len(message)
        case ModuleReceived(data=data):
            return len(data)
        case _:
            return 0
