"""Which subscribers have which channels, patterns and shard channels, and the delivery of messages to them.

Owns both directions of the relation: a subscriber is in the tables of exactly the names that it holds. Knows no socket,
and not the cluster's state. Must never keep a message, or an entry without subscribers. Main thread. Source:
`src/pubsub.c`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from clusterbus.cluster.events import Message
from clusterbus.member.glob import compile_pattern
from clusterbus.wire import key_slot


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to the subscribers of its channel, or of one pattern.

    The subscribers share `encoded`: the encoded message, by protocol version. So many clients cost one encoding.
    """

    message: Message
    pattern: bytes | None = None
    encoded: dict[int, bytes] = field(default_factory=dict)


class Subscriber(ABC):
    """A listener: a client of the client port, or a stream of the program.

    Its names are in the order of subscription. Invariant: `names_len_bytes` is the length of all of them together.
    """

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.subscriptions = subscriptions
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}
        self.names_len_bytes = 0

    @property
    def count(self) -> int:
        """The number of channels and patterns, as the replies to (P)SUBSCRIBE count them."""
        return len(self.channels) + len(self.patterns)

    @property
    def total_count(self) -> int:
        """The number of names of all kinds; 0 if it listens to nothing."""
        return self.count + len(self.shard_channels)

    @abstractmethod
    def deliver(self, delivery: Delivery) -> None:
        """Takes a message. Must not raise, wait, or change any subscription."""

    @abstractmethod
    def end_shard_channel(self, channel: bytes) -> None:
        """Its shard has lost the slot of a shard channel, and the subscription was removed."""


_Listeners = dict[Subscriber, None]


@dataclass(slots=True)
class _PatternEntry:
    matches: Callable[[bytes], bool]
    listeners: _Listeners = field(default_factory=dict)


class Subscriptions:
    """All subscriptions of one node."""

    def __init__(self) -> None:
        self._channels: dict[bytes, _Listeners] = {}
        self._patterns: dict[bytes, _PatternEntry] = {}
        self._shard_channels: dict[int, dict[bytes, _Listeners]] = {}

    # ------------------------------------------------------------ subscribing

    def subscribe(self, subscriber: Subscriber, channel: bytes) -> None:
        """Adds a channel. This and the next two methods do nothing if the subscriber has the name already."""
        if channel not in subscriber.channels:
            self._channels.setdefault(channel, {})[subscriber] = None
            _note_taken(subscriber, subscriber.channels, channel)

    def subscribe_pattern(self, subscriber: Subscriber, pattern: bytes) -> None:
        """Adds a pattern. Raises ValueError if it is too long."""
        entry = self._patterns.get(pattern)
        if entry is None:
            entry = self._patterns[pattern] = _PatternEntry(compile_pattern(pattern))
        if pattern not in subscriber.patterns:
            entry.listeners[subscriber] = None
            _note_taken(subscriber, subscriber.patterns, pattern)

    def subscribe_shard(self, subscriber: Subscriber, channel: bytes) -> None:
        """Adds a shard channel. The caller checks that its slot is ours."""
        if channel not in subscriber.shard_channels:
            in_slot = self._shard_channels.setdefault(key_slot(channel), {})
            in_slot.setdefault(channel, {})[subscriber] = None
            _note_taken(subscriber, subscriber.shard_channels, channel)

    def unsubscribe(self, subscriber: Subscriber, channel: bytes) -> None:
        """Removes a channel. This and the next two methods do nothing if the subscriber does not have the name."""
        if channel in subscriber.channels:
            _note_left(subscriber, subscriber.channels, channel)
            _remove(self._channels, channel, subscriber)

    def unsubscribe_pattern(self, subscriber: Subscriber, pattern: bytes) -> None:
        """Removes a pattern."""
        if pattern in subscriber.patterns:
            _note_left(subscriber, subscriber.patterns, pattern)
            listeners = self._patterns[pattern].listeners
            del listeners[subscriber]
            if not listeners:
                del self._patterns[pattern]

    def unsubscribe_shard(self, subscriber: Subscriber, channel: bytes) -> None:
        """Removes a shard channel."""
        if channel in subscriber.shard_channels:
            _note_left(subscriber, subscriber.shard_channels, channel)
            slot = key_slot(channel)
            _remove(self._shard_channels[slot], channel, subscriber)
            if not self._shard_channels[slot]:
                del self._shard_channels[slot]

    def leave(self, subscriber: Subscriber) -> None:
        """Removes all names of a subscriber, without notifying it."""
        for channel in list(subscriber.channels):
            self.unsubscribe(subscriber, channel)
        for pattern in list(subscriber.patterns):
            self.unsubscribe_pattern(subscriber, pattern)
        for channel in list(subscriber.shard_channels):
            self.unsubscribe_shard(subscriber, channel)

    # ------------------------------------------------------------ events

    def publish(self, message: Message) -> int:
        """Delivers a message. Returns to how many; a subscriber whose channel and pattern both match counts twice."""
        if message.sharded:
            in_slot = self._shard_channels.get(key_slot(message.channel)) if self._shard_channels else None
            return _deliver(in_slot.get(message.channel) if in_slot else None, message, None)
        count = _deliver(self._channels.get(message.channel), message, None)
        for pattern, entry in self._patterns.items():
            if entry.matches(message.channel):
                count += _deliver(entry.listeners, message, pattern)
        return count

    def lose_slots(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Ends the subscriptions to shard channels in these slots, given as inclusive ranges."""
        bounds = list(ranges)
        lost = [slot for slot in self._shard_channels if any(first <= slot <= last for first, last in bounds)]
        for slot in lost:
            for channel, listeners in self._shard_channels.pop(slot).items():
                for subscriber in listeners:
                    _note_left(subscriber, subscriber.shard_channels, channel)
                    subscriber.end_shard_channel(channel)

    # ------------------------------------------------------------ questions

    def has_listeners(self, channel: bytes) -> bool:
        """Whether somebody has the channel, or a pattern that matches it."""
        return channel in self._channels or any(entry.matches(channel) for entry in self._patterns.values())

    @property
    def channels(self) -> Iterator[bytes]:
        """The channels that have a subscriber."""
        return iter(self._channels)

    @property
    def shard_channels(self) -> Iterator[bytes]:
        """The shard channels that have a subscriber."""
        return (channel for in_slot in self._shard_channels.values() for channel in in_slot)

    @property
    def shard_slots(self) -> Iterator[int]:
        """The slots of the shard channels that have a subscriber."""
        return iter(list(self._shard_channels))

    def count_channels(self) -> int:
        return len(self._channels)

    def count_patterns(self) -> int:
        return len(self._patterns)

    def count_shard_channels(self) -> int:
        return sum(map(len, self._shard_channels.values()))

    def count_subscribers(self, channel: bytes) -> int:
        """The number of subscribers of a channel, without those by pattern."""
        return len(self._channels.get(channel, ()))

    def count_shard_subscribers(self, channel: bytes) -> int:
        """The number of subscribers of a shard channel."""
        return len(self._shard_channels.get(key_slot(channel), {}).get(channel, ()))


def _note_taken(subscriber: Subscriber, names: dict[bytes, None], name: bytes) -> None:
    names[name] = None
    subscriber.names_len_bytes += len(name)


def _note_left(subscriber: Subscriber, names: dict[bytes, None], name: bytes) -> None:
    del names[name]
    subscriber.names_len_bytes -= len(name)


def _remove(table: dict[bytes, _Listeners], channel: bytes, subscriber: Subscriber) -> None:
    listeners = table[channel]
    del listeners[subscriber]
    if not listeners:
        del table[channel]


def _deliver(listeners: _Listeners | None, message: Message, pattern: bytes | None) -> int:
    if not listeners:
        return 0
    delivery = Delivery(message, pattern)
    for subscriber in listeners:
        subscriber.deliver(delivery)
    return len(listeners)
