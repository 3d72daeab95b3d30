"""Which subscribers listen to what: both sides of the relation agree, and no entry stays without subscribers (S7)."""

from __future__ import annotations

from random import Random

import pytest
from clusterbus.cluster.events import Message
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, compile_pattern
from clusterbus.member.subscriptions import Delivery, Subscriber, Subscriptions
from clusterbus.wire import key_slot


class Listener(Subscriber):
    def __init__(self, subscriptions: Subscriptions) -> None:
        super().__init__(subscriptions)
        self.heard: list[tuple[bytes | None, bytes, bytes]] = []
        self.ended: list[bytes] = []

    def deliver(self, delivery: Delivery) -> None:
        self.heard.append((delivery.pattern, delivery.message.channel, delivery.message.message))

    def end_shard_channel(self, channel: bytes) -> None:
        assert channel not in self.shard_channels
        self.ended.append(channel)


def said(channel: bytes, text: bytes = b"m", *, sharded: bool = False) -> Message:
    return Message("a" * 40, channel, text, sharded)


def test_a_subscriber_gets_a_message_once_by_channel_and_once_by_pattern() -> None:
    hub = Subscriptions()
    one, other = Listener(hub), Listener(hub)
    hub.subscribe(one, b"news")
    hub.subscribe_pattern(one, b"n*")
    hub.subscribe_pattern(other, b"*s")
    assert hub.publish(said(b"news")) == 3
    assert one.heard == [(None, b"news", b"m"), (b"n*", b"news", b"m")]
    assert other.heard == [(b"*s", b"news", b"m")]
    assert hub.publish(said(b"other")) == 0


def test_sharded_messages_and_others_do_not_mix() -> None:
    hub = Subscriptions()
    one = Listener(hub)
    hub.subscribe(one, b"c")
    hub.subscribe_pattern(one, b"*")
    assert hub.publish(said(b"c", sharded=True)) == 0
    hub.subscribe_shard(one, b"c")
    assert hub.publish(said(b"c", sharded=True)) == 1
    assert hub.publish(said(b"c")) == 2


def test_the_encoded_form_is_shared_among_the_listeners_of_one_name_alone() -> None:
    seen: list[Delivery] = []

    class Encoding(Listener):
        def deliver(self, delivery: Delivery) -> None:
            seen.append(delivery)

    hub = Subscriptions()
    for _ in range(3):
        hub.subscribe(Encoding(hub), b"c")
    hub.subscribe_pattern(Encoding(hub), b"c*")
    hub.publish(said(b"c"))
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[0]


def test_lost_slots_end_their_shard_channels_and_no_others() -> None:
    hub = Subscriptions()
    one, other = Listener(hub), Listener(hub)
    for listener in (one, other):
        for channel in (b"{t}1", b"{t}2", b"x"):
            hub.subscribe_shard(listener, channel)
    slot = key_slot(b"t")
    hub.lose_slots([(slot, slot)])
    assert one.ended == other.ended == [b"{t}1", b"{t}2"]
    assert hub.publish(said(b"{t}1", sharded=True)) == 0
    assert hub.publish(said(b"x", sharded=True)) == 2


def test_bounds_of_lost_ranges_are_inclusive() -> None:
    slot = key_slot(b"t")
    for ranges, ends in (
        ([(slot, slot)], True),
        ([(slot - 1, slot)], True),
        ([(slot, slot + 1)], True),
        ([(0, slot - 1), (slot + 1, 16_383)], False),
    ):
        hub = Subscriptions()
        one = Listener(hub)
        hub.subscribe_shard(one, b"t")
        hub.lose_slots(ranges)
        assert bool(one.ended) == ends, ranges
        assert hub.count_shard_channels() == (not ends)


def test_a_pattern_over_the_limit_leaves_nothing_behind() -> None:
    hub = Subscriptions()
    one = Listener(hub)
    with pytest.raises(ValueError, match="at most"):
        hub.subscribe_pattern(one, b"x" * (PATTERN_LEN_MAX_BYTES + 1))
    assert (one.total_count, hub.count_patterns()) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_of_the_relation_agree_whatever_happens(seed: int) -> None:
    """Compared with a plain set of (listener, kind, name). At the end all have left, and no table has an entry."""
    random = Random(seed)
    hub = Subscriptions()
    listeners = [Listener(hub) for _ in range(4)]
    names = [b"a", b"b", b"{a}c", b"a*", b"*"]
    kinds = {
        "channel": (hub.subscribe, hub.unsubscribe),
        "pattern": (hub.subscribe_pattern, hub.unsubscribe_pattern),
        "shard": (hub.subscribe_shard, hub.unsubscribe_shard),
    }
    model: set[tuple[int, str, bytes]] = set()
    for _ in range(300):
        index, kind, name = random.randrange(4), random.choice(list(kinds)), random.choice(names)
        match random.choice(["take", "take", "leave", "leave all", "lose"]):
            case "take":
                kinds[kind][0](listeners[index], name)
                model.add((index, kind, name))
            case "leave":
                kinds[kind][1](listeners[index], name)
                model.discard((index, kind, name))
            case "leave all" if random.random() < 0.2:
                hub.leave(listeners[index])
                model = {entry for entry in model if entry[0] != index}
            case "lose" if random.random() < 0.2:
                hub.lose_slots([(key_slot(name), key_slot(name))])
                model = {entry for entry in model if entry[1] != "shard" or key_slot(entry[2]) != key_slot(name)}
        for number, listener in enumerate(listeners):
            held = {("channel", x) for x in listener.channels} | {("pattern", x) for x in listener.patterns}
            held |= {("shard", x) for x in listener.shard_channels}
            assert held == {entry[1:] for entry in model if entry[0] == number}
            assert listener.names_len_bytes == sum(len(entry[1]) for entry in held)
        assert set(hub.channels) == {entry[2] for entry in model if entry[1] == "channel"}
        assert set(hub.shard_channels) == {entry[2] for entry in model if entry[1] == "shard"}
        assert hub.count_patterns() == len({entry[2] for entry in model if entry[1] == "pattern"})
        expected = sum(
            (kind == "channel" and name == b"a") or (kind == "pattern" and compile_pattern(name)(b"a"))
            for _, kind, name in model
        )
        assert hub.publish(said(b"a")) == expected
        for channel in (b"a", b"b"):
            in_model = [entry for entry in model if entry[1:] == ("channel", channel)]
            assert hub.count_subscribers(channel) == len(in_model)
            in_model = [entry for entry in model if entry[1:] == ("shard", channel)]
            assert hub.count_shard_subscribers(channel) == len(in_model)
    for listener in listeners:
        hub.leave(listener)
    assert (hub._channels, hub._patterns, hub._shard_channels) == ({}, {}, {})
