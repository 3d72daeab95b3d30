"""What a node says to data commands that its program does not serve: that it keeps no data, only if it keeps none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.client_port.commands import command_table
from clusterbus.sim import Simulation
from clusterbus.wire import key_slot

from tests.bus.harness import settings
from tests.client_port.session import Port
from tests.loops import Run

NONE = "ERR this node keeps no data: its program has not added a command of that name"
SOME = "ERR the program of this node has not added a command of that name"


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """Two members; the first owns every slot."""
    simulation = Simulation(seed=1, nodes=2)
    simulation.form(primaries=1)
    simulation.run_until(lambda: simulation.state(0).is_ok)
    return simulation


@pytest.mark.parametrize(("keeps_data", "text"), [(False, NONE), (True, SOME)])
def test_a_command_that_is_missing_is_told_truly(simulation: Simulation, keeps_data: bool, text: str) -> None:
    member = simulation.members[0].member
    member.keeps_data = keeps_data
    port = Port(member, clusterbus.Command("GET", lambda _key: b"here").spec())
    assert port.connect().all("GET a", "INCR a", "SCAN 0", "FLUSHALL", "KEYS *") == ["here", *[text] * 4]


@pytest.mark.parametrize(
    ("keeps_data", "reason"),
    [(False, "this node keeps no data"), (True, "the program of this node has not added RESTORE")],
)
def test_a_node_that_cannot_take_keys_says_why_and_ends_the_import_p5(
    simulation: Simulation, keeps_data: bool, reason: str
) -> None:
    slot = key_slot(b"a")
    other = simulation.node_id(0)
    simulation.operate(1, lambda state, now_ms: state.import_slot(slot, other, now_ms))
    member = simulation.members[1].member
    member.keeps_data = keeps_data
    session = Port(member).connect()
    assert session("ASKING") == "OK"
    expected = f"ERR {reason}: it no longer imports slot {slot}, whose keys stay where they are"
    assert session("RESTORE a 0 x") == expected
    assert member.state.importing_from(slot) is None


def test_the_summaries_of_missing_commands_hold_with_and_without_data() -> None:
    by_name = {spec.name: spec for spec in command_table()}
    assert by_name["scan"].summary == f"Refused: {SOME.removeprefix('ERR ')}"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, NONE),
        ({"commands": [clusterbus.Command("MINE.PING", lambda: "no key")]}, NONE),
        ({"commands": [clusterbus.Command("GET", lambda _key: None)]}, SOME),
        ({"data_plane": clusterbus.DataPlane()}, SOME),
    ],
    ids=["alone", "with a command without keys", "with a command with keys", "with a data plane"],
)
def test_a_bus_keeps_data_if_it_has_a_data_plane_or_commands_with_keys(
    run: Run, tmp_path: Path, parts: dict[str, Any], text: str
) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus"), **parts) as bus:
            reader, writer = await asyncio.open_connection("127.0.0.1", bus.port)
            writer.write(b"SCAN 0\r\n")
            assert (await reader.readline()).decode() == f"-{text}\r\n"
            writer.close()
            await writer.wait_closed()

    run(scenario())
