"""The ticks of all nodes on one event loop, spread over the period and with few timers.

Owns the phases of a loop: nodes of one phase tick one after the other, on one timer, and the phases lie evenly within
the period. So a loop with many nodes wakes up at most PHASES times in a period, and is never busy with the ticks of all
of them at once. Must never let one node's tick decide when another's comes. The event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from clusterbus.runtime.clock import TickSchedule

PHASES: Final = 10
"""With many nodes the loop is busy with a tenth of their ticks at most before others get their turn."""


class _Phase:
    """The nodes that tick together, and their timer, which runs as long as there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop, period_s: float, start_s: float) -> None:
        self.nodes: dict[Callable[[], None], None] = {}
        self._loop = loop
        self._period_s = period_s
        self._start_s = start_s
        self._schedule = TickSchedule(period_s, start_s)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, tick: Callable[[], None]) -> None:
        self.nodes[tick] = None
        if self._timer is None:
            self._schedule.take(self._loop.time())  # no tick of the time without nodes is due
            self._arm()

    def remove(self, tick: Callable[[], None]) -> None:
        self.nodes.pop(tick, None)
        if not self.nodes and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._schedule.next_s, self._fire)

    def _fire(self) -> None:
        is_due = self._schedule.take(self._loop.time())
        self._arm()  # before the ticks, which Ctrl-C may end
        if is_due:
            for tick in list(self.nodes):
                if tick in self.nodes:  # not ended by the tick of another
                    tick()


class Ticks:
    """The phases of one event loop. A node that is alone on it ticks a period after the first one came, and so on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, period_s: float) -> None:
        self._loop = loop
        start_s = loop.time()
        self._phases = [_Phase(loop, period_s, start_s + number * period_s / PHASES) for number in range(PHASES)]

    @property
    def is_empty(self) -> bool:
        """Whether no node ticks."""
        return not any(phase.nodes for phase in self._phases)

    def add(self, tick: Callable[[], None]) -> Callable[[], None]:
        """Calls `tick` once in every period from now on, in the phase with the fewest nodes. It must not raise.

        Call the returned function to stop, also from within a tick. Idempotent.
        """
        phase = min(self._phases, key=lambda phase: len(phase.nodes))
        phase.add(tick)

        def stop() -> None:
            phase.remove(tick)
            if self.is_empty and _TICKS.get(self._loop) is self:
                del _TICKS[self._loop]

        return stop


_TICKS: Final[dict[asyncio.AbstractEventLoop, Ticks]] = {}
"""Of the loops that have nodes."""


def ticks_of(loop: asyncio.AbstractEventLoop, period_s: float) -> Ticks:
    """The ticks of all nodes on a loop."""
    if loop not in _TICKS:
        _TICKS[loop] = Ticks(loop, period_s)
    return _TICKS[loop]
