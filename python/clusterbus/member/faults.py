"""Errors in our own code and in the user's, met while a member works: counted, logged now and then, and survived.

Owns the one decision on what becomes of such an error. In strict mode, which simulations use, it is raised at once, so
that a test fails where the real world would go on. Whoever calls code of the user catches BaseException and asks here:
a CancelledError of the user's must not end a tick, and what ends the program must. Main thread.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from clusterbus.member.ports import Clock, Log
from clusterbus.member.refusals import RefusalLog

ENDS_THE_PROGRAM: Final = (KeyboardInterrupt, SystemExit)
"""These are always raised again: Ctrl-C and sys.exit() work inside of a callback too."""


class Faults:
    """What was survived is counted in `counters`, under the name that the caller gives."""

    def __init__(self, clock: Clock, log: Log, counters: Counter[str], *, strict: bool = False) -> None:
        self._counters = counters
        self._clock = clock
        self._log = log
        self._strict = strict
        self._refusals = RefusalLog()

    def survive(self, error: BaseException, counter: str, who: str, what: str) -> None:
        """Counts an error and logs it, at most one line of its kind in an interval. Raises `error` in strict mode, and
        if it is to end the program."""
        if self._strict or isinstance(error, ENDS_THE_PROGRAM):
            raise error
        self._counters[counter] += 1
        line = self._refusals.line(who, what, f"{what}: {error!r}", self._clock.now_ms())
        if line is not None:
            self._log("warning", line, error)
