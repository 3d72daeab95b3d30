"""`BlockingBus`: a member of a cluster without an event loop.

Owns the calls that drive it. It belongs to the thread that created it; a call from another thread raises StateError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, Unpack

from clusterbus.bus.any_bus import AnyBus
from clusterbus.bus.owner import Owner
from clusterbus.cluster.events import Event, Message
from clusterbus.config import Config
from clusterbus.config.typed import Directives
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.member.member import Member
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


class BlockingBus(AnyBus):
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
        **directives: Unpack[Directives],
    ) -> None:
        path = os.fspath(config_file) if config_file is not None else None
        self._backlog = EventBacklog(backlog)
        self._owner = Owner()
        self._node: BlockingNode | None = BlockingNode(Config.from_keywords(path, **directives), data_plane=data_plane)
        self._node.member.listen(self._backlog.put_nowait)

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

    def wait_events(self, timeout_ms: int) -> list[Event | EventsLost]:
        """Drives the node until there are events, at most `timeout_ms`; returns all waiting events, oldest first."""
        self._open().run(timeout_ms, lambda: len(self._backlog) > 0)
        return self._backlog.take_all()

    def wait_until(self, condition: Callable[[], bool], timeout_ms: int) -> bool:
        """Drives the node until `condition()` is true, at most `timeout_ms`; returns whether it is.

        The condition is checked after every step.
        """
        return self._open().run(timeout_ms, condition)

    def meet(self, ip: str, port: int, *, bus_port: int | None = None) -> None:
        """As `Bus.meet`; the handshake goes on while the node is driven."""
        self._meet(ip, port, bus_port)

    def forget(self, node_id: str) -> None:
        """As `Bus.forget`."""
        self._forget(node_id)

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
        """
        wanted = Wanted(channels, patterns, shard_channels)
        return BlockingMessages(self._open, wanted, max_queued, max_queued_bytes)

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
        self._node().run(timeout_ms, lambda: len(self._backlog) > 0)
        return self._backlog.take_all()
