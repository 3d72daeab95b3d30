"""Published messages on their way to a user of `bus.subscribe()`: bounded, in order, every loss reported.

Owns one consumer's subscriptions and its backlog. Must never make the main loop wait: a consumer that is too slow loses
messages, and finds their number where they are missing. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from clusterbus import arguments
from clusterbus.cluster.events import Message
from clusterbus.errors import StateError
from clusterbus.member.pubsub import PubSub
from clusterbus.member.subscriptions import Delivery, Subscriber
from clusterbus.streams.backlog import Backlog, Stream

QUEUED_MESSAGES_MAX: Final = 4_096
QUEUED_LEN_MAX_BYTES: Final = 32 * 1024 * 1024
"""Default of `max_queued_bytes`: the most bytes that the waiting channels and messages may have together."""


@dataclass(frozen=True, slots=True)
class MessagesLost:
    """The consumer was too slow: `count` messages are missing here."""

    count: int


@dataclass(frozen=True, slots=True)
class ShardChannelEnded:
    """The slot of a shard channel has left this node's shard: nothing more will come on the channel. Subscribe at a
    node of the shard that owns the slot now (`bus.slots`)."""

    channel: bytes


Item = Message | ShardChannelEnded
MessageBacklog = Backlog[Item, MessagesLost]


def message_backlog(max_queued: int, max_queued_bytes: int) -> MessageBacklog:
    """A backlog of messages. Raises StateError for a limit below 1."""
    max_queued = arguments.integer("max_queued", max_queued, 1)
    max_queued_bytes = arguments.integer("max_queued_bytes", max_queued_bytes, 1)
    return Backlog(MessagesLost, items_max=max_queued, bytes_max=max_queued_bytes, size_bytes=_len_bytes)


def _len_bytes(item: Item) -> int:
    return len(item.channel) + (len(item.message) if isinstance(item, Message) else 0)


class Wanted:
    """The names that a user wants to subscribe to: bytes, or text, which becomes UTF-8."""

    def __init__(
        self,
        channels: Iterable[bytes | str],
        patterns: Iterable[bytes | str],
        shard_channels: Iterable[bytes | str],
    ) -> None:
        """Raises StateError if there are no names, TypeError if one name stands where a sequence of names belongs."""
        self.channels = arguments.payloads("channels", channels)
        self.patterns = arguments.payloads("patterns", patterns)
        self.shard_channels = arguments.payloads("shard_channels", shard_channels)
        if not (self.channels or self.patterns or self.shard_channels):
            raise StateError("nothing to subscribe to: give channels, patterns or shard_channels")


class Feed(Subscriber):
    """A subscriber that hands on each message once, even if it matches several of its names."""

    def __init__(self, pubsub: PubSub, wanted: Wanted, put: Callable[[Item], None], end: Callable[[Item], None]):
        """Subscribes. Raises StateError for a pattern that is too long or a slot that this shard does not own."""
        super().__init__(pubsub.subscriptions)
        self._put = put
        self._end = end
        self._last: Message | None = None
        for channel in wanted.shard_channels:
            pubsub.check_slot_is_ours(channel)
        try:
            for pattern in wanted.patterns:
                self.subscriptions.subscribe_pattern(self, pattern)
        except ValueError as error:
            self.subscriptions.leave(self)
            raise StateError(str(error)) from None
        for channel in wanted.channels:
            self.subscriptions.subscribe(self, channel)
        for channel in wanted.shard_channels:
            self.subscriptions.subscribe_shard(self, channel)

    def deliver(self, delivery: Delivery) -> None:
        """All deliveries of one message come in a row and carry the same object: a repetition is the last one again."""
        if delivery.message is not self._last:
            self._last = delivery.message
            self._put(delivery.message)

    def end_shard_channel(self, channel: bytes) -> None:
        """At most one item comes for each shard channel, so it may exceed the limits."""
        self._end(ShardChannelEnded(channel))


class MessageStream(Stream[Item, MessagesLost]):
    """A subscription made by `Bus.subscribe`: an async context manager that is subscribed while it is entered, and an
    async iterator over the messages of that time. It ends when the context is left or the bus closes.
    """

    def __init__(self, pubsub: Callable[[], PubSub], wanted: Wanted, *, max_queued: int, max_queued_bytes: int) -> None:
        super().__init__(message_backlog(max_queued, max_queued_bytes))
        self._pubsub = pubsub
        self._wanted = wanted
        self._feed: Feed | None = None

    async def __aenter__(self) -> Self:
        if self._feed is not None or self._closed:
            raise StateError("a subscription is entered once; call subscribe() again")
        self._feed = Feed(self._pubsub(), self._wanted, self.put_nowait, self.put_always_nowait)
        return self

    async def __anext__(self) -> Item | MessagesLost:
        if self._feed is None and not self._closed:
            raise StateError("the subscription is not entered: async with bus.subscribe(...) as messages")
        return await super().__anext__()

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, error: Exception | None = None) -> None:
        """Unsubscribes. Waiting messages are still handed out. Idempotent."""
        if self._feed is not None:
            self._feed.subscriptions.leave(self._feed)
        super().close(error)
