"""`Bus` and `BlockingBus`: a member of a cluster inside a Python program.

Owns the public face of a node: keyword arguments in, typed events and frozen snapshots out. Must never let a user touch
the state itself. A `Bus` belongs to the event loop that opened it, a `BlockingBus` to the thread that created it; a
call from another thread raises StateError.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self, TypeVar

from clusterbus.client_port.info import info_table
from clusterbus.cluster.events import Event, Message
from clusterbus.cluster.pubsub import PAYLOAD_LEN_MAX_BYTES
from clusterbus.command import Command, Function
from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, StateError
from clusterbus.member.counters import cluster_info_lines
from clusterbus.member.member import Member
from clusterbus.member.pubsub import ModuleCallback
from clusterbus.runtime.blocking import BlockingNode
from clusterbus.runtime.node import AsyncioNode
from clusterbus.streams.event_stream import BACKLOG_EVENTS_MAX, EventBacklog, EventsLost, EventStream
from clusterbus.streams.message_stream import (
    QUEUED_LEN_MAX_BYTES,
    QUEUED_MESSAGES_MAX,
    Feed,
    MessagesLost,
    MessageStream,
    ShardChannelEnded,
    Wanted,
    bytes_of,
    message_backlog,
)
from clusterbus.streams.snapshots import (
    LinkSnapshot,
    NodeSnapshot,
    SlotRange,
    link_snapshots,
    node_snapshots,
    slot_ranges,
)

PUBLISH_LEN_MAX_BYTES: Final = PAYLOAD_LEN_MAX_BYTES
"""The most that one packet of the bus can carry: channel and message together, or the data of a module message."""


Decorated = TypeVar("Decorated", bound=Function)


class _Owner:
    """The thread and the process that a bus lives in. A forked process has no I/O threads, so it is not a member."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._process_id = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process is a fork of the owning one."""
        return os.getpid() != self._process_id

    def check(self) -> None:
        """Raises StateError for any other thread or process."""
        if self.is_elsewhere:
            raise StateError(f"the bus stayed in process {self._process_id}, which this one was forked from")
        if threading.get_ident() != self._thread_id:
            raise StateError(
                "the bus belongs to the thread that opened it; from another, hand over to its event loop "
                "(call_soon_threadsafe, run_coroutine_threadsafe)"
            )


class _AnyBus(ABC):
    """The part that `Bus` and `BlockingBus` share: everything that does not wait."""

    @abstractmethod
    def _member(self) -> Member:
        """The member behind an open bus. Raises StateError if it is not open, or in another thread or process."""

    @property
    def node_id(self) -> str:
        """This node's id, 40 hex characters; nodes.conf keeps it over restarts."""
        return self._member().state.myself.node_id

    @property
    def nodes(self) -> dict[str, NodeSnapshot]:
        """A snapshot of every known node by id, this one included."""
        return node_snapshots(self._member())

    @property
    def slots(self) -> tuple[SlotRange, ...]:
        """A snapshot of the owned hash slots as ranges, ascending, each with its owner."""
        return slot_ranges(self._member())

    @property
    def is_ok(self) -> bool:
        """Whether the state of the cluster is ok (cluster_state of CLUSTER INFO)."""
        return self._member().state.is_ok

    def links(self) -> list[LinkSnapshot]:
        """A snapshot of every link that is up."""
        return link_snapshots(self._member())

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as a table; every value is text."""
        return {name: str(value) for name, value in cluster_info_lines(self._member().driver)}

    def _meet(self, ip: str, port: int, bus_port: int | None) -> None:
        member = self._member()
        member.state.meet(ip, port, bus_port, member.clock.now_ms())
        member.settle()

    def _forget(self, node_id: str) -> None:
        member = self._member()
        member.state.forget(node_id, member.clock.now_ms())
        member.settle()

    def on_message(self, callback: ModuleCallback) -> Callable[[], None]:
        """Calls `callback(ModuleReceived)` for every module message that another node sends to this one, in order.

        Call the returned function to stop. `events()` yields the same `ModuleReceived` without any callback.
        The callback runs on the main loop, which waits for it, so it should only hand the work on. An exception out of
        it is logged and counted (`cluster_callback_errors`), and stops nothing.
        Raises StateError if the bus is not open. Source: `RedisModule_RegisterClusterMessageReceiver`.
        """
        return self._member().pubsub.on_message(callback)

    def _publish(self, channel: bytes | str, message: bytes | str, sharded: bool) -> int:
        member = self._member()
        channel, message = bytes_of(channel), bytes_of(message)
        if sharded:
            member.pubsub.check_slot_is_ours(channel)
        _own, reached = member.pubsub.publish(channel, message, sharded=sharded)
        member.settle()
        return reached

    def _send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        member = self._member()
        reached = member.pubsub.send(node_id, module_id, module_type, bytes_of(data))
        member.settle()
        return reached


class Bus(_AnyBus):
    """A member of a Valkey or Redis cluster on asyncio (or uvloop), used as an async context manager.

    Keyword arguments are valkey.conf's directives with underscores (`port=7000`, `io_threads=3`,
    `cluster_node_timeout=2000`, `bind=["127.0.0.1"]`, `dir=...`). `config_file` names a file in valkey.conf's format;
    the keywords override it.

    A node announces its client port to the cluster, so the bus serves it: `redis-cli -p PORT cluster nodes` and cluster
    clients work. With `resp=False` the client port stays closed and `port` is only announced; the bus still listens
    on `port` + 10000 (see `cluster_port`).

    `data_plane` keeps data beside the bus; `commands` (or the decorator `command`) serve it on the client port.

    The constructor raises ConfigError for a wrong directive. Opening the bus raises ConfigError for anything that
    cannot be opened: a port in use, a nodes.conf that is damaged or in use by another node, an unreadable certificate.
    """

    def __init__(
        self,
        *,
        config_file: str | os.PathLike[str] | None = None,
        resp: bool = True,
        data_plane: DataPlane | None = None,
        commands: Iterable[Command] = (),
        **directives: object,
    ) -> None:
        path = os.fspath(config_file) if config_file is not None else None
        self._config = Config.from_keywords(path, **directives)
        self._resp = resp
        self._data_plane = data_plane
        self._commands = list(commands)
        self._node: AsyncioNode | None = None
        self._owner = _Owner()
        self._streams: weakref.WeakSet[EventStream | MessageStream] = weakref.WeakSet()

    def command(
        self,
        name: str,
        *,
        keys: tuple[int, int, int] | None = None,
        flags: tuple[str, ...] | None = None,
        arity: int | None = None,
        summary: str = "",
    ) -> Callable[[Decorated], Decorated]:
        """Decorates a function that answers a command of the client port. The parameters are those of `Command`.

        Use it before the bus is opened. Raises StateError afterwards, and where `Command` does.
        """

        def add(function: Decorated) -> Decorated:
            if self._node is not None:
                raise StateError("commands are added before the bus is opened")
            self._commands.append(Command(name, function, keys, flags, arity, summary))
            return function

        return add

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Starts the node; entering the context does the same. Raises ConfigError, or StateError if it is open."""
        if self._node is not None:
            raise StateError("the bus is open already")
        self._owner = _Owner()
        node = AsyncioNode(
            self._config,
            resp=self._resp,
            data_plane=self._data_plane,
            commands=[command.spec() for command in self._commands],
        )
        await node.start()
        self._node = node
        node.on_fault = self._on_fault
        node.member.listen(self._on_event)

    async def close(self) -> None:
        """Saves nodes.conf, closes every socket, and ends all event and message streams. Idempotent.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        if self._node is not None and not self._owner.is_elsewhere:
            self._owner.check()
        node, self._node = self._node, None
        if self._owner.is_elsewhere:
            return
        try:
            if node is not None:
                await node.stop()
        finally:
            for stream in list(self._streams):
                stream.close()
            self._streams.clear()

    async def wait_stopped(self) -> None:
        """Returns when the node should be closed: a client sent SHUTDOWN, or the node broke down."""
        await self._started().stop_requested.wait()

    def events(self, *, backlog: int = BACKLOG_EVENTS_MAX) -> EventStream:
        """Returns an async iterator over all typed events from now on.

        It ends when the bus closes. It raises ClusterBusError if the node breaks down, which is a fault of this
        package. Each call makes an independent stream. If more than `backlog` events wait for a slow consumer, further
        events are dropped; an `EventsLost(count)` stands where they are missing, and `nodes` and `slots` show the
        present state.
        """
        self._started()
        stream = EventStream(backlog)
        self._streams.add(stream)
        return stream

    async def meet(self, ip: str, port: int, *, bus_port: int | None = None) -> None:
        """CLUSTER MEET: begins to join the cluster of the node at `ip`:`port`.

        A NodeJoined event reports each node that this one then knows. `bus_port` defaults to `port` + 10000. Raises
        StateError for a bad address.
        """
        self._meet(ip, port, bus_port)

    async def forget(self, node_id: str) -> None:
        """CLUSTER FORGET: removes a node and keeps it out for a minute. Raises StateError if it is unknown, this node
        itself, or this replica's primary."""
        self._forget(node_id)

    async def publish(self, channel: bytes | str, message: bytes | str, *, sharded: bool = False) -> int:
        """PUBLISH: delivers a message to this node's subscribers and sends it to every connected node for theirs.

        With `sharded` it is SPUBLISH: the message goes to the nodes of this node's shard only, and to subscribers of
        the shard channel. Returns the number of nodes it was sent to. Text is sent as UTF-8. There is no reply and no
        second try: a node that is unreachable, or too far behind in reading, misses the message. The sender gets no
        Message event.

        Raises StateError if channel and message exceed PUBLISH_LEN_MAX_BYTES and, with `sharded`, if this shard does
        not own the channel's slot. Source: `clusterPropagatePublish`.
        """
        return self._publish(channel, message, sharded)

    def subscribe(
        self,
        *channels: bytes | str,
        patterns: Iterable[bytes | str] = (),
        shard_channels: Iterable[bytes | str] = (),
        max_queued: int = QUEUED_MESSAGES_MAX,
        max_queued_bytes: int = QUEUED_LEN_MAX_BYTES,
    ) -> MessageStream:
        """Subscribes to messages that any node of the cluster publishes on these channels, inside the context:

            async with bus.subscribe("news", patterns=["sport.*"]) as messages:
                async for message in messages:
                    ...

        Each message comes once, as a `Message`, in the order of arrival at this node. At most `max_queued` messages of
        `max_queued_bytes` bytes together wait for the consumer. Further ones are dropped, and a `MessagesLost(count)`
        stands where they are missing. Patterns are Valkey's globs. `shard_channels` receive messages published with
        `sharded` in this node's shard; if the channel's slot leaves the shard, a `ShardChannelEnded` is the last item
        for that channel.

        Raises StateError if there is nothing to subscribe to or a limit is below 1. Entering the context raises it if
        the bus is not open, a pattern is too long, or this shard does not own a shard channel's slot. Source: row S7.
        """
        wanted = Wanted(channels, patterns, shard_channels)
        stream = MessageStream(
            lambda: self._member().pubsub, wanted, max_queued=max_queued, max_queued_bytes=max_queued_bytes
        )
        self._streams.add(stream)
        return stream

    async def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        """Sends a module message to one node, or to every connected node if `node_id` is None.

        Returns the number of nodes it was sent to. `module_id` (64 bits) and `module_type` (8 bits) tell the receiver
        which module it is for; text is sent as UTF-8. There is no reply and no second try. Raises StateError if the
        node is unknown or not connected, a number is out of range, or the data exceeds PUBLISH_LEN_MAX_BYTES. Source:
        `clusterSendModule`.
        """
        return self._send(node_id, module_id, module_type, data)

    def info(self) -> dict[str, dict[str, str]]:
        """INFO as a table: section in lower case -> name -> value as text."""
        return info_table(self._member())

    def _started(self) -> AsyncioNode:
        if self._node is None:
            raise StateError("the bus is not open")
        self._owner.check()
        return self._node

    def _member(self) -> Member:
        return self._started().member

    def _on_fault(self, fault: Exception) -> None:
        for stream in list(self._streams):
            error = ClusterBusError(f"the node broke down: {fault!r}")
            error.__cause__ = fault
            stream.close(error)

    def _on_event(self, event: Event) -> None:
        for stream in list(self._streams):
            if isinstance(stream, EventStream):
                stream.put_nowait(event)


class BlockingBus(_AnyBus):
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
        **directives: object,
    ) -> None:
        path = os.fspath(config_file) if config_file is not None else None
        self._backlog = EventBacklog(backlog)
        self._owner = _Owner()
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
