"""`Bus.events(NodeFailed, ...)`: only what was asked for enters the queue, and a type checker knows what comes out."""

from __future__ import annotations

import asyncio
import typing
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import (
    ClusterEvent,
    Event,
    EventsLost,
    EventStream,
    LinkDown,
    Message,
    ModuleReceived,
    NodeFailed,
    NodeJoined,
    NodeLeft,
    SlotsChanged,
)
from clusterbus.errors import StateError

from tests.bus.harness import DEADLINE_S, order, pair, settings
from tests.loops import Run, until

PUBLISHED = 6_000


def test_messages_push_no_event_out_of_a_stream_that_did_not_ask_for_them(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            small, plain = second.events(NodeLeft, backlog=1), second.events()
            last = second.events(Message, backlog=PUBLISHED)
            for number in range(PUBLISHED):
                await first.publish("c", b"%d" % number)
            await first.send(second.node_id, 1, 1, b"a module message")
            async with asyncio.timeout(DEADLINE_S):
                heard = [await anext(last) for _ in range(PUBLISHED)]
            assert [event.message for event in heard if isinstance(event, Message)] == [
                b"%d" % number for number in range(PUBLISHED)
            ]
            await second.forget(first.node_id)
            async with asyncio.timeout(DEADLINE_S):
                assert await anext(small) == NodeLeft(first.node_id, "forgotten")
                seen = [await anext(plain)]
                while seen[-1] != NodeLeft(first.node_id, "forgotten"):
                    seen.append(await anext(plain))
            assert not [event for event in seen if isinstance(event, Message | ModuleReceived | EventsLost)]

    run(scenario())


def test_an_overflow_keeps_the_oldest_and_says_how_many_are_missing_after_them(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            slow, quick = bus.events(SlotsChanged, backlog=2), bus.events(SlotsChanged)
            for slot in range(5):
                await order(bus, b"CLUSTER ADDSLOTS %d" % slot)
            async with asyncio.timeout(DEADLINE_S):
                five = [await anext(quick) for _ in range(5)]
                assert [await anext(slow) for _ in range(3)] == [*five[:2], EventsLost(3)]
                await order(bus, b"CLUSTER ADDSLOTS 5")
                assert await anext(slow) == SlotsChanged(bus.node_id, ((5, 5),), ())

    run(scenario())


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("NodeFailed", "str: 'NodeFailed'"),
        (int, "type: <class 'int'>"),
        (EventsLost, "EventsLost"),
        (NodeLeft("f" * 40, "forgotten"), "NodeLeft: NodeLeft("),
        (ClusterEvent, "UnionType"),
        (None, "NoneType: None"),
    ],
)
def test_what_is_no_class_of_an_event_is_named(run: Run, tmp_path: Path, kind: Any, named: str) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            with pytest.raises(TypeError, match="a kind of event must be a class of events") as caught:
                bus.events(NodeFailed, kind)
            assert named in str(caught.value)
            with pytest.raises(StateError, match="backlog must be at least 1"):
                bus.events(NodeFailed, backlog=0)
            with pytest.raises(TypeError, match="backlog must be an int"):
                bus.events(backlog="many")  # type: ignore[call-overload]
            assert len(bus._streams) == 0

    run(scenario())


def test_a_type_checker_knows_what_comes_out(run: Run, tmp_path: Path) -> None:
    """mypy reads these lines as part of `make lint`."""

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            typing.assert_type(bus.events(), EventStream[ClusterEvent])
            typing.assert_type(bus.events(NodeFailed, backlog=1), EventStream[NodeFailed])
            two = bus.events(NodeFailed, SlotsChanged)
            typing.assert_type(two, EventStream[NodeFailed | SlotsChanged])
            six = bus.events(NodeFailed, SlotsChanged, NodeJoined, NodeLeft, LinkDown, Message)
            typing.assert_type(six, EventStream[Event])
            assert two.kinds == {NodeFailed, SlotsChanged}
            assert len(six.kinds) == 6
            assert bus.events().kinds == set(typing.get_args(Event)) - {Message, ModuleReceived}
            bus.events("NodeFailed") if typing.TYPE_CHECKING else None  # type: ignore[call-overload]
            bus.events(int) if typing.TYPE_CHECKING else None  # type: ignore[type-var]
            await bus.close()
            async for event in two:
                typing.assert_type(event, NodeFailed | SlotsChanged | EventsLost)

    run(scenario())


def test_a_stream_of_messages_alone_is_bounded_too(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            heard, all_of_them = second.events(ModuleReceived, backlog=1), second.events(ModuleReceived)
            for number in range(3):
                await first.send(None, 7, 1, b"%d" % number)
            await until(lambda: len(all_of_them._backlog) == 3)
            assert await anext(heard) == ModuleReceived(first.node_id, 7, 1, b"0")
            assert await anext(heard) == EventsLost(2)

    run(scenario())
