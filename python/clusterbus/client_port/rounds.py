"""Who serves requests next, and for how long all clients together may before the rest of the event loop has its turn.

Owns the queue of connections with requests left, and the end of the round. Must never let a round run on: heartbeats
are sent by the same loop, and many clients with costly requests would have this node held failing. Main thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

ROUND_MAX_S: Final = 0.01
"""A request that has begun runs to its end."""

Serve = Callable[[], None]


class Rounds:
    """A connection serves while its server `has_time`, else it waits for the next round, first come, first served."""

    def __init__(self, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._now_s = now_s
        self._ends_s = 0.0
        self._waiting: dict[Serve, None] = {}
        self._next_round: asyncio.Handle | None = None

    def has_time(self) -> bool:
        """Whether another request may begin in this round."""
        return self._now_s() < self._ends_s

    def wait(self, serve: Serve) -> None:
        """Calls `serve` once, in the next round that has time for it."""
        self._waiting[serve] = None
        self._schedule()

    def leave(self, serve: Serve) -> None:
        """It waits no more, if it did."""
        self._waiting.pop(serve, None)

    def _schedule(self) -> None:
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """A round of those who wait now: who has more to do than one turn takes is back for the next round."""
        self._next_round = None
        self._ends_s = self._now_s() + ROUND_MAX_S
        try:
            for serve in list(self._waiting):
                if serve in self._waiting:
                    del self._waiting[serve]
                    serve()
                if not self.has_time():
                    break
        finally:
            if self._waiting:
                self._schedule()
