"""`Bus`: a member of a cluster on asyncio.

Owns the streams of events and messages that it handed out. A `Bus` belongs to the event loop that opened it; a call
from another thread raises StateError.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

from clusterbus import arguments
from clusterbus.bus.event_streams import AsyncioEvents
from clusterbus.bus.owner import Owner
from clusterbus.bus.slot_orders import AsyncSlotOrders
from clusterbus.bus.waiting import Steps
from clusterbus.client_port.info import info_table
from clusterbus.cluster.events import Event
from clusterbus.command import Command, Function
from clusterbus.config import Config
from clusterbus.config.typed import Directives
from clusterbus.data_plane import DataPlane, checked_data_plane
from clusterbus.errors import ClusterBusError, JoinError, StateError
from clusterbus.member.member import Member
from clusterbus.member.membership.leaving import LeaveReport
from clusterbus.member.membership.seeds import parse_all
from clusterbus.runtime.node import AsyncioNode
from clusterbus.streams.event_stream import EventStream, Kinds
from clusterbus.streams.message_stream import QUEUED_LEN_MAX_BYTES, QUEUED_MESSAGES_MAX, MessageStream, Wanted

FROM_ELSEWHERE: Final = (
    "from another one, hand the call to its event loop: asyncio.run_coroutine_threadsafe(bus.publish(...), loop) for a "
    "coroutine, loop.call_soon_threadsafe(function) for any other call"
)
"""What another thread than the event loop's can do."""

Decorated = TypeVar("Decorated", bound=Function)


class Bus(AsyncioEvents, AsyncSlotOrders):
    """A member of a Valkey or Redis cluster on asyncio (or uvloop), used as an async context manager.

    Keyword arguments are valkey.conf's directives with underscores (`port=7000`, `io_threads=3`,
    `cluster_node_timeout=2000`, `bind=["127.0.0.1"]`, `dir=...`). `config_file` names a file in valkey.conf's format;
    the keywords override it.

    A node announces its client port to the cluster, so the bus serves it: `redis-cli -p PORT cluster nodes` and cluster
    clients work. With `resp=False` the client port stays closed and `port` is only announced; the bus still listens
    on `port` + 10000 (see `cluster_port`). With `port=0` it takes a free pair of ports when it opens, which `port` and
    `bus_port` tell; with a `tls_port`, `port=0` means no plain client port, as in Valkey.

    With `seeds` the node joins the cluster of any of these nodes, each as "host:port" (see `join`): in the background
    from when the bus opens, and again whenever no other member is within reach. Opening does not wait for it, and does
    not fail if no seed is up: `await bus.wait_for_nodes(2)` waits, `await bus.join(seeds)` also fails.

    `data_plane` keeps data beside the bus; `commands` (or the decorator `command`) serve it on the client port.

    The constructor raises ConfigError for a wrong directive, and TypeError for any other argument of a wrong type.
    Opening the bus raises ConfigError for anything that cannot be opened: a port in use, a nodes.conf that is damaged
    or in use by another node, an unreadable certificate.
    """

    def __init__(
        self,
        *,
        config_file: str | os.PathLike[str] | None = None,
        resp: bool = True,
        data_plane: DataPlane | None = None,
        commands: Iterable[Command] = (),
        seeds: Iterable[str] = (),
        **directives: Unpack[Directives],
    ) -> None:
        path = arguments.path("config_file", config_file) if config_file is not None else None
        self._resp = arguments.flag("resp", resp)
        self._data_plane = checked_data_plane(data_plane)
        self._commands = [
            arguments.instance("an item of commands", command, Command, "a Command")
            for command in arguments.sequence("commands", commands, "Command")
        ]
        self._config = Config.from_keywords(path, **directives)
        self._seeds = parse_all("seeds", seeds)
        self._node: AsyncioNode | None = None
        self._opening: AsyncioNode | None = None
        self._owner = Owner(FROM_ELSEWHERE)
        self._streams: weakref.WeakSet[EventStream[Any] | MessageStream] = weakref.WeakSet()
        self._steps = Steps()

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
        """Starts the node; entering the context does the same.

        Raises ConfigError, and StateError if the bus is open already or was closed meanwhile.
        """
        if self._node is not None or self._opening is not None:
            raise StateError("the bus is open already")
        self._owner = Owner(FROM_ELSEWHERE)
        node = AsyncioNode(
            self._config,
            resp=self._resp,
            data_plane=self._data_plane,
            commands=[command.spec() for command in self._commands],
        )
        self._opening = node
        try:
            await node.start()
        finally:
            self._opening = None
        self._node = node
        self._steps = Steps()
        node.on_step = self._steps.note
        self._known_id = node.member.state.myself.node_id
        node.on_fault = self._on_fault
        node.member.listen(self._on_event)
        if self._seeds:
            node.member.keep_joined(self._seeds)

    async def close(self) -> None:
        """Saves nodes.conf, closes every socket, and ends all event and message streams. Idempotent.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        if self._node is not None and not self._owner.is_elsewhere:
            self._owner.check()
        node, self._node = self._node or self._opening, None
        if self._owner.is_elsewhere:
            return
        try:
            if node is not None:
                await node.stop()
        finally:
            for stream in list(self._streams):
                stream.close()
            self._streams.clear()
            self._steps.end(StateError("the bus was closed"))

    async def wait_stopped(self) -> None:
        """Returns when the node should be closed: a client sent SHUTDOWN, or the node broke down."""
        await self._started().stop_requested.wait()

    async def wait_until(self, condition: Callable[[], object], timeout_s: float | None = None) -> None:
        """Returns once `condition()` is true: at once, or after a step of the node, of which an idle one takes ten a
        second.

            await bus.wait_until(lambda: bus.is_ok and len(bus.nodes) >= 3, 10)

        The condition runs in the task that waits, and what it raises is raised here. `timeout_s` None waits for ever.
        Raises TimeoutError after `timeout_s` seconds, StateError if the bus is closed meanwhile, and ClusterBusError if
        the node breaks down.
        """
        self._started()
        arguments.function("condition", condition)
        await self._steps.wait_until(condition, timeout_s, "the condition")

    async def wait_ok(self, timeout_s: float | None = None) -> None:
        """Returns once the state of the cluster is ok (`is_ok`). Raises as `wait_until` does."""
        self._started()
        await self._steps.wait_until(lambda: self.is_ok, timeout_s, "the state ok")

    async def wait_for_nodes(self, count: int, timeout_s: float | None = None) -> None:
        """Returns once at least `count` members are within reach, this one included. Raises as `wait_until` does."""
        self._started()
        arguments.integer("count", count, 1)
        await self._steps.wait_until(lambda: self._reaches(count), timeout_s, self._nodes_text(count))

    def _event_stream(self, kinds: Kinds, backlog: int) -> EventStream[Any]:
        self._started()
        stream: EventStream[Any] = EventStream(backlog, kinds)
        self._streams.add(stream)
        return stream

    async def join(self, seeds: Iterable[str], timeout_s: float = 30) -> int:
        """Joins the cluster of any of these nodes, and returns how many members this node knows then.

        A seed is "host:port", with "@busport" behind it if that is not the port + 10000; an IPv6 address is in
        brackets. All seeds are tried, again and again, at most for `timeout_s` seconds; names are resolved anew each
        time. It returns when one of the seeds and this node know each other; gossip brings the other members, for which
        `wait_for_nodes` waits. A seed that is this node itself is skipped; if all are, there is nothing to join.

        Raises ConfigError for what is no address, and JoinError, a TimeoutError that names each seed and its reason.
        """
        timeout_s = arguments.number("timeout_s", timeout_s, 0)
        member, joining = self._member(), self._begin_join(seeds)
        try:
            await self._steps.wait_until(lambda: joining.is_done, timeout_s, "")
            return self._joined(member)
        except TimeoutError:
            raise JoinError(joining.reasons, timeout_s) from None
        finally:
            member.end_join(joining)

    async def leave(self, timeout_s: float = 10, *, with_keys: bool = False) -> LeaveReport:
        """Leaves the cluster for good: the other members forget this node, and their programs see NodeLeft with the
        reason "left", no failure. Returns who could not be told, and which slots nobody took over.

        First a replica takes over the slots of this primary, if there is one that can; else, if they hold no keys, a
        clusterbus primary that serves slots itself. Then clusterbus members are told by a message, Valkey and Redis
        nodes by one of those members or by CLUSTER FORGET at their client port, with `primaryauth` if they want a
        password. After it the node is a new one under a new id, alone, and it does not use
        the seeds of the bus any more; close the bus, or join another cluster. At the others the old id is kept out for
        `cluster-blacklist-ttl`. Members that were not told hold the node as failing once the bus is closed.

        Raises StateError, and the node stays, if this primary holds keys that no replica took over, unless
        `with_keys`; and if it is leaving already. Cancelling it keeps the node in the cluster, unless others have been
        told by then.
        """
        member, leaving = self._member(), self._begin_leave(timeout_s, with_keys)
        try:
            await self._steps.wait_until(lambda: leaving.is_over, None, "")
            return self._report_of(leaving)
        finally:
            member.end_leave()

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

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Attaches small texts to this node, in the place of those that it had; `{}` takes all away.

        Every other clusterbus node shows them in `nodes[...].tags`, and reports a TagsChanged; those that join later
        too. Valkey and Redis nodes see nothing of them. They live as long as this process: after a restart set them
        again. Raises StateError, and changes nothing, if they take more than 512 bytes: their UTF-8, and two more for
        each name and value.
        """
        self._set_tags(tags)

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
        the bus is not open, a pattern is too long, or this shard does not own a shard channel's slot. Source:
        `pubsubPublishMessage`.
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

    @property
    def _is_open(self) -> bool:
        return self._node is not None

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
        self._steps.end(ClusterBusError(f"the node broke down: {fault!r}"))

    def _on_event(self, event: Event) -> None:
        for stream in list(self._streams):
            if isinstance(stream, EventStream) and type(event) in stream.kinds:
                stream.put_nowait(event)
