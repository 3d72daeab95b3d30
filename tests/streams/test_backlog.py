"""The backlog of one consumer: limited by number and by bytes, in order, with markers where items are missing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from clusterbus.cluster.events import Event, Message, NodeSuspected
from clusterbus.streams.backlog import Backlog, Stream
from clusterbus.streams.event_stream import BACKLOG_LEN_MAX_BYTES, EventBacklog, EventsLost


@dataclass(frozen=True)
class Lost:
    count: int


def backlog(items_max: int = 3, bytes_max: int = 10) -> Backlog[bytes, Lost]:
    return Backlog(Lost, items_max=items_max, bytes_max=bytes_max, size_bytes=len)


def test_items_beyond_the_number_are_counted_where_they_are_missing() -> None:
    waiting = backlog(items_max=2)
    for item in (b"1", b"2", b"3", b"4"):
        waiting.put_nowait(item)
    assert len(waiting) == 3
    assert waiting.take() == b"1"
    assert waiting.take() == b"2"
    waiting.put_nowait(b"5")
    waiting.put_nowait(b"6")
    assert waiting.take_all() == [Lost(2), b"5", Lost(1)]


def test_items_beyond_the_bytes_are_counted_and_room_is_given_back() -> None:
    waiting = backlog(items_max=100, bytes_max=10)
    waiting.put_nowait(bytes(6))
    waiting.put_nowait(bytes(4))
    waiting.put_nowait(b"x")
    assert waiting.take() == bytes(6)
    waiting.put_nowait(bytes(6))
    waiting.put_nowait(b"x")
    assert waiting.take_all() == [bytes(4), Lost(1), bytes(6), Lost(1)]
    waiting.put_nowait(bytes(10))
    assert waiting.take_all() == [bytes(10)]


def test_an_item_larger_than_all_the_room_is_lost_and_said_so() -> None:
    waiting = backlog(bytes_max=10)
    waiting.put_nowait(bytes(11))
    assert waiting.take_all() == [Lost(1)]


def test_losses_after_the_marker_was_taken_get_a_marker_of_their_own() -> None:
    waiting = backlog(bytes_max=1)
    waiting.put_nowait(bytes(2))
    assert waiting.take() == Lost(1)
    waiting.put_nowait(bytes(2))
    assert waiting.take_all() == [Lost(1)]


def test_what_must_not_be_lost_passes_the_limits() -> None:
    waiting = backlog(items_max=1)
    waiting.put_nowait(b"1")
    waiting.put_nowait(b"2")
    waiting.put_always_nowait(b"3")
    waiting.put_nowait(b"4")
    assert waiting.take_all() == [b"1", Lost(1), b"3", Lost(1)]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        backlog(items_max=0)


def test_messages_among_the_events_are_bounded_by_their_bytes_and_events_without_are_not() -> None:
    waiting: EventBacklog[Event] = EventBacklog()
    large = Message("a" * 40, b"c", bytes(BACKLOG_LEN_MAX_BYTES - 1), False)
    waiting.put_nowait(large)
    waiting.put_nowait(Message("a" * 40, b"", b"x", False))
    waiting.put_nowait(NodeSuspected("b" * 40))
    assert waiting.take_all() == [large, EventsLost(1), NodeSuspected("b" * 40)]


def test_a_stream_hands_out_what_waits_and_then_ends_with_its_error() -> None:
    async def scenario() -> None:
        stream = Stream(backlog())
        stream.put_nowait(b"1")
        stream.put_always_nowait(b"2")
        stream.close(RuntimeError("broken"))
        stream.close(RuntimeError("again"))
        assert [await anext(stream), await anext(stream)] == [b"1", b"2"]
        with pytest.raises(RuntimeError, match="broken"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(scenario())


def test_a_stream_wakes_its_consumer() -> None:
    async def scenario() -> None:
        stream = Stream(backlog())
        consumer = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        assert not consumer.done()
        stream.put_nowait(b"1")
        assert await asyncio.wait_for(consumer, 5) == b"1"

    asyncio.run(scenario())
