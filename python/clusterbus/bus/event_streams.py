"""`events()` of both buses: streams of the kinds of events that a program asks for, and their types.

Owns the overloads that tell a type checker what a stream yields: of up to five kinds exactly those. Must never let an
event that nobody asked for into a queue. The owner's thread.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar, overload

from clusterbus.bus.any_bus import AnyBus
from clusterbus.bus.blocking_streams import BlockingEvents
from clusterbus.cluster.events import ClusterEvent, Event
from clusterbus.streams.event_stream import BACKLOG_EVENTS_MAX, EventStream, Kinds, wanted_kinds

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)
E = TypeVar("E", bound=Event)


class AsyncioEvents(AnyBus):
    """The part of `Bus` about events."""

    @overload
    def events(self, *, backlog: int = ...) -> EventStream[ClusterEvent]: ...
    @overload
    def events(self, a: type[A], /, *, backlog: int = ...) -> EventStream[A]: ...
    @overload
    def events(self, a: type[A], b: type[B], /, *, backlog: int = ...) -> EventStream[A | B]: ...
    @overload
    def events(self, a: type[A], b: type[B], c: type[C], /, *, backlog: int = ...) -> EventStream[A | B | C]: ...
    @overload
    def events(
        self, a: type[A], b: type[B], c: type[C], d: type[D], /, *, backlog: int = ...
    ) -> EventStream[A | B | C | D]: ...
    @overload
    def events(
        self, a: type[A], b: type[B], c: type[C], d: type[D], e: type[E], /, *, backlog: int = ...
    ) -> EventStream[A | B | C | D | E]: ...
    @overload
    def events(self, *kinds: type[Event], backlog: int = ...) -> EventStream[Event]: ...
    def events(self, *kinds: type[Any], backlog: int = BACKLOG_EVENTS_MAX) -> EventStream[Any]:
        """Returns an async iterator over the events of these kinds from now on, in order:

            async for event in bus.events(NodeFailed, SlotsChanged):
                ...

        Without `kinds` it has every event about the cluster, and none of the messages that programs send: `Message` and
        `ModuleReceived` come only if asked for, as `subscribe` and `on_message` are the better way to have them. What
        is not asked for takes no room in the queue.

        Each call makes an independent stream. At most `backlog` events wait for its consumer. Those that find no room
        are dropped, so the oldest ones are kept; an `EventsLost(count)` stands where the dropped ones are missing, and
        `nodes` and `slots` show the present state. The stream ends when the bus closes. It raises ClusterBusError if
        the node breaks down, which is a fault of this package.

        Raises TypeError for what is no class of an event, StateError if the bus is not open or `backlog` is below 1.
        """
        return self._event_stream(wanted_kinds(kinds), backlog)

    @abstractmethod
    def _event_stream(self, kinds: Kinds, backlog: int) -> EventStream[Any]: ...


class BlockingBusEvents(AnyBus):
    """The part of `BlockingBus` about events."""

    @overload
    def events(self, *, backlog: int = ...) -> BlockingEvents[ClusterEvent]: ...
    @overload
    def events(self, a: type[A], /, *, backlog: int = ...) -> BlockingEvents[A]: ...
    @overload
    def events(self, a: type[A], b: type[B], /, *, backlog: int = ...) -> BlockingEvents[A | B]: ...
    @overload
    def events(self, a: type[A], b: type[B], c: type[C], /, *, backlog: int = ...) -> BlockingEvents[A | B | C]: ...
    @overload
    def events(
        self, a: type[A], b: type[B], c: type[C], d: type[D], /, *, backlog: int = ...
    ) -> BlockingEvents[A | B | C | D]: ...
    @overload
    def events(
        self, a: type[A], b: type[B], c: type[C], d: type[D], e: type[E], /, *, backlog: int = ...
    ) -> BlockingEvents[A | B | C | D | E]: ...
    @overload
    def events(self, *kinds: type[Event], backlog: int = ...) -> BlockingEvents[Event]: ...
    def events(self, *kinds: type[Any], backlog: int = BACKLOG_EVENTS_MAX) -> BlockingEvents[Any]:
        """As `Bus.events`: the events of these kinds from now on, to be taken one at a time or all that wait:

            failures = bus.events(NodeFailed, NodeUnreachable)
            while True:
                event = failures.get()

        Kinds, queue and losses are those of `Bus.events`, and so are its errors.
        """
        return self._event_stream(wanted_kinds(kinds), backlog)

    @abstractmethod
    def _event_stream(self, kinds: Kinds, backlog: int) -> BlockingEvents[Any]: ...
