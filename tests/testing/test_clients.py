"""redis-py and valkey-py, synchronous and asyncio, on a cluster of `examples/key_value.py`: they pass its failovers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio.cluster
import redis.cluster
import valkey.asyncio.cluster
import valkey.cluster
from clusterbus.testing import BlockingCluster, Cluster, blocking_cluster, cluster
from clusterbus.wire import key_slot

from examples.key_value import KeyValueNode
from tests.loops import Run

KEYS = [f"key:{number}" for number in range(60)]
ROUNDS_MAX = 200
CLIENTS: dict[str, Any] = {"redis-py": redis.cluster.RedisCluster, "valkey-py": valkey.cluster.ValkeyCluster}
ASYNC_CLIENTS: dict[str, Any] = {
    "redis-py": redis.asyncio.cluster.RedisCluster,
    "valkey-py": valkey.asyncio.cluster.ValkeyCluster,
}
NODES: dict[str, Any] = {"redis-py": redis.cluster.ClusterNode, "valkey-py": valkey.cluster.ClusterNode}
ERRORS = (redis.RedisError, valkey.ValkeyError, OSError)


def has_copied(primary: KeyValueNode, replica: KeyValueNode) -> bool:
    return primary.values == replica.values != {}


def stores(c: Cluster) -> list[KeyValueNode]:
    return [node for node in c.nodes if isinstance(node, KeyValueNode)]


def all_copied(c: Cluster) -> bool:
    """Whether replicas 3, 4 and 5 have the values of their primaries 0, 1 and 2."""
    nodes = stores(c)
    return all(has_copied(nodes[n], nodes[n + 3]) for n in range(3))


def until_accepted(write: Callable[[], Any], wait_ok: Callable[[], None]) -> None:
    """A client may give up while nobody owns the slots; the program tries again when somebody does."""
    for _ in range(ROUNDS_MAX):
        try:
            assert write()
        except ERRORS:
            wait_ok()
        else:
            return
    raise AssertionError(f"refused {ROUNDS_MAX} times")


@pytest.mark.parametrize("library", CLIENTS)
def test_a_synchronous_client_writes_on_through_a_failover_and_a_crash(library: str) -> None:
    with blocking_cluster(primaries=3, replicas=1, bus_factory=KeyValueNode) as c:
        host, port = c.addresses[0]
        with CLIENTS[library](host=host, port=port, decode_responses=True) as client:
            assert all(client.set(key, "before") for key in KEYS)
            c.wait_until(all_copied)
            assert c.failover(0) == 3
            assert [client.get(key) for key in KEYS] == ["before"] * len(KEYS)
            assert all(client.set(key, "after") for key in KEYS)
            c.wait_until(lambda made: has_copied(*(stores(made)[n] for n in (3, 0))) and all_copied_from_1(made))
            slot_of_1 = next(key for key in KEYS if c.owner_of(key_slot(key.encode())) == 1)
            c.fail(1)
            until_accepted(lambda: client.set(slot_of_1, "crash"), c.wait_ok)
            c.wait_ok()
            assert c.owner_of(key_slot(slot_of_1.encode())) == 4
            assert [client.get(key) for key in KEYS] == ["crash" if key == slot_of_1 else "after" for key in KEYS]
            assert written(c, 4, slot_of_1) == b"crash"


def all_copied_from_1(c: Cluster) -> bool:
    return all(has_copied(stores(c)[n], stores(c)[n + 3]) for n in (1, 2))


def written(c: BlockingCluster, n: int, key: str) -> bytes | None:
    return c.ask(lambda made: stores(made)[n].values.get(key.encode()))


@pytest.mark.parametrize("library", ASYNC_CLIENTS)
def test_an_asyncio_client_writes_on_through_a_failover_and_a_crash(run: Run, library: str) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1, bus_factory=KeyValueNode) as c:
            host, port = c.addresses[0]
            async with ASYNC_CLIENTS[library](host=host, port=port, decode_responses=True) as client:
                assert all(await asyncio.gather(*(client.set(key, "before") for key in KEYS)))
                await c.wait_until(lambda: all_copied(c))
                assert await c.failover(0) == 3
                assert [await client.get(key) for key in KEYS] == ["before"] * len(KEYS)
                key = [key for key in KEYS if await c.owner_of(key_slot(key.encode())) == 1][0]  # noqa: RUF015
                await c.fail(1)
                for _ in range(ROUNDS_MAX):
                    try:
                        assert await client.set(key, "crash")
                        break
                    except ERRORS:
                        await c.wait_ok()
                assert stores(c)[4].values[key.encode()] == b"crash"
                assert [await client.get(other) for other in KEYS] == [
                    "crash" if other == key else "before" for other in KEYS
                ]

    run(scenario())
