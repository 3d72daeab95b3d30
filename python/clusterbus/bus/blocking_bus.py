"""`BlockingBus`: a member of a cluster without an event loop.

Owns the calls that drive it. It belongs to the thread that created it; a call from another thread raises StateError.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self, Unpack

from clusterbus import arguments
from clusterbus.bus.any_bus import AnyBus
from clusterbus.bus.owner import Owner
from clusterbus.bus.slot_orders import BlockingSlotOrders
from clusterbus.bus.waiting import timeout_text
from clusterbus.cluster.events import ClusterEvent, Event, Message, ModuleReceived
from clusterbus.config import Config
from clusterbus.config.typed import Directives
from clusterbus.data_plane import DataPlane, checked_data_plane
from clusterbus.errors import JoinError, StateError
from clusterbus.member.member import Member
from clusterbus.member.membership.leaving import LeaveReport
from clusterbus.member.membership.seeds import parse_all
from clusterbus.runtime.blocking import BlockingNode
from clusterbus.streams.event_stream import BACKLOG_EVENTS_MAX, EventBacklog, EventsLost
from clusterbus.streams.message_stream import (
    QUEUED_LEN_MAX_BYTES,
    QUEUED_MESSAGES_MAX,
    Feed,
    MessagesLost,
    ShardChannelEnded,
    Wanted,
    message_backlog,
)

LEAVE_SLACK_S: Final = 5.0
"""Leaving keeps its own time; this is beyond it."""


class BlockingBus(AnyBus, BlockingSlotOrders):
    """The same member without an event loop: it works only while one of its `wait_` methods runs.

    Takes the keywords of `Bus`. It serves no client port. If the program stops calling `wait_` methods, the other nodes
    see a node that hangs.
    """

    def __init__(
        self,
        *,
        config_file: str | os.PathLike[str] | None = None,
        backlog: int = BACKLOG_EVENTS_MAX,
        data_plane: DataPlane | None = None,
        seeds: Iterable[str] = (),
        **directives: Unpack[Directives],
    ) -> None:
        given = parse_all("seeds", seeds)
        path = arguments.path("config_file", config_file) if config_file is not None else None
        data_plane = checked_data_plane(data_plane)
        self._backlog: EventBacklog[ClusterEvent] = EventBacklog(backlog)
        self._owner = Owner()
        self._config = Config.from_keywords(path, **directives)
        self._node: BlockingNode | None = BlockingNode(self._config, data_plane=data_plane)
        self._known_id = self._node.member.state.myself.node_id
        self._node.member.listen(self._on_event)
        if given:
            self._node.member.keep_joined(given)

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
        """Saves nodes.conf and closes every socket. Idempotent.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        if self._node is not None and not self._owner.is_elsewhere:
            self._owner.check()
        node, self._node = self._node, None
        if node is not None and not self._owner.is_elsewhere:
            node.close()

    def wait_events(self, timeout_ms: int) -> list[ClusterEvent | EventsLost]:
        """Drives the node until there are events, at most `timeout_ms`; returns all waiting events, oldest first."""
        node = self._open()
        node.run(arguments.number("timeout_ms", timeout_ms), lambda: len(self._backlog) > 0)
        return self._backlog.take_all()

    def wait_until(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Drives the node until `condition()` is true, which may be at once; it is checked after every step.

        Raises TimeoutError after `timeout_s` seconds.
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
        """As `Bus.publish`; the message leaves when the node is next driven, or earlier."""
        return self._publish(channel, message, sharded)

    def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        """As `Bus.send`; the message leaves when the node is next driven, or earlier."""
        return self._send(node_id, module_id, module_type, data)

    def subscribe(
        self,
        *channels: bytes | str,
        patterns: Iterable[bytes | str] = (),
        shard_channels: Iterable[bytes | str] = (),
        max_queued: int = QUEUED_MESSAGES_MAX,
        max_queued_bytes: int = QUEUED_LEN_MAX_BYTES,
    ) -> BlockingMessages:
        """As `Bus.subscribe`, as a plain context manager; `wait_messages` drives the node and returns the messages:

            with bus.subscribe("news") as messages:
                for message in messages.wait_messages(1000):
                    ...

        The subscription ends with the context.
        """
        wanted = Wanted(channels, patterns, shard_channels)
        return BlockingMessages(self._open, wanted, max_queued, max_queued_bytes)

    @property
    def _is_open(self) -> bool:
        return self._node is not None

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, Message | ModuleReceived):
            self._backlog.put_nowait(event)

    def _open(self) -> BlockingNode:
        if self._node is None:
            raise StateError("the bus is closed")
        self._owner.check()
        return self._node

    def _member(self) -> Member:
        return self._open().member


class BlockingMessages:
    """A subscription made by `BlockingBus.subscribe`; it lasts while its context is entered."""

    def __init__(
        self, node: Callable[[], BlockingNode], wanted: Wanted, max_queued: int, max_queued_bytes: int
    ) -> None:
        self._node = node
        self._wanted = wanted
        self._backlog = message_backlog(max_queued, max_queued_bytes)
        self._feed: Feed | None = None

    def __enter__(self) -> Self:
        if self._feed is not None:
            raise StateError("a subscription is entered once; call subscribe() again")
        put = self._backlog.put_nowait
        self._feed = Feed(self._node().member.pubsub, self._wanted, put, self._backlog.put_always_nowait)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._feed is not None:
            self._feed.subscriptions.leave(self._feed)

    def wait_messages(self, timeout_ms: int) -> list[Message | ShardChannelEnded | MessagesLost]:
        """Drives the node until there are messages, at most `timeout_ms`; returns all waiting ones, oldest first."""
        if self._feed is None:
            raise StateError("the subscription is not entered: with bus.subscribe(...) as messages")
        self._node().run(arguments.number("timeout_ms", timeout_ms), lambda: len(self._backlog) > 0)
        return self._backlog.take_all()
