"""Typed events between the main loop and a consumer: limited, in order, every loss reported."""

from __future__ import annotations

import asyncio

import pytest
from clusterbus.cluster.events import Event, NodeSuspected
from clusterbus.errors import StateError
from clusterbus.streams.event_stream import EventBacklog, EventsLost, EventStream


def event(number: int) -> Event:
    return NodeSuspected(f"{number:040x}")


def test_events_come_out_in_order() -> None:
    backlog: EventBacklog[Event] = EventBacklog()
    for number in range(5):
        backlog.put_nowait(event(number))
    assert backlog.take() == event(0)
    assert backlog.take_all() == [event(number) for number in range(1, 5)]
    assert len(backlog) == 0


def test_a_full_backlog_counts_what_is_lost_where_it_is_lost() -> None:
    backlog: EventBacklog[Event] = EventBacklog(events_max=3)
    for number in range(7):
        backlog.put_nowait(event(number))
    assert len(backlog) == 4
    assert backlog.take() == event(0)
    assert backlog.take() == event(1)
    backlog.put_nowait(event(7))
    assert backlog.take_all() == [event(2), EventsLost(4), event(7)]


def test_exactly_the_limit_loses_nothing() -> None:
    backlog: EventBacklog[Event] = EventBacklog(events_max=3)
    for number in range(3):
        backlog.put_nowait(event(number))
    assert backlog.take_all() == [event(0), event(1), event(2)]


def test_a_backlog_of_nothing_is_refused() -> None:
    with pytest.raises(StateError, match="backlog must be at least 1"):
        EventBacklog(events_max=0)


def test_a_stream_waits_for_events_and_ends_when_closed() -> None:
    async def scenario() -> list[Event | EventsLost]:
        stream: EventStream[Event] = EventStream()
        seen: list[Event | EventsLost] = []

        async def consume() -> None:
            async for each in stream:
                seen.append(each)

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0)
        stream.put_nowait(event(1))
        stream.put_nowait(event(2))
        stream.close()
        await asyncio.wait_for(consumer, 5)
        return seen

    assert asyncio.run(scenario()) == [event(1), event(2)]
