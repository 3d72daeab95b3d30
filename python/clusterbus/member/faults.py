"""Faults of our own code and of the user's, met while a member works: counted, told now and then, and survived.

Owns the one decision of what becomes of such a fault. In strict mode, which simulations use, it is raised where
it was met, so that what the real world would swallow fails a test. Main thread.
"""

from __future__ import annotations

from collections import Counter

from clusterbus.member.ports import Clock, Log
from clusterbus.member.refusals import RefusalLog


class Faults:
    """`counters` are all the member's, by the names of `counters.DRIVER`; the driver counts there too."""

    def __init__(self, clock: Clock, log: Log, *, strict: bool = False) -> None:
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._log = log
        self._strict = strict
        self._refusals = RefusalLog()

    def survive(self, error: Exception, counter: str, who: str, what: str) -> None:
        """Counts a fault and logs it, at most one line of a kind in an interval. Raises `error` in strict mode."""
        if self._strict:
            raise error
        self.counters[counter] += 1
        line = self._refusals.line(who, what, f"{what}: {error!r}", self._clock.now_ms())
        if line is not None:
            self._log("warning", line, error)
