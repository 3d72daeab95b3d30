"""`Bus.events()` through the life of a real cluster: every typed event comes, in the order in which things happened."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusterbus
from clusterbus import (
    AddressChanged,
    ElectionStarted,
    ElectionWon,
    EpochChanged,
    LinkDown,
    LinkUp,
    Message,
    NodeFailed,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeRecovered,
    NodeSuspected,
    NodeUnreachable,
    RoleChanged,
    SlotsChanged,
    StateChanged,
    TagsChanged,
)

from tests.bus.harness import DEADLINE_S, NODE_TIMEOUT_MS, order, settings, well
from tests.loops import Run, until
from tests.peers.cluster import assign_slots, form, node_id
from tests.peers.server import Server

Peers = Callable[..., Server]

ELSEWHERE = {
    "DataDropped",
    "ElectionLost",
    "HandoverEnded",
    "HandshakeFailed",
    "PeerRefused",
    "ModuleReceived",
    "SlotOrderEnded",
    "SlotOrdered",
    "SlotsTaken",
    "WritesPaused",
    "WritesResumed",
}
"""Events with tests of their own: `cluster/failover/test_election.py`, `cluster/failover/test_manual_failover.py`,
`cluster/operator/test_orders.py`, `membership/test_joining.py`, `test_bus_messages.py`, `sim/test_leaders.py`."""


class Diary:
    """The events that a stream has yielded so far."""

    def __init__(self, stream: clusterbus.EventStream[Any]) -> None:
        self.events: list[Any] = []
        self._task = asyncio.create_task(self._write(stream))

    async def _write(self, stream: clusterbus.EventStream[Any]) -> None:
        async for event in stream:
            self.events.append(event)

    async def has(self, *wanted: object) -> None:
        """Waits until all of these events have come since the last call of `turn`."""
        try:
            await until(lambda: all(event in self.events for event in wanted))
        except TimeoutError:
            missing = [event for event in wanted if event not in self.events]
            raise AssertionError(f"never told: {missing}; told: {self.events}") from None

    def first(self, event: object) -> int:
        return self.events.index(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def turn(self) -> set[type]:
        """Begins a new page; returns the kinds of the events on the old one."""
        kinds = {type(event) for event in self.events}
        self.events.clear()
        return kinds


def test_every_event_of_a_clusters_life_is_told(run: Run, peers: Peers, tmp_path: Path) -> None:
    """A node joins, follows a primary, sees it fail, is elected in its place, sees it come back and forgets it."""
    # The others wait longer than the bus, or they may agree on FAIL before it suspects anything itself.
    servers = [peers("valkey", cluster_node_timeout=2 * NODE_TIMEOUT_MS) for _ in range(3)]
    form(servers, servers)
    ids = [node_id(server) for server in servers]
    victim, victim_id = servers[2], ids[2]

    async def scenario() -> set[type]:
        async with clusterbus.Bus(**settings(tmp_path / "bus", cluster_replica_no_failover="no")) as bus:
            me = bus.node_id
            diary = Diary(bus.events(*typing.get_args(clusterbus.Event)))
            await bus.meet("127.0.0.1", servers[0].port)
            await diary.has(
                *(NodeJoined(ids[i], "127.0.0.1", servers[i].port, servers[i].bus_port) for i in range(3)),
                *(LinkUp(one, inbound) for one in ids for inbound in (False, True)),
                *(EpochChanged(ids[i], i + 1) for i in range(3)),
                SlotsChanged(victim_id, ((10_922, 16_383),), ()),
                AddressChanged(me, "127.0.0.1", bus._config.port, bus._config.bus_port),
                StateChanged("ok"),
            )
            joined = diary.first(NodeJoined(ids[0], "127.0.0.1", servers[0].port, servers[0].bus_port))
            assert joined < diary.first(EpochChanged(ids[0], 1))
            await until(lambda: well(bus) == 4)
            told = diary.turn()

            await order(bus, b"CLUSTER REPLICATE " + victim_id.encode())
            servers[0].call("PUBLISH", "news", "hello")
            await bus.set_tags({"role": "spare"})
            await diary.has(
                RoleChanged(me, "replica", victim_id),
                Message(ids[0], b"news", b"hello", False),
                TagsChanged(me, {"role": "spare"}),
            )
            told |= diary.turn()

            victim.kill()
            await diary.has(NodeSuspected(victim_id), ElectionStarted(me, 4), ElectionWon(me, 4))
            await diary.has(
                RoleChanged(me, "primary", None),
                SlotsChanged(victim_id, (), ((10_922, 16_383),)),
                SlotsChanged(me, ((10_922, 16_383),), ()),
                EpochChanged(me, 4),
                StateChanged("ok"),
            )
            assert {event.node_id for event in diary.of(LinkDown)} == {victim_id}
            (unreachable,) = diary.of(NodeUnreachable)
            assert unreachable.node_id == victim_id
            (failed,) = diary.of(NodeFailed)
            assert failed.node_id == victim_id
            sequence = [NodeSuspected(victim_id), failed, ElectionStarted(me, 4), ElectionWon(me, 4)]
            assert sorted(sequence, key=diary.first) == sequence
            told |= diary.turn()

            victim.start()
            await diary.has(
                NodeRecovered(victim_id, was_failed=True),
                NodeReachable(victim_id),
                RoleChanged(victim_id, "replica", me),
            )
            await bus.forget(victim_id)
            await diary.has(NodeLeft(victim_id, "forgotten"))
            return told | diary.turn()

    told = run(scenario())
    every = {kind.__name__ for kind in typing.get_args(clusterbus.Event)}
    assert {kind.__name__ for kind in told} == every - ELSEWHERE


def test_each_stream_has_a_backlog_of_its_own_and_says_what_it_lost(run: Run, peers: Peers, tmp_path: Path) -> None:
    """The cluster makes more events than the slow stream holds; the quick stream has them all."""
    servers = [peers("valkey", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    assign_slots(servers)
    servers[0].call("CLUSTER", "MEET", "127.0.0.1", servers[1].port)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            kinds = typing.get_args(clusterbus.Event)
            slow, quick = bus.events(*kinds, backlog=3), Diary(bus.events(*kinds))
            await bus.meet("127.0.0.1", servers[0].port)
            await quick.has(*(NodeJoined(node_id(s), "127.0.0.1", s.port, s.bus_port) for s in servers))
            await quick.has(StateChanged("ok"))
            seen = list(quick.events)
            assert [await anext(slow) for _ in range(3)] == seen[:3]
            lost = await anext(slow)
            assert isinstance(lost, clusterbus.EventsLost)
            assert lost.count >= len(seen) - 3
            count = len(quick.events)
            servers[0].call("PUBLISH", "news", "hello")
            await quick.has(Message(node_id(servers[0]), b"news", b"hello", False))
            async with asyncio.timeout(DEADLINE_S):
                assert await anext(slow) == quick.events[count]

    run(scenario())
