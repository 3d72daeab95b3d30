"""redis-py and valkey-py, as their own guides use them, on three Valkey primaries and three clusterbus replicas (S11).

The list of usages is that of the clients' pages about clusters: creating a client, target nodes, commands with many
keys, pipelines, pub/sub, sharded pub/sub, reads from replicas; and what the client does while a primary fails and
returns, and while a Valkey replica takes its place. Our replicas keep no data: no client may read from them, and every
client may begin at one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio.cluster
import redis.cluster
import valkey
import valkey.asyncio.cluster
import valkey.cluster
from clusterbus.wire import key_slot

from tests.peers.cluster import (
    SLOT_COUNT,
    all_know_all,
    assign_slots,
    cluster_nodes,
    listings,
    meet,
    node_id,
    wait_until,
)
from tests.peers.server import CALL_TIMEOUT_S, Server

SHARDS = 3
KEYS = 90
DEADLINE_S = 40.0
NODE_TIMEOUT_MS = 1500
LIBRARIES: dict[str, Any] = {"redis-py": redis, "valkey-py": valkey}
CLUSTERS: dict[str, Any] = {"redis-py": redis.cluster.RedisCluster, "valkey-py": valkey.cluster.ValkeyCluster}
ASYNC_CLUSTERS: dict[str, Any] = {
    "redis-py": redis.asyncio.cluster.RedisCluster,
    "valkey-py": valkey.asyncio.cluster.ValkeyCluster,
}
NODES: dict[str, Any] = {"redis-py": redis.cluster.ClusterNode, "valkey-py": valkey.cluster.ClusterNode}
ERRORS = (
    redis.RedisError,
    valkey.ValkeyError,
    redis.exceptions.RedisClusterException,
    valkey.exceptions.ValkeyClusterException,
)
READING: dict[str, list[dict[str, Any]]] = {
    "redis-py": [{"load_balancing_strategy": strategy} for strategy in redis.cluster.LoadBalancingStrategy],
    "valkey-py": [{"read_from_replicas": True}],
}


class Shards:
    """`valkeys` are primaries with keys, `ours` one replica of each, `spare` a Valkey replica of the first."""

    def __init__(self, folder: Path) -> None:
        directives = {
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "appendonly": "yes",
            "repl-diskless-sync-delay": "0",
        }
        self.valkeys = [Server("valkey", folder / f"v{n}", directives=directives) for n in range(SHARDS)]
        self.spare = Server("valkey", folder / "spare", directives=directives)
        ours = {"cluster-node-timeout": str(NODE_TIMEOUT_MS)}
        self.ours = [Server("clusterbus", folder / f"c{n}", directives=ours) for n in range(SHARDS)]
        self.all = [*self.valkeys, self.spare, *self.ours]

    def form(self) -> None:
        for server in self.all:
            server.start()
        assign_slots(self.valkeys)
        meet(self.all)
        wait_until(lambda: all_know_all(self.all), DEADLINE_S, lambda: listings(self.all))
        for replica, primary in [*zip(self.ours, self.valkeys, strict=True), (self.spare, self.valkeys[0])]:
            assert replica.call("CLUSTER", "REPLICATE", node_id(primary)) == "OK"
        self.wait_ready()

    @property
    def first_shard(self) -> tuple[Server, Server]:
        """The primary of the first shard, whichever Valkey node that is now, and its Valkey replica."""
        pair = (self.valkeys[0], self.spare)
        return pair if pair[0].call("ROLE")[0] == "master" else (pair[1], pair[0])

    def wait_ready(self) -> None:
        """Waits until every node holds the cluster ok and agrees on the roles, and the Valkey replica has its data."""
        primary, replica = self.first_shard
        primaries = {node_id(server) for server in (primary, *self.valkeys[1:])}

        def is_ready() -> bool:
            tables = [cluster_nodes(server) for server in self.all]
            roles = [{line.node_id for line in table.values() if line.primary is None} for table in tables]
            return (
                all(roles_seen == primaries for roles_seen in roles)
                and not any(line.is_suspected for table in tables for line in table.values())
                and all(server.info()["cluster_state"] == "ok" for server in self.all)
                and replica.info()["master_link_status"] == "up"
                and all(self.spare_is_shown(server, replica) for server in self.all)
            )

        wait_until(is_ready, DEADLINE_S, lambda: listings(self.all))

    @staticmethod
    def spare_is_shown(server: Server, replica: Server) -> bool:
        """Whether a node lists the Valkey replica to clients, which it does when it has heard of its offset."""
        return any(replica.port in node[1:2] for row in server.call("CLUSTER", "SLOTS") for node in row[3:])

    def stop(self) -> None:
        for server in self.all:
            server.stop()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    formed = Shards(tmp_path_factory.mktemp("clients"))
    try:
        formed.form()
        yield formed
    except BaseException:
        for server in formed.all:
            print(server.log_tail())
        raise
    finally:
        formed.stop()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(shards: Shards, library: str) -> Iterator[Any]:
    """A client that knows only one of our nodes at first, on a cluster with KEYS keys."""
    made = CLUSTERS[library]("127.0.0.1", shards.ours[1].port, socket_timeout=CALL_TIMEOUT_S, decode_responses=True)
    made.mset_nonatomic({f"key{n}": f"value{n}" for n in range(KEYS)})
    yield made
    made.close()


def ports(nodes: Any) -> set[int]:
    return {node.port for node in nodes}


def values(keys: range) -> list[str]:
    return [f"value{n}" for n in keys]


def shard_of(name: str) -> int:
    """The number of the shard that a key or a shard channel belongs to."""
    slot = key_slot(name.encode())
    return max(number for number in range(SHARDS) if SLOT_COUNT * number // SHARDS <= slot)


# ---------------------------------------------------------------- topology


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_client_that_knows_one_of_our_nodes_finds_the_shards_and_none_of_our_replicas_s11_p24(
    shards: Shards, library: str, number: int
) -> None:
    made = CLUSTERS[library].from_url(
        f"redis://127.0.0.1:{shards.ours[number].port}/0"
        if library == "redis-py"
        else f"valkey://127.0.0.1:{shards.ours[number].port}/0"
    )
    try:
        primary, replica = shards.first_shard
        assert ports(made.get_primaries()) == {server.port for server in (primary, *shards.valkeys[1:])}
        assert ports(made.get_replicas()) == {replica.port}
        assert made.get_default_node() in made.get_primaries()
        assert len(made.nodes_manager.slots_cache) == SLOT_COUNT
        assert made.keyslot("key1") == key_slot(b"key1")
        assert made.get_node_from_key("key1") in made.get_primaries()
        assert made.set("key1", "value1")
    finally:
        made.close()


def test_a_start_node_that_is_down_is_passed_over_s11(shards: Shards, library: str) -> None:
    start = [NODES[library]("127.0.0.1", 1), NODES[library]("127.0.0.1", shards.ours[2].port)]
    made = CLUSTERS[library](startup_nodes=start)
    try:
        assert len(made.get_primaries()) == SHARDS
    finally:
        made.close()


def test_commands_go_to_the_nodes_that_they_are_meant_for_s11(shards: Shards, client: Any) -> None:
    kind = type(client)
    assert client.ping(target_nodes=kind.ALL_NODES)
    assert client.ping(target_nodes=kind.REPLICAS)
    assert client.ping(target_nodes=kind.RANDOM)
    assert client.ping(target_nodes=client.get_primaries()[:2])
    assert client.dbsize(target_nodes=kind.PRIMARIES) == KEYS
    assert len(client.keys("key*", target_nodes=kind.PRIMARIES)) == KEYS
    assert len(list(client.scan_iter("key*", count=50))) >= KEYS
    infos = client.info("server", target_nodes=kind.ALL_NODES)
    assert len(infos) == len(client.get_nodes())
    echoes = client.execute_command("ECHO", "x", target_nodes=client.get_primaries())
    assert list(echoes.values()) == ["x"] * SHARDS
    listed = client.cluster_nodes()
    assert {int(address.rpartition(":")[2].partition("@")[0]) for address in listed} == {s.port for s in shards.all}
    assert client.cluster_info()["cluster_state"] == "ok"
    assert len(client.cluster_shards()) == SHARDS
    node = client.get_node_from_key("key1")
    assert client.cluster_countkeysinslot(key_slot(b"key1")) >= 1
    plain = (
        client.get_redis_connection(node) if kind is redis.cluster.RedisCluster else client.get_valkey_connection(node)
    )
    assert plain.get("key1") == "value1"


# ---------------------------------------------------------------- keys


def test_commands_with_many_keys_s11(client: Any) -> None:
    assert client.mget_nonatomic(*(f"key{n}" for n in range(KEYS))) == values(range(KEYS))
    assert client.mset({"{t}1": "a", "{t}2": "b"})
    assert client.mget("{t}1", "{t}2", "{t}3") == ["a", "b", None]
    with pytest.raises(ERRORS):
        client.mget("key1", "key2")
    assert client.exists("key1", "key2", "none") == 2
    assert client.touch("key1", "key2") == 2
    assert client.unlink("{t}1") == 1
    assert client.delete("{t}2", "key1", "none") == 2


def test_pipelines_within_a_slot_and_over_slots_s11(client: Any) -> None:
    with client.pipeline() as pipe:
        for n in range(KEYS):
            pipe.set(f"key{n}", f"value{n}").get(f"key{n}")
        answers = pipe.execute()
    assert answers[1::2] == values(range(KEYS))
    assert answers[::2] == [True] * KEYS
    with client.pipeline() as pipe:
        assert pipe.set("{p}n", 1).incr("{p}n").expire("{p}n", 60).execute() == [True, 2, True]
    with client.pipeline() as pipe:
        first, second, third = pipe.set("key1", "value1").lpush("key1", "x").get("key1").execute(raise_on_error=False)
    assert (first, third) == (True, "value1")
    assert isinstance(second, ERRORS)
    with client.pipeline() as pipe, pytest.raises(ERRORS, match="WRONGTYPE"):
        pipe.lpush("key1", "x").execute()


def test_a_transaction_in_one_slot_s11_p36(shards: Shards) -> None:
    """Only redis-py has them."""
    with redis.cluster.RedisCluster("127.0.0.1", shards.ours[0].port, decode_responses=True) as client:
        client.set("{m}n", 1)
        with client.pipeline(transaction=True) as pipe:
            pipe.watch("{m}n")
            pipe.multi()
            assert pipe.incr("{m}n").get("{m}n").execute() == [2, "2"]
        with client.pipeline(transaction=True) as pipe, pytest.raises(ERRORS):
            pipe.set("key1", "x").set("key2", "x").execute()
        assert client.delete("{m}n") == 1


# ---------------------------------------------------------------- pub/sub


def heard(poll: Callable[..., Any], count: int) -> list[tuple[str, str]]:
    """(channel, data) of the next messages, confirmations left out."""
    messages: list[tuple[str, str]] = []

    def has_all() -> bool:
        while (message := poll(timeout=0.05)) is not None:
            if message["type"].endswith("message"):
                messages.append((message["channel"], message["data"]))
        return len(messages) >= count

    wait_until(has_all, DEADLINE_S, lambda: f"{count} messages, not {messages}")
    return messages


def confirmed(poll: Callable[..., Any], count: int) -> None:
    """Waits for the confirmations of so many subscriptions."""
    seen: list[str] = []

    def has_all() -> bool:
        message = poll(timeout=0.05)
        if message is not None:
            seen.append(message["type"])
        return len(seen) >= count

    wait_until(has_all, DEADLINE_S, lambda: f"{count} confirmations, not {seen}")


def plain_client(library: str, server: Server) -> Any:
    made = LIBRARIES[library].Redis if library == "redis-py" else LIBRARIES[library].Valkey
    return made(port=server.port, decode_responses=True, socket_timeout=CALL_TIMEOUT_S)


def test_messages_reach_subscribers_at_every_node_also_at_ours_s11(shards: Shards, library: str, client: Any) -> None:
    """Published by the cluster client, which picks a node, and at one of our nodes."""
    with contextlib.ExitStack() as stack:
        ours = plain_client(library, shards.ours[2])
        stack.callback(ours.close)
        subscribers = [client.pubsub(), *(client.pubsub(node=node) for node in client.get_nodes())]
        subscribers += [client.pubsub(host="127.0.0.1", port=client.get_primaries()[0].port), ours.pubsub()]
        for subscriber in subscribers:
            stack.callback(subscriber.close)
            subscriber.subscribe("news")
            subscriber.psubscribe("wea*")
            confirmed(subscriber.get_message, 2)
        client.publish("news", "one")
        client.publish("weather", "rain")
        ours.publish("news", "two")
        for subscriber in subscribers:
            assert sorted(heard(subscriber.get_message, 3)) == [("news", "one"), ("news", "two"), ("weather", "rain")]
        assert "news" in client.pubsub_channels(target_nodes="primaries")


def test_sharded_messages_reach_the_shards_primary_and_our_replica_s11(
    shards: Shards, library: str, client: Any
) -> None:
    channels = [f"channel{n}" for n in range(6)]
    subscriber = client.pubsub()
    ours = [plain_client(library, server) for server in shards.ours]
    try:
        subscriber.ssubscribe(*channels)
        confirmed(subscriber.get_sharded_message, len(channels))
        at_ours = {}
        for channel in channels:
            at_ours[channel] = ours[shard_of(channel)].pubsub()
            at_ours[channel].ssubscribe(channel)
            confirmed(at_ours[channel].get_message, 1)
        for channel in channels:
            client.spublish(channel, f"to {channel}")
        expected = [(channel, f"to {channel}") for channel in channels]
        assert sorted(heard(subscriber.get_sharded_message, len(channels))) == expected
        for channel in channels:
            assert heard(at_ours[channel].get_message, 1) == [(channel, f"to {channel}")]
        subscriber.sunsubscribe()
        wait_until(lambda: not any(client.spublish(channel, "x") for channel in channels), DEADLINE_S, "unsubscribed")
    finally:
        subscriber.close()
        for plain in ours:
            plain.close()


# ---------------------------------------------------------------- reads from replicas


def test_reads_from_replicas_are_never_answered_by_nodes_without_data_s11_p3(
    shards: Shards, library: str, client: Any
) -> None:
    assert client.readonly(target_nodes=type(client).REPLICAS)
    assert client.readwrite(target_nodes=type(client).REPLICAS)
    client.mset_nonatomic({f"key{n}": f"value{n}" for n in range(KEYS)})
    primary, replica = shards.first_shard
    wait_until(lambda: replica.call("DBSIZE") == primary.call("DBSIZE"), DEADLINE_S, "the replica has all keys")
    before = [server.counter("total_commands_processed") for server in shards.ours]
    reads_before = replica.counter("total_commands_processed")
    for options in READING[library]:
        reader = CLUSTERS[library]("127.0.0.1", shards.valkeys[1].port, decode_responses=True, **options)
        try:
            assert [reader.get(f"key{n}") for n in range(KEYS)] == values(range(KEYS))
            assert reader.mget_nonatomic(*(f"key{n}" for n in range(KEYS))) == values(range(KEYS))
        finally:
            reader.close()
    after = [server.counter("total_commands_processed") for server in shards.ours]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2] * SHARDS, "nothing but our own INFOs"
    assert replica.counter("total_commands_processed") > reads_before + KEYS // SHARDS // 2


def test_a_reader_that_insists_on_our_replica_is_redirected_and_never_gets_an_empty_answer_s11_p3(
    shards: Shards, library: str, client: Any
) -> None:
    for server, key in zip(shards.ours, key_of_each_shard(), strict=True):
        with contextlib.closing(plain_client(library, server)) as plain:
            assert plain.execute_command("READONLY")
            with pytest.raises(ERRORS) as caught:
                plain.get(key)
            assert "MOVED" in f"{type(caught.value).__name__} {caught.value}".upper()
        assert client.get(key) == f"value{key.removeprefix('key')}"


def key_of_each_shard() -> list[str]:
    """One of the KEYS keys of each shard, in the order of the shards."""
    keys = [f"key{n}" for n in range(KEYS)]
    return [next(key for key in keys if shard_of(key) == number) for number in range(SHARDS)]


# ---------------------------------------------------------------- asyncio


def test_the_asyncio_clients_s11(shards: Shards, library: str) -> None:
    async def use() -> None:
        kind = ASYNC_CLUSTERS[library]
        async with kind("127.0.0.1", shards.ours[0].port, decode_responses=True) as client:
            assert len(client.get_primaries()) == SHARDS
            assert len(client.get_replicas()) == 1
            await client.mset_nonatomic({f"key{n}": f"value{n}" for n in range(KEYS)})
            assert await client.mget_nonatomic(*(f"key{n}" for n in range(KEYS))) == values(range(KEYS))
            got = await asyncio.gather(*(client.get(f"key{n}") for n in range(KEYS)))
            assert got == values(range(KEYS))
            assert await client.ping(target_nodes=kind.ALL_NODES)
            assert await client.dbsize(target_nodes=kind.PRIMARIES) >= KEYS
            async with client.pipeline() as pipe:
                for n in range(KEYS):
                    pipe.get(f"key{n}")
                assert await pipe.execute() == values(range(KEYS))
            if library == "redis-py":  # valkey-py has none here
                async with client.pubsub() as subscriber:
                    await subscriber.subscribe("news")
                    assert (await subscriber.get_message(timeout=DEADLINE_S))["type"] == "subscribe"
                    await client.publish("news", "x")
                    assert (await subscriber.get_message(timeout=DEADLINE_S))["data"] == "x"
        async with kind("127.0.0.1", shards.ours[0].port, decode_responses=True, **READING[library][0]) as reader:
            assert [await reader.get(f"key{n}") for n in range(KEYS)] == values(range(KEYS))

    asyncio.run(use())


# ---------------------------------------------------------------- failures


def works(client: Any) -> bool:
    """Whether the client reads and writes every key; it finds out by itself where they are."""
    try:
        return all(client.set(f"key{n}", f"value{n}") and client.get(f"key{n}") == f"value{n}" for n in range(KEYS))
    except ERRORS:
        return False


def test_a_client_follows_a_failover_between_valkey_nodes_s11(shards: Shards, client: Any) -> None:
    primary, replica = shards.first_shard
    key = key_of_each_shard()[0]
    assert client.get_node_from_key(key).port == primary.port
    assert replica.call("CLUSTER", "FAILOVER") == "OK"
    wait_until(lambda: shards.first_shard[0] is replica, DEADLINE_S, lambda: listings(shards.all))
    wait_until(lambda: works(client), DEADLINE_S, "the client reads and writes again")
    assert client.get_node_from_key(key).port == replica.port
    shards.wait_ready()
    assert cluster_nodes(shards.ours[0])[node_id(shards.ours[0])].primary == node_id(replica)
    fresh = type(client)("127.0.0.1", shards.ours[0].port, decode_responses=True)
    try:
        assert works(fresh)
    finally:
        fresh.close()


def test_a_client_outlives_a_primary_that_fails_and_returns_s11_p1(shards: Shards, client: Any) -> None:
    """Its only replica is ours, which must not take its place: its keys are gone for a while, and none is lost."""
    victim = shards.valkeys[2]
    victim_id = node_id(victim)
    rest = [server for server in shards.all if server is not victim]
    keys_before = victim.call("DBSIZE")
    victim.kill()
    wait_until(
        lambda: all(cluster_nodes(server)[victim_id].is_failed for server in rest), DEADLINE_S, lambda: listings(rest)
    )
    with pytest.raises(ERRORS):
        client.get(key_of_each_shard()[2])
    assert cluster_nodes(shards.ours[2])[node_id(shards.ours[2])].primary == victim_id
    victim.start()
    assert victim.call("DBSIZE") == keys_before
    shards.wait_ready()
    wait_until(lambda: works(client), DEADLINE_S, "the client reads and writes again")
