"""Typed events on their way to a user of `Bus.events()`.

Owns which kinds of events a consumer gets, the limits of its backlog, and the marker for events that did not fit. What
is not wanted never enters the queue, so it cannot push out what is. The queue itself is in `backlog`. Main thread.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from clusterbus import arguments
from clusterbus.cluster.events import ClusterEvent, Event, Message, ModuleReceived
from clusterbus.streams.backlog import Backlog, Stream

Kind = TypeVar("Kind", bound=Event)

BACKLOG_EVENTS_MAX: Final = 4_096
BACKLOG_LEN_MAX_BYTES: Final = 32 * 1024 * 1024
"""The most bytes that the payloads of all waiting message events may have together."""

Kinds = frozenset[type[Any]]
CLUSTER_KINDS: Final[Kinds] = frozenset(typing.get_args(ClusterEvent))
EVERY_KIND: Final[Kinds] = frozenset(typing.get_args(Event))


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The consumer was too slow: `count` events are missing here. `bus.nodes` and `bus.slots` are up to date."""

    count: int


def wanted_kinds(kinds: tuple[object, ...]) -> Kinds:
    """The kinds that a program asks for; without any, all but the messages of programs (`Message`, `ModuleReceived`).

    Raises TypeError for what is no class of an event.
    """
    for kind in kinds:
        if not isinstance(kind, type) or kind not in EVERY_KIND:
            raise arguments.wrong_type("a kind of event", "a class of events, such as clusterbus.NodeFailed", kind)
    return frozenset(kind for kind in kinds if isinstance(kind, type)) or CLUSTER_KINDS


class EventBacklog(Backlog[Kind, EventsLost]):
    """Events that one consumer has not taken yet, oldest first; limited by `events_max` and BACKLOG_LEN_MAX_BYTES."""

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX) -> None:
        """Raises StateError for a limit below 1."""
        super().__init__(
            EventsLost,
            items_max=arguments.integer("backlog", events_max, 1),
            bytes_max=BACKLOG_LEN_MAX_BYTES,
            size_bytes=payload_len_bytes,
        )


class EventStream(Stream[Kind, EventsLost], Generic[Kind]):
    """Events of some kinds from the moment it was made, for one asyncio consumer. It ends when the bus closes, with an
    error if the node broke down.
    """

    def __init__(self, events_max: int = BACKLOG_EVENTS_MAX, kinds: Kinds = CLUSTER_KINDS) -> None:
        super().__init__(EventBacklog(events_max))
        self.kinds = kinds


def payload_len_bytes(event: Event) -> int:
    """Bytes of payload in a message event; 0 for events about the cluster itself."""
    match event:
        case Message(channel=channel, message=message):
            return len(channel) + len(message)
        case ModuleReceived(data=data):
            return len(data)
        case _:
            return 0
