"""MODULE messages between clusterbus and modules loaded into real servers, both ways and in both forms (S7)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import clusterbus
import pytest
from clusterbus import ModuleReceived
from clusterbus.wire import module_id

from tests.bus.harness import DEADLINE_S, knows_all, settings, well
from tests.loops import until
from tests.peers.cluster import node_id
from tests.peers.server import Server

Peers = Callable[..., Server]

SOURCE = Path(__file__).parent / "echo_module.c"
MODULE_NAME = "echo-test"


@pytest.fixture(scope="session")
def echo_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module, built with the C compiler that also links the Rust core."""
    target = tmp_path_factory.mktemp("module") / "echo.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(SOURCE)], check=True
    )
    return target


@pytest.mark.parametrize(("kind", "is_light"), [("valkey", True), ("redis", False)])
def test_a_module_of_a_real_server_answers_us_s7(
    peers: Peers, echo_module: Path, tmp_path: Path, kind: str, is_light: bool
) -> None:
    servers = [peers(kind, loadmodule=echo_module) for _ in range(2)]
    ids = [node_id(server) for server in servers]
    number = module_id(MODULE_NAME)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            for server in servers:
                await bus.meet("127.0.0.1", server.port)
            await until(lambda: well(bus) == 3 and all(knows_all(server, 3) for server in servers))
            heard: list[ModuleReceived] = []
            bus.on_message(heard.append)

            assert await bus.send(ids[0], number, 1, b"to one \x00") == 1
            expected = {ModuleReceived(ids[0], number, kind, b"to one \x00") for kind in (2, 3)}
            await until(lambda: set(heard) >= expected)
            heard.clear()

            async def is_answered_light() -> bool:
                """Whether the last answers had light headers. At first the server may not know that we accept these."""
                before = int(bus.cluster_info()["cluster_stats_messages_light_module_received"])
                heard.clear()
                assert await bus.send(None, number, 1, b"to all") == 2
                answers = {ModuleReceived(one, number, kind, b"to all") for one in ids for kind in (2, 3)}
                await until(lambda: set(heard) >= answers)
                return int(bus.cluster_info()["cluster_stats_messages_light_module_received"]) == before + 4

            async with asyncio.timeout(DEADLINE_S):
                while await is_answered_light() != is_light:
                    await asyncio.sleep(0.05)
            await bus.send(None, number + 1, 1, b"for nobody")
            heard.clear()
            await bus.send(None, number, 1, b"the last")
            await until(lambda: len(heard) == 4)
            assert {event.data for event in heard} == {b"the last"}
            sent_light = int(bus.cluster_info()["cluster_stats_messages_light_module_sent"])
            assert (sent_light > 0) == is_light

    with asyncio.Runner() as loop:
        loop.run(asyncio.wait_for(scenario(), 3 * DEADLINE_S))


@pytest.mark.parametrize("name", ["", "short", "ten-letter", "with a sp", "nine.dots"])
def test_names_no_server_gives_an_id_have_none(name: str) -> None:
    assert module_id(name) == 0
    assert module_id("AAAAAAAAB") == 0x0004 << 48
