"""`clusterbus.Bus` and `BlockingBus` in real clusters: the public face of a node."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import chain
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.client_port.server import RespServer
from clusterbus.errors import ConfigError, StateError

from tests.bus.harness import DEADLINE_S, NODE_TIMEOUT_MS, knows_all, pair, settings, well
from tests.loops import Run, until
from tests.peers.cluster import assign_slots, cluster_nodes, listings, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

Peers = Callable[..., Server]
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


async def next_of(events: clusterbus.EventStream[Any], *kinds: type) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        async for event in events:
            if isinstance(event, kinds):
                return event
    raise AssertionError(f"the events ended before a {' or '.join(kind.__name__ for kind in kinds)}")


def test_a_bus_joins_a_live_valkey_cluster_and_sees_a_primary_fail_and_come_back(
    run: Run, peers: Peers, tmp_path: Path
) -> None:
    servers = [peers("valkey", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(3)]
    assign_slots(servers)
    for other in servers[1:]:
        servers[0].call("CLUSTER", "MEET", "127.0.0.1", other.port)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            events = bus.events()
            await bus.meet("127.0.0.1", servers[0].port)
            await until(lambda: well(bus) == 4 and bus.is_ok)
            ids = {node_id(server) for server in servers}
            assert set(bus.nodes) == ids | {bus.node_id}
            assert bus.nodes[bus.node_id].is_myself
            assert {(row.first, row.last) for row in bus.slots} == {
                (0, 5460), (5461, 10921), (10922, 16383)
            }  # fmt: skip
            assert {row.node_id for row in bus.slots} == ids
            await until(lambda: len(bus.links()) == 6)
            assert {link.node_id for link in bus.links()} == ids
            assert bus.info()["server"]["redis_mode"] == "cluster"
            assert bus.cluster_info()["cluster_known_nodes"] == "4"

            victim = servers[2]
            victim_id = node_id(victim)
            victim.kill()
            # The other nodes may agree on FAIL, and tell us, before we suspect the node ourselves.
            held = await next_of(events, clusterbus.NodeSuspected, clusterbus.NodeFailed)
            assert held.node_id == victim_id
            if isinstance(held, clusterbus.NodeSuspected):
                assert (await next_of(events, clusterbus.NodeFailed)).node_id == victim_id
            assert bus.nodes[victim_id].is_failed
            victim.start()
            assert (await next_of(events, clusterbus.NodeRecovered)).node_id == victim_id

    run(scenario())


def test_a_published_message_reaches_every_other_member_s7(run: Run, peers: Peers, tmp_path: Path) -> None:
    """Messages go out with the light header to Valkey and clusterbus and with the full one to Redis; the messages that
    these publish arrive here.
    """
    valkey, old = peers("valkey"), peers("redis")
    subscribers = [server.connect() for server in (valkey, old)]
    for subscriber in subscribers:
        subscriber.send_command("SUBSCRIBE", "news", check_health=False)
        assert subscriber.read_response() == ["subscribe", "news", 1]

    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            for server in (valkey, old):
                await first.meet("127.0.0.1", server.port)
            await until(lambda: well(first) == well(second) == 4)
            await until(lambda: all(knows_all(server, 4) for server in (valkey, old)))
            # A light message has no sender, so it is lost on a link of which we do not know yet whose it is.
            others = {node_id(server) for server in (valkey, old)} | {second.node_id}
            await until(lambda: {link.node_id for link in first.links() if link.inbound} == others)
            heard = second.events(clusterbus.Message)
            own = first.events(clusterbus.Message)
            assert await first.publish("news", b"\x00hello") == 3
            message = await next_of(heard, clusterbus.Message)
            assert (message.channel, message.message) == (b"news", b"\x00hello")
            assert (message.node_id, message.sharded) == (first.node_id, False)
            for subscriber in subscribers:
                assert subscriber.read_response() == ["message", "news", "\x00hello"]
            for server in (valkey, old):
                server.call("PUBLISH", "reply", f"from {server.kind}")
                echoed = await next_of(own, clusterbus.Message)
                assert echoed.message == f"from {server.kind}".encode()
                assert echoed.node_id == node_id(server)

    run(scenario())
    for subscriber in subscribers:
        subscriber.disconnect()


def test_a_message_over_the_limit_is_refused_and_one_at_the_limit_is_not(run: Run, tmp_path: Path) -> None:
    from clusterbus.bus.any_bus import PUBLISH_LEN_MAX_BYTES

    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            heard = second.events(clusterbus.Message)
            with pytest.raises(StateError, match="over"):
                await first.publish(b"c", bytes(PUBLISH_LEN_MAX_BYTES))
            assert await first.publish(b"c", bytes(PUBLISH_LEN_MAX_BYTES - 1)) == 1
            assert len((await next_of(heard, clusterbus.Message)).message) == PUBLISH_LEN_MAX_BYTES - 1

    run(scenario())


def test_a_slow_consumer_is_told_how_much_it_missed(run: Run, tmp_path: Path) -> None:
    async def scenario() -> list[object]:
        async with pair(tmp_path) as (first, second):
            slow, quick = second.events(clusterbus.Message, backlog=2), second.events(clusterbus.Message)
            for number in range(5):
                await first.publish(b"c", b"%d" % number)
            for _ in range(5):
                await next_of(quick, clusterbus.Message)
            return [event async for event in _until_lost(slow)]

    seen = run(scenario())
    assert [event.message for event in seen[:2]] == [b"0", b"1"]
    assert seen[2] == clusterbus.EventsLost(3)


async def _until_lost(events: clusterbus.EventStream[Any]) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if isinstance(event, clusterbus.EventsLost):
            return


def test_events_end_when_the_bus_closes_and_an_abandoned_stream_is_forgotten(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        await bus.open()
        events = bus.events()
        consumer = asyncio.create_task(_drain(events))
        abandoned = bus.events()
        del abandoned
        gc.collect()
        assert len(bus._streams) == 1
        await bus.close()
        await bus.close()
        async with asyncio.timeout(DEADLINE_S):
            await consumer

    run(scenario())


async def _drain(events: clusterbus.EventStream[Any]) -> None:
    async for _ in events:
        pass


def test_a_forgotten_node_leaves_s9(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            events = first.events()
            await first.forget(second.node_id)
            left = await next_of(events, clusterbus.NodeLeft)
            assert left == clusterbus.NodeLeft(second.node_id, "forgotten")
            assert second.node_id not in first.nodes

    run(scenario())


def test_misuse_raises_errors_of_the_package(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cluster_node_timeout"):
        clusterbus.Bus(cluster_node_timout=1)  # type: ignore[call-arg]

    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        with pytest.raises(StateError, match="not open"):
            _ = bus.nodes
        with pytest.raises(StateError, match="not open"):
            bus.events()
        async with bus:
            with pytest.raises(StateError, match="open already"):
                await bus.open()
            with pytest.raises(StateError, match="address"):
                await bus.meet("no address", 7000)
            with pytest.raises(StateError, match="Unknown node"):
                await bus.forget("f" * 40)
            twin = clusterbus.Bus(**(settings(tmp_path / "twin") | {"port": bus._config.port}))
            with pytest.raises(ConfigError, match="in use"):
                await twin.open()
            await twin.close()
        with pytest.raises(StateError, match="not open"):
            await bus.publish(b"a", b"b")

    run(scenario())


def test_a_bus_shows_its_id_port_and_state(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        port = bus._config.port
        assert repr(bus) == f"<clusterbus.Bus port={port} closed>"
        async with bus:
            node_id = bus.node_id
            assert repr(bus) == f"<clusterbus.Bus {node_id} port={port} open>"
            # Another thread may log it.
            assert await asyncio.to_thread(repr, bus) == repr(bus)
        assert repr(bus) == f"<clusterbus.Bus {node_id} port={port} closed>"

    run(scenario())
    with clusterbus.BlockingBus(**settings(tmp_path / "blocking")) as bus:
        shown = f"<clusterbus.BlockingBus {bus.node_id} port={bus.port}"
        assert repr(bus) == f"{shown} open>"
    assert repr(bus) == f"{shown} closed>"


def test_a_bus_that_is_closed_while_it_opens_is_closed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        is_open, may_go_on = asyncio.Event(), asyncio.Event()
        start = RespServer.start

        async def start_slowly(server: RespServer) -> None:
            await start(server)
            is_open.set()
            await may_go_on.wait()

        monkeypatch.setattr(RespServer, "start", start_slowly)
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        opening = asyncio.create_task(bus.open())
        await is_open.wait()
        with pytest.raises(StateError, match="open already"):
            await bus.open()
        closing = asyncio.create_task(bus.close())
        await asyncio.sleep(0)
        may_go_on.set()
        await closing
        with pytest.raises(StateError, match="stopped while it started"):
            await opening
        assert repr(bus).endswith(" closed>")
        async with bus:
            assert await ping(bus.port) == b"+PONG\r\n"

    run(scenario())


def test_a_bus_that_is_opened_again_and_again_keeps_nothing_of_before(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))
        open_files = []
        with socket.create_server(("127.0.0.1", 0)) as taken:
            in_use = clusterbus.Bus(**settings(tmp_path / "in use", cluster_port=taken.getsockname()[1]))
            for _ in range(3):
                async with bus:
                    pass
                with pytest.raises(ConfigError, match="in use"):
                    await in_use.open()
                gc.collect()
                open_files.append(len(os.listdir("/proc/self/fd")))
        assert len(set(open_files)) == 1, open_files
        assert (bus._config._listeners, in_use._config._listeners) == ([], [])

    run(scenario())


def test_the_client_port_is_served_unless_turned_off(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        served = clusterbus.Bus(**settings(tmp_path / "served"))
        async with served:
            assert await ping(served._config.port) == b"+PONG\r\n"
        silent = clusterbus.Bus(**settings(tmp_path / "silent"), resp=False)
        async with silent:
            with pytest.raises(ConnectionRefusedError):
                await ping(silent._config.port)
            assert silent.nodes[silent.node_id].port == silent._config.port

    run(scenario())


async def ping(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PING\r\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


def test_a_shutdown_from_outside_is_told(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            _reader, writer = await asyncio.open_connection("127.0.0.1", bus._config.port)
            writer.write(b"SHUTDOWN\r\n")
            async with asyncio.timeout(DEADLINE_S):
                await bus.wait_stopped()
            writer.close()

    run(scenario())


def test_a_config_file_is_read_and_keywords_win(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "node.conf"
    file.write_text("cluster-node-timeout 1234\nio-threads 3\n")

    async def scenario() -> None:
        own = settings(tmp_path / "bus", io_threads=1)
        del own["cluster_node_timeout"]
        async with clusterbus.Bus(config_file=file, **own) as bus:
            assert bus._config.cluster_node_timeout == 1234
            assert bus.cluster_info()["cluster_io_workers"] == "0"

    run(scenario())


# ---------------------------------------------------------------- without an event loop


def test_the_blocking_twin_is_a_member_like_any_other(peers: Peers, tmp_path: Path) -> None:
    servers = [peers("valkey"), peers("clusterbus")]
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        for server in servers:
            bus.meet("127.0.0.1", server.port)
        bus.wait_until(lambda: well(bus) == 3, DEADLINE_S)
        seen = bus.wait_events(0)
        joined = {event.node_id for event in seen if isinstance(event, clusterbus.NodeJoined)}
        assert joined == {node_id(server) for server in servers}

        bus.wait_until(lambda: knows_all(servers[0], 3), DEADLINE_S)
        with bus.subscribe("news") as messages:
            servers[0].call("PUBLISH", "news", "hello")
            (message,) = messages.wait_messages(int(DEADLINE_S * 1000))
            assert message == clusterbus.Message(node_id(servers[0]), b"news", b"hello", False)
        assert bus.publish("news", "back") == 2
        bus.forget(node_id(servers[1]))
        assert node_id(servers[1]) not in bus.nodes
    bus.close()
    with pytest.raises(StateError, match="closed"):
        bus.wait_events(0)


def test_a_blocking_twin_that_is_not_driven_hangs_and_comes_back(peers: Peers, tmp_path: Path) -> None:
    server = peers("clusterbus", cluster_node_timeout=NODE_TIMEOUT_MS)
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        bus.meet("127.0.0.1", server.port)
        bus.wait_until(lambda: well(bus) == 2 and knows_all(server, 2), DEADLINE_S)
        own_id = bus.node_id
        wait_until(lambda: cluster_nodes(server)[own_id].is_suspected, DEADLINE_S, lambda: listings([server]))
        bus.wait_until(lambda: cluster_nodes(server)[own_id].is_well, DEADLINE_S)


def test_waiting_lasts_as_long_as_it_is_told_and_not_longer(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        bus.wait_events(0)
        begun_s = time.monotonic()
        assert bus.wait_events(350) == []
        assert 0.35 <= time.monotonic() - begun_s < 3


# ---------------------------------------------------------------- the examples


def test_the_example_watches_a_cluster(peers: Peers, tmp_path: Path) -> None:
    server = peers("valkey")
    arguments = [f"127.0.0.1:{server.port}", "--port", str(free_port()), "--dir", str(tmp_path)]
    watcher = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "watch.py"), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    try:
        assert watcher.stdout.readline().startswith("I am ")
        joined = f"{node_id(server)} joined from 127.0.0.1:{server.port}, now 2 nodes\n"
        assert joined in iter(watcher.stdout.readline, "")
        wait_until(lambda: knows_all(server, 2), DEADLINE_S, lambda: listings([server]))
        server.call("PUBLISH", "news", "hello")
        assert "published on b'news': b'hello'\n" in iter(watcher.stdout.readline, "")
    finally:
        watcher.terminate()
        watcher.wait(DEADLINE_S)
        watcher.stdout.close()


def test_everything_public_is_there_and_has_a_docstring() -> None:
    assert sorted(["wire", *chain.from_iterable(clusterbus._NAMES_OF.values())]) == sorted(clusterbus.__all__)
    for name in clusterbus.__all__:
        thing = getattr(clusterbus, name)
        if name not in ("__version__", "Event"):
            assert thing.__doc__, name
