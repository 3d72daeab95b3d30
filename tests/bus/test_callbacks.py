"""Code of the user's that raises what is no Exception: ticks and messages go on, and Ctrl-C still ends the program."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import ModuleReceived

from tests.bus.harness import DEADLINE_S, order, pair, settings, well
from tests.loops import Run, until


class Cancelled(clusterbus.DataPlane):
    """Each answer is a future that somebody has cancelled."""

    def replication_offset(self) -> int | None:
        raise asyncio.CancelledError

    def data_age_ms(self) -> int | None:
        raise asyncio.CancelledError

    def slots_gained(self, _slots: Any) -> None:
        raise GeneratorExit


@pytest.mark.parametrize("error", [asyncio.CancelledError("mine"), GeneratorExit("mine"), Exception("mine")])
def test_a_callback_that_raises_anything_stops_neither_messages_nor_ticks(
    run: Run, tmp_path: Path, error: BaseException
) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            heard: list[bytes] = []

            def fail(_event: ModuleReceived) -> None:
                raise error

            second.on_message(fail)
            second.on_message(lambda event: heard.append(event.data))
            for number in range(3):
                await first.send(None, 1, 1, b"%d" % number)
            await until(lambda: heard == [b"0", b"1", b"2"])
            assert second.cluster_info()["cluster_callback_errors"] == "3"
            pinged_ms = second.nodes[first.node_id].pong_received_ms
            await until(lambda: second.nodes[first.node_id].pong_received_ms > pinged_ms)

    run(scenario())


def test_a_data_plane_that_raises_anything_stops_no_tick(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path, data_plane=Cancelled()) as (first, second):
            await order(first, b"CLUSTER ADDSLOTS 1")
            pinged_ms = first.nodes[second.node_id].pong_received_ms
            await until(lambda: first.nodes[second.node_id].pong_received_ms > pinged_ms)
            assert well(first) == well(second) == 2
            assert int(first.cluster_info()["cluster_data_plane_errors"]) > 1

    run(scenario())


def test_a_command_that_raises_a_cancelled_error_is_answered(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "bus"))

        @bus.command("NOW")
        def now() -> None:
            raise asyncio.CancelledError

        @bus.command("LATER")
        async def later() -> None:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

        async with bus:
            reader, writer = await asyncio.open_connection("127.0.0.1", bus.port)
            for name in (b"NOW", b"LATER", b"NOW"):
                writer.write(name + b"\r\n")
                line = await asyncio.wait_for(reader.readline(), DEADLINE_S)
                assert line.startswith(b"-ERR internal error in"), line
            writer.close()

    run(scenario())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_gets_through(tmp_path: Path, kind: type[BaseException]) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):

            def end(_event: ModuleReceived) -> None:
                raise kind

            second.on_message(end)
            await first.send(None, 1, 1, b"")
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.Event().wait()

    with pytest.raises(kind):
        asyncio.run(scenario())


# ---------------------------------------------------------------- the last words


def test_what_was_published_just_before_the_end_arrives(run: Run, tmp_path: Path) -> None:
    large = bytes(1_000_000)

    async def scenario() -> None:
        async with pair(tmp_path) as (first, second), second.subscribe("c") as messages:
            for number in range(8):
                await first.publish("c", b"%d" % number + large)
            await first.publish("c", b"the last")
            await first.close()
            async with asyncio.timeout(DEADLINE_S):
                heard = [await anext(messages) for _ in range(9)]
            assert [event.message[:8] for event in heard if isinstance(event, clusterbus.Message)][-1] == b"the last"

    run(scenario())
