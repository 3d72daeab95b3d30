"""`bus.set_tags` among buses, beside real Valkey and Redis nodes that must not notice."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.errors import StateError

from tests.bus.harness import DEADLINE_S, knows_all, pair, settings, well
from tests.loops import Run, until
from tests.peers.cluster import node_id
from tests.peers.server import Server

Peers = Callable[..., Server]
SAMPLE = {"role": "worker", "zone": "é"}


def tags_of(bus: clusterbus.Bus | clusterbus.BlockingBus, node: str) -> dict[str, str]:
    return dict(bus.nodes[node].tags)


def test_tags_reach_the_other_and_one_that_joins_later_and_change_for_all(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            events = second.events()
            await first.set_tags(SAMPLE)
            assert first.me.tags == SAMPLE
            await until(lambda: tags_of(second, first.node_id) == SAMPLE)
            async with asyncio.timeout(DEADLINE_S):
                async for event in events:
                    if isinstance(event, clusterbus.TagsChanged):
                        break
            assert event == clusterbus.TagsChanged(first.node_id, SAMPLE)

            async with clusterbus.Bus(**settings(tmp_path / "late")) as late:
                await late.meet("127.0.0.1", second._config.port)
                await until(lambda: first.node_id in late.nodes and tags_of(late, first.node_id) == SAMPLE)
                await until(lambda: all(view.is_clusterbus for view in late.nodes.values()))
                await first.set_tags({})
                await second.set_tags({"n": "2"})
                await until(lambda: not tags_of(late, first.node_id) and tags_of(late, second.node_id) == {"n": "2"})
                view = late.nodes[second.node_id]
                assert asdict(view)["tags"] == {"n": "2"}
                assert pickle.loads(pickle.dumps(view)) == view
                assert len({view, late.me}) == 2

    run(scenario())


def test_a_node_that_restarts_wins_over_the_tags_of_its_last_run(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            for n in range(5):
                await second.set_tags({"n": str(n)})
            second_id, port = second.node_id, second._config.port
            await until(lambda: tags_of(first, second_id) == {"n": "4"})
            await second.close()
            async with clusterbus.Bus(**settings(tmp_path / "b", port=port)) as again:
                assert again.node_id == second_id
                assert again.me.tags == {}
                await until(lambda: tags_of(first, second_id) == {})
                await again.set_tags({"n": "new"})
                await until(lambda: tags_of(first, second_id) == {"n": "new"})
            await first.forget(second_id)
            assert second_id not in first.nodes

    run(scenario())


def test_valkey_and_redis_see_and_log_nothing_of_tags(run: Run, peers: Peers, tmp_path: Path) -> None:
    servers = [
        peers("valkey", cluster_node_timeout=1000, loglevel="verbose"),
        peers("redis", cluster_node_timeout=1000, loglevel="verbose"),
    ]

    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            for server in servers:
                await first.meet("127.0.0.1", server.port)
            await until(lambda: all(well(bus) == 4 for bus in (first, second)))
            await until(lambda: all(knows_all(server, 4) for server in servers))
            before = [listed(server) for server in servers]
            await first.set_tags(SAMPLE)
            await until(lambda: tags_of(second, first.node_id) == SAMPLE)
            for server in servers:
                assert not first.nodes[node_id(server)].is_clusterbus
                assert not tags_of(first, node_id(server))
            # A message that comes after the tags on the same link: they have read them by now.
            assert await first.publish("news", "hello") == 3
            await until(lambda: all(publishes(server) for server in servers))
            assert [listed(server) for server in servers] == before

    run(scenario())
    for server in servers:
        assert {"role", "worker"} & set(server.log_text().split()) == set()
        for line in server.log_text().splitlines():
            if "cluster" in line.lower() or "packet" in line.lower():
                assert not {"module", "unknown", "invalid", "bad"} & set(line.lower().split()), line


def publishes(server: Server) -> bool:
    lines = server.call("CLUSTER", "INFO").splitlines()
    return any(line.startswith("cluster_stats_messages_publish_received:") for line in lines)


def listed(server: Server) -> Any:
    """What the server shows of its cluster, without times and epochs."""
    lines = server.call("CLUSTER", "NODES").splitlines()
    nodes = sorted(
        " ".join(word for place, word in enumerate(line.split()) if place not in (4, 5, 6)) for line in lines
    )
    return nodes, repr(server.call("CLUSTER", "SLOTS"))


def test_wrong_tags_are_refused_by_name_and_change_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            await bus.set_tags(SAMPLE)
            wrong: list[tuple[Any, type[Exception], str]] = [
                ("role=worker", TypeError, "tags must be a mapping of str to str"),
                ({1: "a"}, TypeError, "a name in tags must be a str"),
                ({"a": 1}, TypeError, r"tags\['a'\] must be a str"),
                ({"a": "b" * 512}, StateError, "tags take 517 bytes"),
            ]
            for given, kind, text in wrong:
                with pytest.raises(kind, match=text):
                    await bus.set_tags(given)
            assert bus.me.tags == SAMPLE

    run(scenario())


def test_a_blocking_bus_has_tags_too(tmp_path: Path) -> None:
    with (
        clusterbus.BlockingBus(**settings(tmp_path / "a")) as first,
        clusterbus.BlockingBus(**settings(tmp_path / "b")) as second,
    ):
        first.set_tags(SAMPLE)
        first.meet("127.0.0.1", second.port)

        def arrived() -> bool:
            second.wait_events(0)
            return first.node_id in second.nodes and tags_of(second, first.node_id) == SAMPLE

        first.wait_until(arrived, timeout_s=DEADLINE_S)
