"""The metrics port: what it answers, who may read, and what trouble costs."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import clusterbus
import pytest
from clusterbus.errors import ConfigError
from clusterbus.metrics.snapshot import Snapshot
from clusterbus.metrics.text import CONTENT_TYPE
from clusterbus.web import answers, server

from tests.bus.harness import order, pair
from tests.loops import Run, until
from tests.peers.ports import free_port
from tests.peers.tls import Certificates
from tests.web.harness import basic, get, served, url_of

DEADLINE_S = 30.0
PASSWORD = "geheim:ä"


def test_metrics_are_those_of_the_bus(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            answer = await get(url_of(bus, "/metrics"))
            assert answer.status == 200
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            names = [line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")]
            assert names == [line.split()[2] for line in bus.metrics().splitlines() if line.startswith("# TYPE")]
            assert f'node_id="{bus.node_id}"' in answer.text
            assert (await get(url_of(bus, "/livez"))).text == "ok\n"
            assert (await get(url_of(bus, "/nothing"))).status == 404

    run(scenario())


def test_a_node_is_ready_once_it_holds_the_cluster_ok(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            answer = await get(url_of(bus, "/readyz"))
            assert answer.status == 503
            assert answer.text == "it is no member of a cluster\nthe cluster is down: just-started\n"
            await bus.add_slots(range(16_384))
            await bus.wait_ok(DEADLINE_S)
            assert (await get(url_of(bus, "/readyz"))).status == 200
            bus._member().driver.saver.status.last_error = "the disk\nis full"
            answer = await get(url_of(bus, "/readyz"))
            assert (answer.status, answer.text) == (503, "nodes.conf cannot be saved: the disk is full\n")

    run(scenario())


def test_a_member_without_a_link_to_any_other_is_not_ready(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path, metrics_port=0) as (first, second):
            await first.add_slots(range(16_384))
            await first.wait_ok(DEADLINE_S)
            assert "clusterbus_ready 1\n" in first.metrics()
            await second.close()
            await until(lambda: "clusterbus_ready 0\n" in first.metrics())

    run(scenario())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (basic("default", PASSWORD), 200),
        (basic("", PASSWORD), 200),
        (basic("other", PASSWORD), 401),
        (basic("default", PASSWORD[:-1]), 401),
        ({"Authorization": "Bearer geheim"}, 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({"Authorization": "Digest x"}, 401),
    ],
)
def test_with_requirepass_metrics_want_the_password(
    run: Run, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def scenario() -> None:
        async with served(tmp_path, requirepass=PASSWORD) as bus:
            answer = await get(url_of(bus, "/metrics"), headers)
            assert answer.status == status
            assert PASSWORD not in answer.text
            assert ("WWW-Authenticate" in answer.headers) is (status == 401)
            assert f"clusterbus_metrics_auth_failures_total {int(status == 401)}\n" in bus.metrics()
            probe = await get(url_of(bus, "/readyz"), headers)
            assert probe.status == 503
            assert (probe.text == "not ready\n") is (status == 401), "the reasons are for who knows the password"

    run(scenario())


def test_the_password_is_a_token_too(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path, requirepass="token") as bus:
            assert (await get(url_of(bus, "/metrics"), {"Authorization": "bearer token"})).status == 200

    run(scenario())


def test_a_port_in_use_is_named(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        port = free_port()
        text = f"can't listen on 127.0.0.1:{port} for metrics: Address already in use"
        with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match=text):
            async with served(tmp_path, metrics_port=port):
                pass

    run(scenario())


def test_without_aiohttp_the_extra_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        for name in [name for name in sys.modules if name.startswith("clusterbus.web")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "aiohttp", None)
        with pytest.raises(ConfigError, match=r"metrics-port needs the package aiohttp: pip install 'clusterbus\["):
            async with clusterbus.Bus(port=0, dir=str(tmp_path), metrics_port=free_port()):
                pass

    run(scenario())


def test_a_connection_that_never_asks_is_ended(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.2)
        async with served(tmp_path) as bus:
            reader, writer = await asyncio.open_connection("127.0.0.1", bus._config.metrics_port)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            writer.close()

    run(scenario())


def test_a_scraper_that_never_reads_is_ended_and_holds_nothing_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 1.0)
        made: list[int] = []

        def huge(_snapshot: Snapshot) -> Iterator[str]:
            for number in range(1_000):
                made.append(number)
                yield "x" * 1_000_000

        async with served(tmp_path) as bus:
            with socket.create_connection(("127.0.0.1", bus._config.metrics_port)) as hung:
                hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                monkeypatch.setattr(answers, "pieces", huge)
                hung.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(lambda: made)
                monkeypatch.undo()
                assert (await get(url_of(bus, "/metrics"))).status == 200, "others are served meanwhile"
                connections = bus._started()._web._runner.server.connections  # type: ignore[union-attr]
                monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 1.0)
                await until(lambda: all(entry.transport is None for entry in connections) or not connections)
            assert len(made) < 50, "no more is made than the system takes"

    run(scenario())


def test_https_shows_the_present_certificate_and_wants_one(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Certificates.issue(tmp_path / "first")
        second = Certificates.issue(tmp_path / "second")
        files = {name.replace("-", "_"): value for name, value in first.directives().items() if name.endswith("-file")}
        async with served(tmp_path / "node", metrics_tls=True, **files) as bus:
            assert (await get(url_of(bus, "/livez"), context=first.client_context())).text == "ok\n"
            with pytest.raises(aiohttp.ClientError):
                await get(url_of(bus, "/livez"), context=first.client_context(with_certificate=False))
            with pytest.raises(aiohttp.ClientError):
                await get(url_of(bus, "/livez").replace("https", "http"))
            for name in ("cert_file", "key_file", "ca_cert_file"):
                getattr(first, name).write_bytes(getattr(second, name).read_bytes())
            await order(bus, b"CONFIG SET tls-cert-file " + str(first.cert_file).encode())
            trusted = second.client_context()

            async def is_renewed() -> bool:
                try:
                    return (await get(url_of(bus, "/livez"), context=trusted)).status == 200
                except aiohttp.ClientError:
                    return False

            async with asyncio.timeout(DEADLINE_S):
                while not await is_renewed():
                    await asyncio.sleep(0.05)

    run(scenario())


def test_https_without_a_certificate_is_refused(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="tls-cert-file"):
            async with served(tmp_path, metrics_tls=True):
                pass

    run(scenario())


def test_connections_too_many_are_closed_and_others_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "CONNECTIONS_MAX", 2)
        async with served(tmp_path) as bus:
            port = bus._config.metrics_port
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            for _, other in [*held, (reader, writer)]:
                other.close()
            await until(lambda: len(bus._started()._web._runner.server.connections) == 0)  # type: ignore[union-attr]
            assert (await get(url_of(bus, "/livez"))).status == 200

    run(scenario())


def test_a_blocking_bus_says_that_it_has_no_loop_for_a_port(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="metrics-port needs an event loop"),
        clusterbus.BlockingBus(port=0, dir=str(tmp_path), metrics_port=free_port()),
    ):
        pass


def test_a_blocking_bus_has_metrics(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(port=0, dir=str(tmp_path)) as bus:
        assert f'node_id="{bus.node_id}"' in bus.metrics()
