"""A bus belongs to one thread of one process. Other threads and forked processes get errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.errors import StateError

from tests.peers.ports import free_port

DEADLINE_S = 30.0

FORKING = """
import os, sys, warnings
import clusterbus

with clusterbus.BlockingBus(port=int(sys.argv[1]), bind="127.0.0.1", dir=sys.argv[2], io_threads=3) as bus:
    bus.wait_events(50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork do not go well together: the point
        child = os.fork()
    if child == 0:
        try:
            bus.nodes
        except clusterbus.StateError as error:
            print(error, flush=True)
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    print("child ended with", os.waitstatus_to_exitcode(status), flush=True)
    bus.wait_events(50)
    print("parent goes on with", len(bus.nodes), "node", flush=True)
"""


def settings(folder: Path) -> dict[str, Any]:
    return {"port": free_port(), "bind": "127.0.0.1", "dir": str(folder), "io_threads": 2}


def raised_elsewhere(call: Callable[[], object]) -> BaseException | None:
    """Returns what `call` raises on another thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(DEADLINE_S)
    return raised[0] if raised else None


def test_another_thread_is_refused_and_told_how_to_hand_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path)) as bus:
            calls: tuple[Callable[[], object], ...] = (
                lambda: bus.nodes,
                lambda: bus.slots,
                bus.links,
                bus.info,
                bus.events,
                lambda: asyncio.run(bus.publish("channel", "message")),
                lambda: asyncio.run(bus.close()),
            )
            for call in calls:
                error = raised_elsewhere(call)
                assert isinstance(error, StateError)
                assert "run_coroutine_threadsafe" in str(error)
            assert len(bus.nodes) == 1  # the refused call had no effect

    asyncio.run(scenario())


def test_a_blocking_bus_is_its_makers_alone(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path)) as bus:
        for call in (lambda: bus.nodes, lambda: bus.wait_events(0), bus.close):
            assert isinstance(raised_elsewhere(call), StateError)
        bus.wait_until(lambda: True, 0)


@pytest.mark.processes
def test_a_fork_has_no_part_in_the_bus_and_ends_as_it_likes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(free_port()), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    told, ended, goes_on = done.stdout.splitlines()
    assert told.startswith("the bus stayed in process")
    assert ended == "child ended with 7"
    assert goes_on == "parent goes on with 1 node"
    assert done.returncode == 0


def test_a_bus_may_be_opened_by_a_thread_of_its_own(tmp_path: Path) -> None:
    async def scenario(bus: clusterbus.Bus) -> None:
        async with bus:
            assert len(bus.nodes) == 1

    bus = clusterbus.Bus(**settings(tmp_path))
    assert raised_elsewhere(lambda: asyncio.run(scenario(bus))) is None
    with pytest.raises(StateError, match="not open"):
        _ = bus.nodes
