"""SUBSCRIBE, PUBLISH and the commands like them, and PUBSUB: clients subscribe to messages and publish them.

Owns the handlers, their rows of the command table, and the shapes of messages to subscribers. Must never keep a
message: unread messages wait in the output of the client's connection, which limits them. Main thread. Source:
`src/pubsub.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Push, Pushes, Reply, encode
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, compile_pattern
from clusterbus.member.member import Member
from clusterbus.member.subscriptions import Delivery, Subscriber, Subscriptions
from clusterbus.member.topology import TOPOLOGY_CHANNEL

SUBSCRIPTIONS_PER_CLIENT_MAX: Final = 100_000
SUBSCRIBED_NAMES_LEN_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes that the names of all channels and patterns of one client may have together."""


class ClientSubscriber(Subscriber):
    """A client of the port as a subscriber."""

    def __init__(self, client: Client, subscriptions: Subscriptions) -> None:
        super().__init__(subscriptions)
        self._client = client
        self.is_pushed_topology = False
        """It asked for the topology by CLUSTER TOPOLOGY ON, and gets it as pushes of that kind."""

    def deliver(self, delivery: Delivery) -> None:
        """Queues the message. It is encoded once for all clients that use the same protocol."""
        protocol = self._client.protocol
        if self.is_pushed_topology and delivery.message.channel == TOPOLOGY_CHANNEL and delivery.pattern is None:
            self._client.connection.send(Push(["topology", delivery.message.message]))
            return
        data = delivery.encoded.get(protocol)
        if data is None:
            data = delivery.encoded[protocol] = encode(_push_of(delivery), protocol)
        self._client.connection.send_encoded(data)

    def end_shard_channel(self, channel: bytes) -> None:
        """Sends the client the same push as if it had unsubscribed itself."""
        self._client.connection.send(Push(["sunsubscribe", channel, len(self.shard_channels)]))

    def check_room(self, names: list[bytes]) -> None:
        """Raises CommandError if the client would have too many subscriptions with these names."""
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


# ---------------------------------------------------------------- subscribing


def subscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """SUBSCRIBE: one answer for each channel, with the number of channels and patterns that the client has."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    if TOPOLOGY_CHANNEL in arguments:
        subscriber.is_pushed_topology = False
        # It waits behind the answers. So nothing is missed between the picture and the first delta.
        client.connection.send(Push(["message", TOPOLOGY_CHANNEL, member.topology.picture()]))
    return _each("subscribe", arguments, member.pubsub.subscriptions.subscribe, subscriber, lambda: subscriber.count)


def cluster_topology(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER TOPOLOGY: the picture for clients, as JSON. ON: with RESP3, each change is pushed from now on. OFF: no
    more.
    """
    subscriptions = member.pubsub.subscriptions
    word = arguments[0].lower() if arguments else b""
    if word == b"off":
        subscriber = _subscriber(member, client)
        subscriber.is_pushed_topology = False
        subscriptions.unsubscribe(subscriber, TOPOLOGY_CHANNEL)
        return OK
    if word == b"on":
        if client.protocol < 3:
            raise CommandError(f"pushes need RESP3 (HELLO 3); with RESP2 SUBSCRIBE {TOPOLOGY_CHANNEL.decode()}")
        subscriber = _subscriber(member, client)
        subscriber.check_room([TOPOLOGY_CHANNEL])
        subscriber.is_pushed_topology = True
        subscriptions.subscribe(subscriber, TOPOLOGY_CHANNEL)
    elif word:
        raise CommandError(SYNTAX_ERROR)
    return member.topology.picture()


def psubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """PSUBSCRIBE: patterns are counted together with channels."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    if max(map(len, arguments)) > PATTERN_LEN_MAX_BYTES:
        raise CommandError(f"a pattern has at most {PATTERN_LEN_MAX_BYTES} bytes")
    act = member.pubsub.subscriptions.subscribe_pattern
    return _each("psubscribe", arguments, act, subscriber, lambda: subscriber.count)


def ssubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """SSUBSCRIBE: shard channels of one slot, which are counted apart. A gate has checked that this node serves it."""
    subscriber = _subscriber(member, client)
    subscriber.check_room(arguments)
    act = member.pubsub.subscriptions.subscribe_shard
    return _each("ssubscribe", arguments, act, subscriber, lambda: len(subscriber.shard_channels))


# ---------------------------------------------------------------- unsubscribing


def unsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """UNSUBSCRIBE: the named channels, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.channels)
    act = member.pubsub.subscriptions.unsubscribe
    return _each("unsubscribe", names, act, subscriber, lambda: subscriber.count)


def punsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """PUNSUBSCRIBE: the named patterns, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.patterns)
    act = member.pubsub.subscriptions.unsubscribe_pattern
    return _each("punsubscribe", names, act, subscriber, lambda: subscriber.count)


def sunsubscribe(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """SUNSUBSCRIBE: the named shard channels, or all."""
    subscriber = _subscriber(member, client)
    names = arguments or list(subscriber.shard_channels)
    act = member.pubsub.subscriptions.unsubscribe_shard
    return _each("sunsubscribe", names, act, subscriber, lambda: len(subscriber.shard_channels))


def _each(
    word: str,
    names: list[bytes],
    act: Callable[[Subscriber, bytes], None],
    subscriber: Subscriber,
    count: Callable[[], int],
) -> Reply:
    """Acts on each name and answers each. If there are no names, because a client without subscriptions leaves all,
    there is one answer.
    """

    def answers() -> Iterator[Push]:
        for name in names:
            act(subscriber, name)
            yield Push([word, name, count()])

    return Pushes(list(answers()) or [Push([word, None, count()])])


# ---------------------------------------------------------------- publishing


def publish(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """PUBLISH: to the subscribers of every node. The reply is the number of this node's subscribers that got it."""
    return _publish(member, arguments, sharded=False)


def spublish(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """SPUBLISH: to the subscribers of our shard's nodes. The reply is the number of this node's that got it."""
    return _publish(member, arguments, sharded=True)


def _publish(member: Member, arguments: list[bytes], *, sharded: bool) -> Reply:
    own, _nodes = member.pubsub.publish(arguments[0], arguments[1], sharded=sharded)
    member.settle()
    return own


# ---------------------------------------------------------------- PUBSUB


def pubsub_channels(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """PUBSUB CHANNELS: channels that have subscribers."""
    return _matching(member.pubsub.subscriptions.channels, arguments)


def pubsub_shardchannels(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """PUBSUB SHARDCHANNELS: shard channels that have subscribers."""
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
    """PUBSUB NUMSUB: each channel, followed by the number of its subscribers without those by pattern."""
    return _counts(arguments, member.pubsub.subscriptions.count_subscribers)


def pubsub_shardnumsub(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """PUBSUB SHARDNUMSUB: each shard channel, followed by the number of its subscribers."""
    return _counts(arguments, member.pubsub.subscriptions.count_shard_subscribers)


def _counts(channels: list[bytes], count: Callable[[bytes], int]) -> Reply:
    reply: list[Reply] = []
    for channel in channels:
        reply += [channel, count(channel)]
    return reply


def pubsub_numpat(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """PUBSUB NUMPAT: the number of different patterns that have subscribers."""
    return member.pubsub.subscriptions.count_patterns()


# ---------------------------------------------------------------- the table

_SUBSCRIBE_FLAGS: Final = ("pubsub", "noscript", "loading", "stale")
_PUBLISH_FLAGS: Final = ("pubsub", "loading", "stale", "fast")
_QUESTION_FLAGS: Final = ("pubsub", "loading", "stale")
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
        _SUBSCRIBE_FLAGS,
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
        _QUESTION_FLAGS,
        summary,
        synopsis,
        since=since,
        group="pubsub",
        complexity="O(N)",
        categories=_SLOW,
        words_max=words_max,
    )


PUBSUB: Final = (
    _listening("subscribe", subscribe, -2, "Subscribes to channels.", "<channel> [<channel> ...]"),
    _listening("unsubscribe", unsubscribe, -1, "Unsubscribes from channels, or from all.", "[<channel> ...]"),
    _listening("psubscribe", psubscribe, -2, "Subscribes to patterns.", "<pattern> [<pattern> ...]"),
    _listening("punsubscribe", punsubscribe, -1, "Unsubscribes from patterns, or from all.", "[<pattern> ...]"),
    _listening(
        "ssubscribe",
        ssubscribe,
        -2,
        "Subscribes to shard channels of one slot of this shard.",
        "<shardchannel> [<shardchannel> ...]",
        sharded=True,
    ),
    _listening(
        "sunsubscribe",
        sunsubscribe,
        -1,
        "Unsubscribes from shard channels, or from all.",
        "[<shardchannel> ...]",
        sharded=True,
    ),
    CommandSpec(
        "publish",
        publish,
        3,
        _PUBLISH_FLAGS,
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
        _PUBLISH_FLAGS,
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
        summary="Shows the subscriptions on this node.",
        since="2.8.0",
        group="pubsub",
        subcommands=(
            _asking(
                "channels",
                pubsub_channels,
                -2,
                "Channels with subscribers that match the pattern, or all.",
                "[<pattern>]",
                words_max=3,
            ),
            _asking("numpat", pubsub_numpat, 2, "Number of patterns with subscribers."),
            _asking(
                "numsub",
                pubsub_numsub,
                -2,
                "Number of subscribers of each channel, without those by pattern.",
                "[<channel> ...]",
            ),
            _asking(
                "shardchannels",
                pubsub_shardchannels,
                -2,
                "Shard channels with subscribers that match the pattern, or all.",
                "[<pattern>]",
                words_max=3,
                since="7.0.0",
            ),
            _asking(
                "shardnumsub",
                pubsub_shardnumsub,
                -2,
                "Number of subscribers of each shard channel.",
                "[<shardchannel> ...]",
                since="7.0.0",
            ),
        ),
    ),
)
