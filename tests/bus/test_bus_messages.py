"""Messages through `clusterbus.Bus` and `BlockingBus`: publish, subscribe, send, on_message, in real clusters (S7)."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import MessagesLost, ModuleReceived, ShardChannelEnded
from clusterbus.errors import StateError
from clusterbus.wire import key_slot

from tests.bus.harness import DEADLINE_S, knows_all, order, pair, settings, well
from tests.loops import Run, until
from tests.peers.cluster import cluster_nodes, node_id
from tests.peers.server import Server

Peers = Callable[..., Server]


def texts(messages: list[Any]) -> list[bytes]:
    return [message.message for message in messages]


async def take(messages: clusterbus.MessageStream, count: int) -> list[Any]:
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(messages) for _ in range(count)]


# ---------------------------------------------------------------- subscribe and publish


def test_a_subscriber_hears_every_kind_of_node_and_this_one_s7(run: Run, peers: Peers, tmp_path: Path) -> None:
    servers = [peers("valkey"), peers("redis"), peers("clusterbus")]

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            for server in servers:
                await bus.meet("127.0.0.1", server.port)
            await until(lambda: well(bus) == 4 and all(knows_all(server, 4) for server in servers))
            async with bus.subscribe("news", patterns=["spo?t.*", "n*"]) as messages:
                for server in servers:
                    server.call("PUBLISH", "news", f"from {server.kind}")
                    (message,) = await take(messages, 1)
                    assert message == clusterbus.Message(
                        node_id(server), b"news", f"from {server.kind}".encode(), False
                    )
                    server.call("PUBLISH", "other", "not wanted")
                    server.call("PUBLISH", "sport.x", "by pattern")
                    (message,) = await take(messages, 1)
                    assert (message.channel, message.message) == (b"sport.x", b"by pattern")
                assert await bus.publish("news", "from myself") == 3
                (message,) = await take(messages, 1)
                assert (message.node_id, message.message) == (bus.node_id, b"from myself")

    run(scenario())


def test_a_message_comes_once_however_many_of_the_names_fit(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "bus")) as bus,
            bus.subscribe("news", patterns=["n*", "*s"]) as messages,
        ):
            for number in range(3):
                await bus.publish("news", b"%d" % number)
            await bus.publish("news", b"2")
            assert texts(await take(messages, 4)) == [b"0", b"1", b"2", b"2"]

    run(scenario())


def test_clients_of_the_node_and_streams_of_the_program_hear_each_other_s7(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            reader, writer = await asyncio.open_connection("127.0.0.1", bus._config.port)
            writer.write(b"SUBSCRIBE news\r\n")
            expected = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
            assert await asyncio.wait_for(reader.readexactly(len(expected)), DEADLINE_S) == expected
            assert await bus.publish("news", "hello") == 0
            expected = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
            assert await asyncio.wait_for(reader.readexactly(len(expected)), DEADLINE_S) == expected
            async with bus.subscribe("news") as messages:
                _reader, publisher = await asyncio.open_connection("127.0.0.1", bus._config.port)
                publisher.write(b"PUBLISH news back\r\n")
                assert texts(await take(messages, 1)) == [b"back"]
                publisher.close()
            writer.close()

    run(scenario())


def test_a_slow_consumer_is_told_how_many_messages_it_missed_where_they_are_missing_s7(
    run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            pair(tmp_path) as (first, second),
            second.subscribe("c", max_queued=3) as slow,
            second.subscribe("c", max_queued_bytes=5) as small,
            second.subscribe("c") as quick,
        ):
            for number in range(10):
                await first.publish("c", b"%d" % number)
            await take(quick, 10)
            assert texts(await take(slow, 3)) == [b"0", b"1", b"2"]
            assert await take(slow, 1) == [MessagesLost(7)]
            assert texts(await take(small, 2)) == [b"0", b"1"]
            assert await take(small, 1) == [MessagesLost(8)]
            await first.publish("c", b"10")
            for stream in (slow, small, quick):
                assert texts(await take(stream, 1)) == [b"10"]

    run(scenario())


def test_a_stream_ends_when_it_is_left_and_when_the_bus_closes(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        await bus.open()
        subscriptions = bus._member().pubsub.subscriptions
        async with bus.subscribe("a", patterns=["b*"]) as left:
            assert (subscriptions.count_channels(), subscriptions.count_patterns()) == (1, 1)
            await bus.publish("a", "before")
        assert (subscriptions.count_channels(), subscriptions.count_patterns()) == (0, 0)
        await bus.publish("a", "after")
        assert texts([message async for message in left]) == [b"before"]
        with pytest.raises(StateError, match="entered once"):
            async with left:
                pass
        async with bus.subscribe("a") as open_still:
            await bus.publish("a", "last")
            await bus.close()
            assert texts([message async for message in open_still]) == [b"last"]

    run(scenario())


def test_an_abandoned_stream_is_forgotten(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            bus.subscribe("a")
            gc.collect()
            assert len(bus._streams) == 0

    run(scenario())


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        ((), {}, "nothing to subscribe"),
        (("a",), {"max_queued": 0}, "at least 1"),
        (("a",), {"max_queued_bytes": 0}, "at least 1"),
    ],
)
def test_a_subscription_to_nothing_is_refused(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], keywords: dict[str, Any], text: str
) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(StateError, match=text):
                bus.subscribe(*arguments, **keywords)

    run(scenario())


def test_a_subscription_that_is_not_entered_says_so_and_does_not_wait(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(StateError, match=r"not entered: async with bus.subscribe"):
                await asyncio.wait_for(anext(bus.subscribe("c")), DEADLINE_S)
            async with bus.subscribe("c") as messages:
                pass
            with pytest.raises(StopAsyncIteration):
                await anext(messages)

    run(scenario())
    with clusterbus.BlockingBus(**settings(tmp_path / "blocking")) as bus:
        with pytest.raises(StateError, match=r"not entered: with bus.subscribe"):
            bus.subscribe("c").wait_messages(0)
        with bus.subscribe("c") as left:
            pass
        with pytest.raises(StateError, match="the subscription is closed"):
            left.wait_messages(0)


def test_a_pattern_that_is_too_long_is_refused_and_nothing_stays(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(StateError, match="at most"):
                await bus.subscribe("a", patterns=["b", "x" * 100_000]).__aenter__()
            assert bus._member().pubsub.subscriptions.count_patterns() == 0
            assert bus._member().pubsub.subscriptions.count_channels() == 0

    run(scenario())


def test_a_bus_that_is_not_open_has_no_messages(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        with pytest.raises(StateError, match="not open"):
            await bus.subscribe("a").__aenter__()
        with pytest.raises(StateError, match="not open"):
            bus.on_message(print)
        with pytest.raises(StateError, match="not open"):
            await bus.send(None, 1, 1, b"")

    run(scenario())


# ---------------------------------------------------------------- shard channels


def test_shard_channels_are_heard_in_their_shard_alone_and_end_with_their_slot_s7(
    run: Run, peers: Peers, tmp_path: Path
) -> None:
    server = peers("valkey")
    slot = key_slot(b"t")

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(StateError, match=f"slot {slot} .* has no owner"):
                await bus.publish("t", "m", sharded=True)
            with pytest.raises(StateError, match=f"slot {slot} .* has no owner"):
                await bus.subscribe(shard_channels=["t"]).__aenter__()
            # Each node gets an epoch of its own, so that no node bumps its epoch because of a collision.
            server.call("CLUSTER", "SET-CONFIG-EPOCH", 2)
            await order(bus, b"CLUSTER SET-CONFIG-EPOCH 1")
            await order(bus, b"CLUSTER ADDSLOTSRANGE 0 16383")
            await bus.meet("127.0.0.1", server.port)
            await until(lambda: well(bus) == 2 and knows_all(server, 2))
            await until(lambda: cluster_nodes(server)[bus.node_id].slots)
            async with bus.subscribe("t", shard_channels=["t", "x"]) as messages:
                assert await bus.publish("t", "sharded", sharded=True) == 0  # no other node is in the shard
                assert await bus.publish("t", "to all") == 1
                first, second = await take(messages, 2)
                assert (first.message, first.sharded) == (b"sharded", True)
                assert (second.message, second.sharded) == (b"to all", False)

                owner = node_id(server)
                server.call("CLUSTER", "SETSLOT", slot, "IMPORTING", bus.node_id)
                server.call("CLUSTER", "SETSLOT", slot, "NODE", owner)
                assert await take(messages, 1) == [ShardChannelEnded(b"t")]
                with pytest.raises(StateError, match=f"slot {slot} .* belongs to the shard of node {owner}"):
                    await bus.publish("t", "m", sharded=True)
                assert await bus.publish("x", "still ours", sharded=True) == 0
                assert texts(await take(messages, 1)) == [b"still ours"]

    run(scenario())


# ---------------------------------------------------------------- module messages


def test_module_messages_reach_one_node_or_all_in_order_s7(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            heard: list[ModuleReceived] = []
            stop = second.on_message(heard.append)
            events = second.events(ModuleReceived)
            before = int(second.cluster_info().get("cluster_stats_messages_module_received", 0))
            assert await first.send(second.node_id, 2**64 - 1, 255, b"\x00data") == 1
            for number in range(20):
                assert await first.send(None, 7, 1, f"{number}") == 1
            await until(lambda: len(heard) == 21)
            assert heard[0] == ModuleReceived(first.node_id, 2**64 - 1, 255, b"\x00data")
            assert [event.data for event in heard[1:]] == [b"%d" % number for number in range(20)]
            async with asyncio.timeout(DEADLINE_S):
                assert [event async for event in first_of(events, 21)] == heard
            stop()
            stop()
            await first.send(None, 7, 1, b"nobody listens")
            again: list[ModuleReceived] = []
            second.on_message(again.append)
            await first.send(None, 7, 1, b"the last")
            await until(lambda: bool(again) and again[-1].data == b"the last")
            assert len(heard) == 21
            # Those about tags are among them.
            assert int(second.cluster_info()["cluster_stats_messages_module_received"]) >= before + 23

    run(scenario())


async def first_of(events: clusterbus.EventStream[ModuleReceived], count: int) -> Any:
    async for event in events:
        yield event
        count -= 1
        if not count:
            return


def test_a_callback_may_answer_and_one_that_fails_harms_nobody_s7(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            answers: list[bytes] = []
            replies: set[asyncio.Task[int]] = set()

            def fail(_event: ModuleReceived) -> None:
                raise RuntimeError("out of order")

            def reply(event: ModuleReceived) -> None:
                task = asyncio.ensure_future(second.send(event.node_id, event.module_id, 2, event.data[::-1]))
                replies.add(task)

            second.on_message(fail)
            second.on_message(reply)
            first.on_message(lambda event: answers.append(event.data))
            with caplog.at_level(logging.ERROR, "clusterbus"):
                for number in range(3):
                    await first.send(second.node_id, 1, 1, b"ping %d" % number)
                await until(lambda: len(answers) == 3)
            assert answers == [b"0 gnip", b"1 gnip", b"2 gnip"]
            assert second.cluster_info()["cluster_callback_errors"] == "3"
            assert well(first) == well(second) == 2
        assert sum("out of order" in record.getMessage() for record in caplog.records) == 1

    run(scenario())


def test_module_messages_are_light_once_the_peer_knows_the_link_s7(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):

            async def sent_light() -> bool:
                before = int(first.cluster_info()["cluster_stats_messages_light_module_sent"])
                await first.send(second.node_id, 1, 1, b"x")
                return int(first.cluster_info()["cluster_stats_messages_light_module_sent"]) > before

            async with asyncio.timeout(DEADLINE_S):
                while not await sent_light():
                    await asyncio.sleep(0.05)
            await until(lambda: second.cluster_info()["cluster_stats_messages_light_module_received"] == "1")
            assert "cluster_refused_light_first" not in second.cluster_info()

    run(scenario())


def test_module_messages_that_cannot_go_are_refused(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(StateError, match="Unknown node"):
                await bus.send("f" * 40, 1, 1, b"")
            with pytest.raises(StateError, match="number"):
                await bus.send(None, 2**64, 1, b"")
            with pytest.raises(StateError, match="over"):
                await bus.send(None, 1, 1, bytes(8 * 1024 * 1024))
            assert await bus.send(None, 1, 1, b"to nobody") == 0

    run(scenario())


# ---------------------------------------------------------------- without an event loop


def test_the_blocking_twin_has_messages_too_s7(peers: Peers, tmp_path: Path) -> None:
    server = peers("valkey")
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        bus.meet("127.0.0.1", server.port)
        bus.wait_until(lambda: well(bus) == 2 and knows_all(server, 2), DEADLINE_S)
        with bus.subscribe("news", patterns=["n*"], max_queued=2) as messages:
            assert messages.wait_messages(0) == []
            server.call("PUBLISH", "news", "hello")
            assert texts(messages.wait_messages(int(DEADLINE_S * 1000))) == [b"hello"]
            for number in range(5):
                bus.publish("news", b"%d" % number)
            *heard, lost = messages.wait_messages(0)
            assert texts(heard) == [b"0", b"1"]
            assert lost == MessagesLost(3)
        assert bus._member().pubsub.subscriptions.count_channels() == 0
        with pytest.raises(StateError, match="entered once"), messages:
            pass
        heard_modules: list[ModuleReceived] = []
        bus.on_message(heard_modules.append)
        assert bus.send(None, 1, 1, b"data") == 1
        with pytest.raises(StateError, match="has no owner"):
            bus.publish("t", "m", sharded=True)
        with pytest.raises(StateError, match="has no owner"), bus.subscribe(shard_channels=["t"]):
            pass
    with pytest.raises(StateError, match="closed"):
        messages.wait_messages(0)
