"""The event loops that tests run on: asyncio's and uvloop's, and waiting for a condition inside of one.

The fixture `run` (`conftest.py`) gives a test each of them. No socket, no server, no clock of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

WAIT_DEADLINE_S = 30.0
"""What is awaited comes at once on a quiet machine; the bound is for one that is not."""
SCENARIO_DEADLINE_S = 120.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end and gives its result."""


def run_on(factory: Callable[[], asyncio.AbstractEventLoop], scenario: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine on a new loop; TimeoutError when it does not end."""
    with asyncio.Runner(loop_factory=factory) as loop:
        return loop.run(asyncio.wait_for(scenario, SCENARIO_DEADLINE_S))


async def until(condition: Callable[[], object]) -> None:
    """Polls a condition between other tasks until it is true; TimeoutError when it does not come."""
    async with asyncio.timeout(WAIT_DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)
