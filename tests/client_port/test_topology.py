"""The topology at the client port: a picture, then deltas, by pub/sub or by RESP3 push."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import NodeJoined, NodeLeft
from clusterbus.errors import StateError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.bus.harness import NODE_TIMEOUT_MS, pair, settings
from tests.loops import Run, until

CHANNEL = "__cluster__:topology"
DEADLINE_S = 20.0


class Follower:
    """What a client knows: a picture, and the deltas that it applied to it."""

    def __init__(self) -> None:
        self.run_id, self.version, self.state = "", 0, ""
        self.nodes: dict[str, dict[str, Any]] = {}
        self.owners: list[str | None] = [None] * 16_384
        self.taken = 0

    def take(self, text: str | bytes) -> None:
        told = json.loads(text)
        if told["previous"] is None:
            self.run_id, self.nodes, self.owners = told["run_id"], {}, [None] * 16_384
        else:
            assert (told["run_id"], told["previous"]) == (self.run_id, self.version), "nothing is missing in between"
        self.version, self.state = told["version"], told["state"]
        self.nodes |= {node["id"]: node for node in told["nodes"]}
        for node_id in told["gone"]:
            self.nodes.pop(node_id, None)
        for first, last, owner in told["slots"]:
            self.owners[first : last + 1] = [owner] * (last - first + 1)
        self.taken += 1


def is_as(follower: Follower, bus: clusterbus.Bus) -> bool:
    """Whether a follower knows what the node knows."""
    owners: list[str | None] = [None] * 16_384
    for part in bus.slots:
        owners[part.first : part.last + 1] = [part.node_id] * (part.last - part.first + 1)
    nodes = {
        node_id: ("replica" if node.is_replica else "primary", node.primary_id, node.config_epoch, node.port)
        for node_id, node in bus.nodes.items()
    }
    known = {
        node_id: (node["role"], node["primary"], node["epoch"], node["port"])
        for node_id, node in follower.nodes.items()
    }
    return (follower.owners, known, follower.state) == (owners, nodes, "ok" if bus.is_ok else "fail")


async def read(client: Redis, follower: Follower) -> None:
    async with client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            if message["type"] == "message":
                follower.take(message["data"])


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_subscriber_gets_the_picture_and_then_every_change(run: Run, tmp_path: Path, protocol: int) -> None:
    async def scenario() -> None:
        async with (
            pair(tmp_path, cluster_replica_no_failover=False) as (first, second),
            Redis(port=first._config.port, protocol=protocol) as client,
        ):
            follower = Follower()
            reading = asyncio.create_task(read(client, follower))
            try:
                await until(lambda: follower.taken == 1)
                assert is_as(follower, first)
                await first.add_slots(range(16_384))
                await until(lambda: is_as(follower, first) and first.is_ok)
                await first.move_slots(range(100, 200), second.node_id, timeout_s=DEADLINE_S)
                await until(lambda: is_as(follower, first) and follower.owners[150] == second.node_id)
                await first.del_slots([7])
                await until(lambda: is_as(follower, first) and follower.owners[7] is None)
                taken = follower.taken
                await asyncio.sleep(NODE_TIMEOUT_MS / 1000)
                assert follower.taken == taken, "a calm cluster has nothing to tell"
                await second.close()
                await until(lambda: follower.nodes[next(n for n in first.nodes if n != first.node_id)]["failing"] != "")
                assert is_as(follower, first)
            finally:
                reading.cancel()

    run(scenario())


def test_with_resp3_changes_are_pushed_after_topology_on(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            reader, writer = await asyncio.open_connection("127.0.0.1", bus._config.port)
            try:

                async def bulk() -> bytes:
                    head = await asyncio.wait_for(reader.readline(), DEADLINE_S)
                    assert head.startswith(b"$"), head
                    return (await reader.readexactly(int(head[1:]) + 2))[:-2]

                follower = Follower()
                writer.write(b"CLUSTER TOPOLOGY ON\r\n")
                assert (await reader.readline()).startswith(b"-ERR pushes need RESP3 (HELLO 3)")
                writer.write(b"HELLO 3\r\nPING\r\n")
                await reader.readuntil(b"+PONG\r\n")
                writer.write(b"CLUSTER TOPOLOGY ON\r\n")
                follower.take(await bulk())
                await bus.add_slots(range(16_384))
                while not (follower.taken > 1 and is_as(follower, bus)):
                    assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b">2\r\n"
                    assert await bulk() == b"topology"
                    follower.take(await bulk())
                writer.write(b"CLUSTER TOPOLOGY OFF\r\nCLUSTER TOPOLOGY NEVER\r\n")
                await reader.readuntil(b"+OK\r\n")
                assert await reader.readline() == b"-ERR syntax error\r\n"
                await bus.del_slots([7])
                writer.write(b"PING\r\n")
                assert await reader.readline() == b"+PONG\r\n", "and nothing is pushed any more"
            finally:
                writer.close()

    run(scenario())


def test_nobody_else_publishes_on_the_channel(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second), Redis(port=first._config.port) as client:
            follower = Follower()
            reading = asyncio.create_task(read(client, follower))
            try:
                await until(lambda: follower.taken == 1)
                with pytest.raises(ResponseError, match="is this node's own"):
                    await client.publish(CHANNEL, "{}")
                with pytest.raises(StateError, match="is this node's own"):
                    await first.publish(CHANNEL, "{}")
                # A node that knows no such rule sends it all the same.
                second._member().state.publish(CHANNEL.encode(), b"{}", second._member().clock.now_ms())
                second._member().settle()
                await until(lambda: first.info()["stats"]["cluster_topology_channel_refused"] == "1")
                assert follower.taken == 1
            finally:
                reading.cancel()

    run(scenario())


def test_without_subscribers_changes_are_counted_and_not_told(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            topology = bus._member().topology
            before = json.loads(topology.picture())["version"]
            await bus.add_slots(range(16_384))
            assert json.loads(topology.picture())["version"] == before + 1
            assert not topology.has_subscribers
            assert not topology._slot_bits
            assert topology.picture() is topology.picture(), "it is made once until something changes"

    run(scenario())


def test_a_node_that_went_and_came_in_one_round_is_there(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second), Redis(port=first._config.port) as client:
            follower = Follower()
            reading = asyncio.create_task(read(client, follower))
            try:
                await until(lambda: follower.taken == 1)
                topology = first._member().topology
                topology.on_event(NodeLeft(second.node_id, "forgotten"))
                topology.on_event(NodeJoined(second.node_id, "127.0.0.1", 1, 2))
                await until(lambda: follower.taken == 2)
                assert is_as(follower, first)
            finally:
                reading.cancel()

    run(scenario())
