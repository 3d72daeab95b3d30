"""Typed events on their way to a user of `Bus.events()`.

Owns the limits of the backlog and the marker for events that did not fit. The queue itself is in `backlog`. Main
thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clusterbus.cluster.events import Event, Message, ModuleReceived
from clusterbus.streams.backlog import Backlog, Stream

BACKLOG_EVENTS_MAX: Final = 4_096
BACKLOG_LEN_MAX_BYTES: Final = 32 * 1024 * 1024
"""The most bytes that the payloads of all waiting message events may have together."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The consumer was too slow: `count` events are missing here. `bus.nodes` and `bus.slots` are up to date."""

    count: int


class EventBacklog(Backlog[Event, EventsLost]):
    """Events that one consumer has not taken yet, oldest first; limited by `events_max` and BACKLOG_LEN_MAX_BYTES."""

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        super().__init__(
            EventsLost, items_max=events_max, bytes_max=BACKLOG_LEN_MAX_BYTES, size_bytes=payload_len_bytes
        )


class EventStream(Stream[Event, EventsLost]):
    """All events from the moment it was made, for one asyncio consumer. It ends when the bus closes, with an error if
    the node broke down.
    """

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        super().__init__(EventBacklog(events_max))


def payload_len_bytes(event: Event) -> int:
    """Bytes of payload in a message event; 0 for events about the cluster itself."""
    match event:
        case Message(channel=channel, message=message):
            return len(channel) + len(message)
        case ModuleReceived(data=data):
            return len(data)
        case _:
            return 0
