"""SUBSCRIBE, PUBLISH and their kin, and PUBSUB: subscriptions of clients, and messages from them.

Owns the commands' table rows and the shapes of what a subscriber is sent. Must never keep a message: what a
client does not read waits in its connection's output, which is bounded there. Main thread. Source:
`src/pubsub.c`, and what a running 9.1.2 answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import CommandError, Push, Pushes, Reply, encode
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, compile_pattern
from clusterbus.member.member import Member
from clusterbus.member.subscriptions import Delivery, Subscriber, Subscriptions

SUBSCRIPTIONS_PER_CLIENT_MAX: Final = 100_000
SUBSCRIBED_NAMES_LEN_MAX_BYTES: Final = 64 * 1024 * 1024
"""Names of all channels and patterns one client is subscribed to, together."""


class ClientSubscriber(Subscriber):
    """A client as a subscriber."""

    def __init__(self, client: Client, subscriptions: Subscriptions) -> None:
        super().__init__(subscriptions)
        self._client = client

    def deliver(self, delivery: Delivery) -> None:
        """Queues the message; encoded once for all clients of a protocol."""
        protocol = self._client.protocol
        data = delivery.encoded.get(protocol)
        if data is None:
            data = delivery.encoded[protocol] = encode(_push_of(delivery), protocol)
        self._client.connection.send_encoded(data)

    def end_shard_channel(self, channel: bytes) -> None:
        """The client is told as if it had unsubscribed itself."""
        self._client.connection.send(Push(["sunsubscribe", channel, len(self.shard_channels)]))

    def check_room(self, names: list[bytes]) -> None:
        """Raises CommandError when so many more names would be too much for one client."""
        is_full = self.total_count + len(names) > SUBSCRIPTIONS_PER_CLIENT_MAX
        if is_full or self.names_len_bytes + sum(map(len, names)) > SUBSCRIBED_NAMES_LEN_MAX_BYTES:
            raise CommandError(
                f"too many subscriptions: a client has at most {SUBSCRIPTIONS_PER_CLIENT_MAX}, "
                f"their names together at most {SUBSCRIBED_NAMES_LEN_MAX_BYTES} bytes"
            )


def _push_of(delivery: Delivery) -> Push:
    message = delivery.message
    if delivery.pattern is not None:
        return Push(["pmessage", delivery.pattern, message.channel, message.message])
    return Push(["smessage" if message.sharded else "message", message.channel, message.message])


def _subscriber(member: Member, client: Client) -> ClientSubscriber:
    if not isinstance(client.subscriber, ClientSubscriber):
        client.subscriber = ClientSubscriber(client, member.pubsub.subscriptions)
    return client.subscriber


# ---------------------------------------------------------------- taking


def subscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """Channels; one answer for each, with how many channels and patterns the client has."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    return _each("subscribe", arguments, member.pubsub.subscriptions.subscribe, subscriber, lambda: subscriber.count)


def psubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """Patterns, counted together with channels."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    if max(map(len, arguments)) > PATTERN_LEN_MAX_BYTES:
        raise CommandError(f"a pattern has at most {PATTERN_LEN_MAX_BYTES} bytes")
    take = member.pubsub.subscriptions.subscribe_pattern
    return _each("psubscribe", arguments, take, subscriber, lambda: subscriber.count)


def ssubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """Shard channels of one slot, counted apart. Whether the slot is served here was asked before."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    take = member.pubsub.subscriptions.subscribe_shard
    return _each("ssubscribe", arguments, take, subscriber, lambda: len(subscriber.shard_channels))


# ---------------------------------------------------------------- leaving


def unsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """The channels named, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.channels)
    leave = member.pubsub.subscriptions.unsubscribe
    return _each("unsubscribe", names, leave, subscriber, lambda: subscriber.count)


def punsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """The patterns named, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.patterns)
    leave = member.pubsub.subscriptions.unsubscribe_pattern
    return _each("punsubscribe", names, leave, subscriber, lambda: subscriber.count)


def sunsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """The shard channels named, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.shard_channels)
    leave = member.pubsub.subscriptions.unsubscribe_shard
    return _each("sunsubscribe", names, leave, subscriber, lambda: len(subscriber.shard_channels))


def _each(
    word: str,
    names: list[bytes],
    act: Callable[[Subscriber, bytes], None],
    subscriber: Subscriber,
    count: Callable[[], int],
) -> Reply:
    """Acts name by name and answers each; who leaves all and has none is answered once."""

    def answers() -> Iterator[Push]:
        for name in names:
            act(subscriber, name)
            yield Push([word, name, count()])

    return Pushes(list(answers()) or [Push([word, None, count()])])


# ---------------------------------------------------------------- publishing


def publish(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """To the subscribers of every node; how many of this node's own got it."""
    return _publish(member, arguments, sharded=False)


def spublish(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """To the subscribers of the nodes of our shard; how many of this node's own got it."""
    return _publish(member, arguments, sharded=True)


def _publish(member: Member, arguments: list[bytes], *, sharded: bool) -> Reply:
    own, _nodes = member.pubsub.publish(arguments[0], arguments[1], sharded=sharded)
    member.settle()
    return own


# ---------------------------------------------------------------- PUBSUB


def pubsub_channels(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Channels somebody is subscribed to."""
    return _matching(member.pubsub.subscriptions.channels, arguments)


def pubsub_shardchannels(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Shard channels somebody is subscribed to."""
    return _matching(member.pubsub.subscriptions.shard_channels, arguments)


def _matching(channels: Iterable[bytes], arguments: list[bytes]) -> Reply:
    if not arguments:
        return list(channels)
    try:
        matches = compile_pattern(arguments[0])
    except ValueError as error:
        raise CommandError(str(error)) from None
    return list(filter(matches, channels))


def pubsub_numsub(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Channel and subscribers, by turns, those by pattern not counted."""
    return _counts(arguments, member.pubsub.subscriptions.count_subscribers)


def pubsub_shardnumsub(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Shard channel and subscribers, by turns."""
    return _counts(arguments, member.pubsub.subscriptions.count_shard_subscribers)


def _counts(channels: list[bytes], count: Callable[[bytes], int]) -> Reply:
    reply: list[Reply] = []
    for channel in channels:
        reply += [channel, count(channel)]
    return reply


def pubsub_numpat(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """How many different patterns there are."""
    return member.pubsub.subscriptions.count_patterns()


# ---------------------------------------------------------------- the table

_LISTEN: Final = ("pubsub", "noscript", "loading", "stale")
_SPEAK: Final = ("pubsub", "loading", "stale", "fast")
_ASK: Final = ("pubsub", "loading", "stale")
_SLOW: Final = ("@pubsub", "@slow")
_FAST: Final = ("@pubsub", "@fast")


def _listening(
    name: str,
    handler: Callable[[Member, Client, list[bytes]], Reply],
    arity: int,
    summary: str,
    synopsis: str,
    *,
    sharded: bool = False,
) -> CommandSpec:
    return CommandSpec(
        name,
        handler,
        arity,
        _LISTEN,
        summary,
        synopsis,
        since="7.0.0" if sharded else "2.0.0",
        group="pubsub",
        complexity="O(N) in the names given",
        keys=(1, -1, 1) if sharded else (0, 0, 0),
        categories=_SLOW,
        names_shard_channels=sharded,
        while_subscribed=True,
    )


def _asking(
    name: str,
    handler: Callable[[Member, Client, list[bytes]], Reply],
    arity: int,
    summary: str,
    synopsis: str = "",
    *,
    words_max: int = 0,
    since: str = "2.8.0",
) -> CommandSpec:
    return CommandSpec(
        name,
        handler,
        arity,
        _ASK,
        summary,
        synopsis,
        since=since,
        group="pubsub",
        complexity="O(N)",
        categories=_SLOW,
        words_max=words_max,
    )


PUBSUB: Final = (
    _listening("subscribe", subscribe, -2, "Listens to channels.", "<channel> [<channel> ...]"),
    _listening("unsubscribe", unsubscribe, -1, "Leaves channels, or all.", "[<channel> ...]"),
    _listening("psubscribe", psubscribe, -2, "Listens to patterns.", "<pattern> [<pattern> ...]"),
    _listening("punsubscribe", punsubscribe, -1, "Leaves patterns, or all.", "[<pattern> ...]"),
    _listening(
        "ssubscribe",
        ssubscribe,
        -2,
        "Listens to channels of one slot of this shard.",
        "<shardchannel> [<shardchannel> ...]",
        sharded=True,
    ),
    _listening(
        "sunsubscribe", sunsubscribe, -1, "Leaves shard channels, or all.", "[<shardchannel> ...]", sharded=True
    ),
    CommandSpec(
        "publish",
        publish,
        3,
        _SPEAK,
        "Sends a message to the subscribers of every node.",
        "<channel> <message>",
        since="2.0.0",
        group="pubsub",
        complexity="O(N+M) in subscribers of the channel and patterns",
        categories=_FAST,
    ),
    CommandSpec(
        "spublish",
        spublish,
        3,
        _SPEAK,
        "Sends a message to the subscribers of the shard.",
        "<shardchannel> <message>",
        since="7.0.0",
        group="pubsub",
        complexity="O(N) in subscribers of the channel",
        keys=(1, 1, 1),
        categories=_FAST,
        names_shard_channels=True,
    ),
    CommandSpec(
        "pubsub",
        None,
        -2,
        summary="What is subscribed to on this node.",
        since="2.8.0",
        group="pubsub",
        subcommands=(
            _asking(
                "channels",
                pubsub_channels,
                -2,
                "Channels with subscribers, all by default.",
                "[<pattern>]",
                words_max=3,
            ),
            _asking("numpat", pubsub_numpat, 2, "How many patterns are subscribed to."),
            _asking(
                "numsub", pubsub_numsub, -2, "How many subscribe to each channel, patterns apart.", "[<channel> ...]"
            ),
            _asking(
                "shardchannels",
                pubsub_shardchannels,
                -2,
                "Shard channels with subscribers, all by default.",
                "[<pattern>]",
                words_max=3,
                since="7.0.0",
            ),
            _asking(
                "shardnumsub",
                pubsub_shardnumsub,
                -2,
                "How many subscribe to each shard channel.",
                "[<shardchannel> ...]",
                since="7.0.0",
            ),
        ),
    ),
)
