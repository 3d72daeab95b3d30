"""`BlockingBus`: a member of a cluster without an event loop.

Owns the streams that it handed out, and whose calls it takes: those of the thread that made it, which also drives it,
or of all threads where it has a thread of its own. Must never let two threads work on the member at once
(`turn_taking`).
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Self, Unpack

from clusterbus import arguments
from clusterbus.bus.blocking_streams import BlockingEvents, BlockingMessages, BlockingStream
from clusterbus.bus.event_streams import BlockingBusEvents
from clusterbus.bus.owner import Owner
from clusterbus.bus.slot_orders import BlockingSlotOrders
from clusterbus.bus.turn_taking import takes_turns
from clusterbus.bus.waiting import timeout_text
from clusterbus.cluster.events import ClusterEvent, Event, Message, ModuleReceived
from clusterbus.config import Config
from clusterbus.config.typed import Directives
from clusterbus.data_plane import DataPlane, checked_data_plane
from clusterbus.errors import JoinError, StateError
from clusterbus.member.member import Member
from clusterbus.member.membership.leaving import LeaveReport
from clusterbus.member.membership.seeds import parse_all
from clusterbus.runtime.blocking import BlockingNode, broken
from clusterbus.streams.event_stream import BACKLOG_EVENTS_MAX, EventBacklog, EventsLost, Kinds
from clusterbus.streams.message_stream import QUEUED_LEN_MAX_BYTES, QUEUED_MESSAGES_MAX, Wanted

FROM_ELSEWHERE: Final = (
    "another one may call publish, send and wake, and take from the streams that the owner made (get, wait). "
    "BlockingBus(thread=True) has a thread that drives it and takes every call from any thread"
)
"""What a thread can do that does not own the bus."""

LEAVE_SLACK_S: Final = 5.0
"""Leaving keeps its own time; this is beyond it."""


@takes_turns
class BlockingBus(BlockingBusEvents, BlockingSlotOrders):
    """The same member without an event loop. Takes the keywords of `Bus`. It serves no client port.

    It works only while one of its waiting methods runs, in the thread that made it: `wait_events`, `wait_until`,
    `join`, `get` of a stream. If the program stops calling them, the other nodes see a node that hangs. Other threads
    may call `publish`, `send` and `wake`, and take from streams.

    With `thread=True` a thread of its own drives it, and every method may be called from any thread; calls are carried
    out one after the other, and those that wait do not keep others waiting. Callbacks (`on_message`, `data_plane`) and
    conditions run in that thread or in one that gives an order, never two at once, and cannot wait for the bus. The
    thread ends with `close`, which may be called from any thread, and does so by itself when the interpreter ends.
    """

    def __init__(
        self,
        *,
        config_file: str | os.PathLike[str] | None = None,
        backlog: int = BACKLOG_EVENTS_MAX,
        data_plane: DataPlane | None = None,
        seeds: Iterable[str] = (),
        thread: bool = False,
        **directives: Unpack[Directives],
    ) -> None:
        given = parse_all("seeds", seeds)
        path = arguments.path("config_file", config_file) if config_file is not None else None
        data_plane = checked_data_plane(data_plane)
        self._backlog: EventBacklog[ClusterEvent] = EventBacklog(backlog)
        has_thread = arguments.flag("thread", thread)
        self._owner = Owner(FROM_ELSEWHERE)
        self._streams: weakref.WeakSet[BlockingStream[Any, Any]] = weakref.WeakSet()
        self._config = Config.from_keywords(path, **directives)
        self._node: BlockingNode | None = BlockingNode(self._config, data_plane=data_plane)
        self._known_id = self._node.member.state.myself.node_id
        self._node.member.listen(self._on_event)
        self._node.on_close = self._on_close
        self._node.on_fault = self._on_fault
        if given:
            self._node.member.keep_joined(given)
        if has_thread:
            atexit.register(self.close)
            self._node.start_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sends what was published just before, saves nodes.conf, closes every socket and ends all streams and waits.
        Idempotent. In a callback it takes effect when the step ends, and ends the call that drives the bus.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        node = self._node
        if self._owner.is_elsewhere:
            self._node = None
        elif node is not None:
            if not node.has_thread:
                self._owner.check()
            node.close()

    def wake(self) -> None:
        """Ends a `wait_events` early, the present one or the next, and has every `wait_until` look at its condition.

        Any thread may call it: so a thread that has put work into a queue tells the one that drives the bus.
        """
        node = self._node
        if node is not None and not self._owner.is_elsewhere:
            node.wake()

    def wait_events(self, timeout_ms: int) -> list[ClusterEvent | EventsLost]:
        """Drives the node until there are events about the cluster or `wake` is called, at most `timeout_ms`; returns
        all events that wait, oldest first. Messages are not among them (`subscribe`, `events`).

        Of more than `backlog` events (the constructor's) the oldest are kept, and an `EventsLost(count)` stands where
        the others are missing.
        """
        node = self._open()
        node.run(arguments.number("timeout_ms", timeout_ms), lambda: len(self._backlog) > 0 or node.is_woken)
        node.take_wake()
        return self._backlog.take_all()

    def wait_until(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Drives the node until `condition()` is true, which may be at once; it is checked after every step.

        Raises TimeoutError after `timeout_s` seconds, StateError if the bus is closed meanwhile.
        """
        self._wait_until(arguments.function("condition", condition), timeout_s, "the condition")

    def wait_ok(self, timeout_s: float) -> None:
        """As `Bus.wait_ok`, driving the node meanwhile."""
        self._wait_until(lambda: self.is_ok, timeout_s, "the state ok")

    def wait_for_nodes(self, count: int, timeout_s: float) -> None:
        """As `Bus.wait_for_nodes`, driving the node meanwhile."""
        arguments.integer("count", count, 1)
        self._wait_until(lambda: self._reaches(count), timeout_s, self._nodes_text(count))

    def _wait_until(self, condition: Callable[[], object], timeout_s: float, text: str) -> None:
        node = self._open()
        timeout_s = arguments.number("timeout_s", timeout_s, 0)
        if not condition() and not node.run(math.ceil(timeout_s * 1000), lambda: bool(condition())):
            self._open()  # closed meanwhile?
            raise TimeoutError(timeout_text(text, timeout_s))

    def join(self, seeds: Iterable[str], timeout_s: float = 30) -> int:
        """As `Bus.join`, driving the node meanwhile."""
        timeout_s = arguments.number("timeout_s", timeout_s, 0)
        member, joining = self._member(), self._begin_join(seeds)
        try:
            self._wait_until(lambda: joining.is_done, timeout_s, "")
            return self._joined(member)
        except TimeoutError:
            raise JoinError(joining.reasons, timeout_s) from None
        finally:
            member.end_join(joining)

    def leave(self, timeout_s: float = 10, *, with_keys: bool = False) -> LeaveReport:
        """As `Bus.leave`, driving the node meanwhile."""
        member, leaving = self._member(), self._begin_leave(timeout_s, with_keys)
        try:
            self._wait_until(lambda: leaving.is_over, 2 * timeout_s + LEAVE_SLACK_S, "leaving")
            return self._report_of(leaving)
        finally:
            member.end_leave()

    def meet(self, ip: str, port: int, *, bus_port: int | None = None) -> None:
        """As `Bus.meet`; the handshake goes on while the node is driven."""
        self._meet(ip, port, bus_port)

    def forget(self, node_id: str) -> None:
        """As `Bus.forget`."""
        self._forget(node_id)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """As `Bus.set_tags`; the others are told when the node is next driven, or earlier."""
        self._set_tags(tags)

    def publish(self, channel: bytes | str, message: bytes | str, *, sharded: bool = False) -> int:
        """As `Bus.publish`. Any thread may call it."""
        return self._publish(channel, message, sharded)

    def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        """As `Bus.send`. Any thread may call it."""
        return self._send(node_id, module_id, module_type, data)

    def subscribe(
        self,
        *channels: bytes | str,
        patterns: Iterable[bytes | str] = (),
        shard_channels: Iterable[bytes | str] = (),
        max_queued: int = QUEUED_MESSAGES_MAX,
        max_queued_bytes: int = QUEUED_LEN_MAX_BYTES,
    ) -> BlockingMessages:
        """As `Bus.subscribe`, as a plain context manager. Any thread may take the messages:

            with bus.subscribe("news") as messages:
                message = messages.get(timeout_s=1.0)

        The subscription ends with the context.
        """
        wanted = Wanted(channels, patterns, shard_channels)
        messages = BlockingMessages(self, wanted, max_queued, max_queued_bytes)
        self._streams.add(messages)
        return messages

    def _event_stream(self, kinds: Kinds, backlog: int) -> BlockingEvents[Any]:
        self._open()
        stream: BlockingEvents[Any] = BlockingEvents(self, backlog, kinds)
        self._streams.add(stream)
        return stream

    @property
    def _is_open(self) -> bool:
        return self._node is not None

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, Message | ModuleReceived):
            self._backlog.put_nowait(event)
        for stream in list(self._streams):
            if isinstance(stream, BlockingEvents) and type(event) in stream.kinds:
                stream.put_nowait(event)

    def _on_fault(self, fault: BaseException) -> None:
        for stream in list(self._streams):
            stream.close(broken(fault))

    def _on_close(self) -> None:
        self._node = None
        for stream in list(self._streams):
            stream.close()
        atexit.unregister(self.close)

    def _turn(self, *, any_thread: bool) -> AbstractContextManager[object]:
        self._owner.check_process()
        node = self._node
        if node is None:
            return contextlib.nullcontext()  # the call itself says that the bus is closed
        if not (any_thread or node.has_thread):
            self._owner.check()
        return node.turns

    def _driver_here(self, *, waits: bool) -> BlockingNode | None:
        self._owner.check_process()
        node = self._node
        if node is None:
            return None
        if waits:
            node.check_may_wait()
        return node if self._owner.is_here and not node.has_thread and not node.is_driving_here else None

    def _open(self) -> BlockingNode:
        node = self._node
        if node is None:
            raise StateError("the bus is closed")
        if node.fault is not None:
            raise broken(node.fault)
        if not node.turns.is_mine:
            self._owner.check()
        return node

    def _member(self) -> Member:
        return self._open().member
