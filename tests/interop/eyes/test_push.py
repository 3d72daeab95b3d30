"""Cluster clients that follow the pushed topology, through a failover, a partition and a node with another id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
import valkey
from clusterbus import topology
from clusterbus.errors import ConfigError, StateError
from clusterbus.topology import FeedState

from tests.interop.eyes.mixed import VALKEY, WAIT_S, Mixed
from tests.peers.cluster import wait_until
from tests.peers.ports import free_port

MIXED = {"cluster_require_full_coverage": "no"}
KEY = "{06S}key"  # of slot 0
CLIENTS = {"redis": redis.RedisCluster, "valkey": valkey.ValkeyCluster}


def asked(mixed: Mixed) -> int:
    """How often the Valkey nodes that run were asked CLUSTER SLOTS, as they count it."""
    total = 0
    for n in VALKEY:
        if mixed.nodes[n].is_running:
            lines = str(mixed.call(n, "INFO", "commandstats")).splitlines()
            calls = [line for line in lines if line.startswith("cmdstat_cluster|slots:")]
            total += sum(int(line.split("calls=")[1].split(",")[0]) for line in calls)
    return total


@contextlib.contextmanager
def clients(mixed: Mixed) -> Iterator[dict[str, tuple[Any, topology.Attached]]]:
    """Both libraries' clients, which start at a clusterbus node and follow one of two."""
    with contextlib.ExitStack() as stack:
        made = {}
        for name, kind in CLIENTS.items():
            client = stack.enter_context(contextlib.closing(kind(host="127.0.0.1", port=mixed.nodes[1].port)))
            attached = stack.enter_context(topology.attach(client, [mixed.address(1), mixed.address(5)]))
            made[name] = (client, attached)
        yield made


def _follows(attached: topology.Attached, *addresses: str) -> bool:
    return attached.state is FeedState.LIVE and attached.follows in addresses


def test_both_libraries_follow_the_pushes_and_ask_no_data_node(mixed: Mixed) -> None:
    before = asked(mixed)
    with clients(mixed) as made:
        for client, attached in made.values():
            assert attached.state is FeedState.LIVE
            assert client.set(KEY, "before") is True

        cut = mixed.partition()
        for client, _attached in made.values():
            assert client.get(KEY) is not None, "this side of the cluster is well"
        assert mixed.nodes[1].port in {node.port for node in cut.minority}
        for _client, attached in made.values():
            leaves = partial(_follows, attached, mixed.address(5))
            wait_until(leaves, WAIT_S, "who holds the cluster down is followed no longer")
        mixed.heal()

        change = mixed.failover()
        for name, (client, _attached) in made.items():
            assert client.set(KEY, f"after {name}") is True
            owner = client.nodes_manager.slots_cache[0][0]
            assert owner.port == change.new.port
        assert asked(mixed) == before, "no node with data was asked CLUSTER SLOTS"
        mixed.come_back()

        mixed.come_back_with_another_id()
        for _client, attached in made.values():
            follows_one = partial(_follows, attached, mixed.address(1), mixed.address(5))
            wait_until(follows_one, WAIT_S, "node 5 ended, and one of both is followed")
        assert asked(mixed) == before

        for client, attached in made.values():
            attached.close()
            client.nodes_manager.initialize()
            assert client.get(KEY) is not None
            topology.attach(client, [mixed.address(4)]).close()
            assert client.get(KEY) is not None


def test_without_a_node_that_pushes_a_client_asks_as_before(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology.adapter, "FALL_BACK_AFTER_S", 0.3)
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=mixed.nodes[2].port)) as client:
        with topology.attach(client, [mixed.address(4)], patience_s=1) as attached:
            assert client.set(KEY, "before") is True
            mixed.cluster.fail(4)
            wait_until(lambda: attached.state is FeedState.CUT_OFF, WAIT_S, "nobody pushes")
            wait_until(lambda: attached._feed.cut_off_for_s() > 0.3, WAIT_S, "for a while")
            before = asked(mixed)
            client.nodes_manager.initialize()
            assert asked(mixed) > before
            assert client.get(KEY) is not None
            mixed.cluster.restart(4)
            wait_until(lambda: attached.state is FeedState.LIVE, WAIT_S, "it pushes again")
        assert client.get(KEY) is not None


def test_bad_arguments_name_themselves(mixed: Mixed) -> None:
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=mixed.nodes[2].port)) as client:
        with pytest.raises(ConfigError, match=r"seeds: '127\.0\.0\.1' is no host:port"):
            topology.attach(client, ["127.0.0.1"])
        with pytest.raises(ConfigError, match="seeds: there is none"):
            topology.attach(client, [])
        with pytest.raises(StateError, match=r"none of the seeds has pushed a topology within 0\.3 s"):
            topology.attach(client, [f"127.0.0.1:{free_port()}"], timeout_s=0.3)
        with pytest.raises(StateError, match="none of the seeds"):
            topology.attach(client, [mixed.seed], timeout_s=0.5)
        assert client.get("any") is None, "the client has its own way still"
    with pytest.raises(TypeError, match=r"client must be a redis\.RedisCluster or valkey\.ValkeyCluster, not Redis"):
        topology.attach(redis.Redis(), [mixed.address(1)])
