"""Waiting for a condition on asyncio: checked by the task that waits, after each step of the node.

Owns the future that the next step fulfils, one for all who wait. A condition may look at anything: while nothing
happens, the ticks of the node are its steps, ten a second. Must never run a condition inside a step. The event loop's
thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clusterbus import arguments


class Steps:
    """The steps of one node, for those who wait for what a step may bring."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def note(self) -> None:
        """A step has ended."""
        waited_for, self._next = self._next, None
        if waited_for is not None and not waited_for.done():
            waited_for.set_result(None)

    def end(self, error: Exception) -> None:
        """There will be no more steps: whoever waits gets the error."""
        self._error = error
        self.note()

    async def wait_until(self, condition: Callable[[], object], timeout_s: float | None, text: str) -> None:
        """Returns once `condition()` is true, which may be at once. Raises TimeoutError with the text."""
        if timeout_s is not None:
            arguments.number("timeout_s", timeout_s, 0)
        timeout = asyncio.timeout(timeout_s)
        try:
            async with timeout:
                while not condition():
                    if self._error is not None:
                        raise self._error
                    if self._next is None:
                        self._next = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._next)  # others wait for it too
        except TimeoutError:
            if timeout.expired():
                raise TimeoutError(timeout_text(text, timeout_s)) from None
            raise


def timeout_text(text: str, timeout_s: float | None) -> str:
    """What a TimeoutError of either bus says."""
    return f"{text} did not come about within {timeout_s:g} s"
