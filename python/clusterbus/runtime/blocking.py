"""A member without an event loop: the same driver, stepped by whoever calls.

Owns the wait between two ticks. Must never wait longer than it was told to, nor skip a tick while it is
being driven. The calling thread is the main thread of the node.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.member.driver import TICK_PERIOD_MS
from clusterbus.runtime.clock import TickSchedule
from clusterbus.runtime.startup import open_member


class BlockingNode:
    """A member and its ticks, run for as long as `run` is asked to. No client port, no signals.

    A node that is not run is a node that hangs: its peers hold it failing after their node timeout.
    """

    def __init__(
        self,
        config: Config,
        monotonic_s: Callable[[], float] = time.monotonic,
        data_plane: DataPlane | None = None,
    ) -> None:
        """Raises ConfigError when the node cannot start."""
        self._monotonic_s = monotonic_s
        self.member, _engine = open_member(config, data_plane)
        self._schedule = TickSchedule(TICK_PERIOD_MS / 1000, monotonic_s())

    def run(self, timeout_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Drives the node until `until()` is true or `timeout_ms` is over; the last answer of `until`.

        Runs one step at least, so that a timeout of 0 takes in what has arrived.
        """
        driver = self.member.driver
        deadline_s = self._monotonic_s() + timeout_ms / 1000
        more = True
        while True:
            now_s = self._monotonic_s()
            if self._schedule.take(now_s):
                driver.tick()
            wait_s = max(0.0, min(self._schedule.next_s, deadline_s) - now_s)
            more = driver.step(0 if more else math.ceil(wait_s * 1000))
            if until():
                return True
            if self._monotonic_s() >= deadline_s:
                return False

    def close(self) -> None:
        """Saves nodes.conf and closes every socket. Idempotent."""
        self.member.close()
