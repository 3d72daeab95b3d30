"""`Bus` and `BlockingBus`: a member of a cluster inside a Python program.

Owns the public face of a node: keyword arguments in, typed events and frozen snapshots out. Must never let
a user touch the state itself. `Bus` belongs to the event loop it was entered in, `BlockingBus` to the thread
that made it; neither is to be used from another.
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
from clusterbus.streams.snapshots import LinkView, NodeView, SlotRange, link_views, node_views, slot_ranges

PUBLISH_LEN_MAX_BYTES: Final = PAYLOAD_LEN_MAX_BYTES
"""Channel and message together, or the data of a module message: what one packet of the bus can carry."""


Decorated = TypeVar("Decorated", bound=Function)


class _Owner:
    """The thread and the process a bus lives in. A fork takes neither the I/O threads nor the membership along."""

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
    """What `Bus` and `BlockingBus` share: everything that needs no waiting."""

    @abstractmethod
    def _member(self) -> Member:
        """The member of an open bus. Raises StateError when it is not open, and in another thread or process."""

    @property
    def node_id(self) -> str:
        """This node's id, 40 hex characters; kept in nodes.conf over restarts."""
        return self._member().state.myself.node_id

    @property
    def nodes(self) -> dict[str, NodeView]:
        """Every known node by id, this one included: a snapshot."""
        return node_views(self._member())

    @property
    def slots(self) -> tuple[SlotRange, ...]:
        """Who owns which hash slots, ascending: a snapshot."""
        return slot_ranges(self._member())

    @property
    def is_ok(self) -> bool:
        """Whether the cluster's state is ok, as CLUSTER INFO's cluster_state."""
        return self._member().state.is_ok

    def links(self) -> list[LinkView]:
        """Every TCP connection of the bus: a snapshot."""
        return link_views(self._member())

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as a table, texts as values."""
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
        """Calls `callback(ModuleReceived)` with every module message another node sends this one, in order, until
        the function returned is called. For `clusterbus.ModuleReceived` in `events()` nothing is needed.

        The callback runs on the main loop, which waits for it: it is to hand the work on. What it raises is
        logged and counted (`cluster_callback_errors`), and goes no further.
        Raises StateError when the bus is not open. Source: `RedisModule_RegisterClusterMessageReceiver`.
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
    """A member of a Valkey or Redis cluster on asyncio (and uvloop), used as an async context manager.

    Keyword arguments are valkey.conf's directives with underscores (`port=7000`, `io_threads=3`,
    `cluster_node_timeout=2000`, `bind=["127.0.0.1"]`, `dir=...`); `config_file` names a file in valkey.conf's
    format, which the keywords override.

    The client port is part of what a node announces, so it is served: `redis-cli -p PORT cluster nodes` and
    cluster clients work. `resp=False` leaves it closed; `port` is then only announced, and the bus listens
    on `port` + 10000 as always.

    `data_plane` keeps data beside the bus, and `commands` (or the decorator `command`) serve it on the client port.

    Raises ConfigError for a wrong directive at construction; on entry for what cannot be opened: a port in
    use, a nodes.conf that is damaged or another node's, a certificate that cannot be read.
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
        """Decorates the function that answers a command of the client port; see `Command` for what it gets and
        gives. Before the bus is opened. Raises StateError afterwards, and for a name or keys that cannot be.
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
        """Starts the node; entering the context does it. Raises ConfigError, or StateError when open."""
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
        """Saves nodes.conf, closes every socket, ends the event streams. Idempotent.

        Raises ClusterBusError when nodes.conf could not be saved; everything is closed then all the same.
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
        """Returns when the node is to be closed: somebody asked it to stop from outside (SHUTDOWN on the client
        port), or it broke down.
        """
        await self._started().stop_requested.wait()

    def events(self, *, backlog: int = BACKLOG_EVENTS_MAX) -> EventStream:
        """Typed events from now on, as an async iterator that ends when the bus closes and raises
        ClusterBusError when the node broke down, which is a fault of this package.

        Every call gives a stream of its own. A consumer too slow for `backlog` waiting events finds an
        `EventsLost(count)` where events are missing, and can look at `nodes` and `slots` afresh.
        """
        self._started()
        stream = EventStream(backlog)
        self._streams.add(stream)
        return stream

    async def meet(self, ip: str, port: int, *, bus_port: int | None = None) -> None:
        """CLUSTER MEET: begins to join the cluster of the node at `ip`:`port`; NodeJoined tells of each
        node that is joined. `bus_port` defaults to `port` + 10000. Raises StateError for a bad address.
        """
        self._meet(ip, port, bus_port)

    async def forget(self, node_id: str) -> None:
        """CLUSTER FORGET: removes a node and keeps it out for a minute. Raises StateError."""
        self._forget(node_id)

    async def publish(self, channel: bytes | str, message: bytes | str, *, sharded: bool = False) -> int:
        """PUBLISH: gives a message to this node's own subscribers and hands it to every connected node, whose
        subscribers get it; how many nodes that is. With `sharded`, SPUBLISH: to the shard of this node alone,
        and to those who subscribed to the shard channel.

        Text is sent as UTF-8. There is no reply and no second try: a node that cannot be reached, or is too far
        behind, misses the message. The sender itself gets no Message event.

        Raises StateError over PUBLISH_LEN_MAX_BYTES bytes and, with `sharded`, when the channel's slot is not
        this shard's. Source: `clusterPropagatePublish`.
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
        """What is published on these channels, on any node of the cluster, while the context is entered:

            async with bus.subscribe("news", patterns=["sport.*"]) as messages:
                async for message in messages:
                    ...

        Each message comes once, as a `Message`, in the order it came here. At most `max_queued` of them, of
        `max_queued_bytes` bytes together, wait for a consumer; one that is slower finds a
        `MessagesLost(count)` where messages are missing. Patterns are Valkey's globs. `shard_channels` hear
        what is published with `sharded`, in this node's shard; when the slot leaves the shard a
        `ShardChannelEnded` is the last that comes of it.

        Raises StateError when there is nothing to subscribe to or a limit is below 1; on entry when the bus is
        not open, a pattern is too long, or the slot of a shard channel is not this shard's. Source: rows S7.
        """
        wanted = Wanted(channels, patterns, shard_channels)
        stream = MessageStream(
            lambda: self._member().pubsub, wanted, max_queued=max_queued, max_queued_bytes=max_queued_bytes
        )
        self._streams.add(stream)
        return stream

    async def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        """A module message to one node, or for None to every connected one; to how many it was handed.

        `module_id` (64 bits) and `module_type` (8 bits) tell the receiver whom it is for; text is sent as UTF-8.
        There is no reply and no second try. Raises StateError for a node that is unknown or not connected, a
        number out of range, and over PUBLISH_LEN_MAX_BYTES bytes. Source: `clusterSendModule`.
        """
        return self._send(node_id, module_id, module_type, data)

    def info(self) -> dict[str, dict[str, str]]:
        """INFO as a table: section in lower case, name, value as text."""
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
    """The same member without an event loop: it lives while one of its `wait_` methods is being called.

    Takes the keywords of `Bus`. There is no client port. A program that stops calling is, for its peers, a
    node that hangs.
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
        """Saves nodes.conf and closes every socket. Idempotent. Raises ClusterBusError when nodes.conf could not
        be saved; everything is closed then all the same.
        """
        if self._node is not None and not self._owner.is_elsewhere:
            self._owner.check()
        node, self._node = self._node, None
        if node is not None and not self._owner.is_elsewhere:
            node.close()

    def wait_events(self, timeout_ms: int) -> list[Event | EventsLost]:
        """Drives the node until there are events, at most so long; all that wait, oldest first."""
        self._open().run(timeout_ms, lambda: len(self._backlog) > 0)
        return self._backlog.take_all()

    def wait_until(self, condition: Callable[[], bool], timeout_ms: int) -> bool:
        """Drives the node until `condition()` is true, asked after every step; False when time is up."""
        return self._open().run(timeout_ms, condition)

    def meet(self, ip: str, port: int, *, bus_port: int | None = None) -> None:
        """As `Bus.meet`; joined once the node has been driven."""
        self._meet(ip, port, bus_port)

    def forget(self, node_id: str) -> None:
        """As `Bus.forget`."""
        self._forget(node_id)

    def publish(self, channel: bytes | str, message: bytes | str, *, sharded: bool = False) -> int:
        """As `Bus.publish`; the message leaves at the latest when the node is driven next."""
        return self._publish(channel, message, sharded)

    def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        """As `Bus.send`; the message leaves at the latest when the node is driven next."""
        return self._send(node_id, module_id, module_type, data)

    def subscribe(
        self,
        *channels: bytes | str,
        patterns: Iterable[bytes | str] = (),
        shard_channels: Iterable[bytes | str] = (),
        max_queued: int = QUEUED_MESSAGES_MAX,
        max_queued_bytes: int = QUEUED_LEN_MAX_BYTES,
    ) -> BlockingMessages:
        """As `Bus.subscribe`, as a plain context manager; `wait_messages` drives the node and gives what came:

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
    """What `BlockingBus.subscribe` gives: subscribed while it is entered."""

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
        """Drives the node until there are messages, at most so long; all that wait, oldest first."""
        self._node().run(timeout_ms, lambda: len(self._backlog) > 0)
        return self._backlog.take_all()
