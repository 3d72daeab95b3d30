"""A member without an event loop: the caller's thread steps the same driver.

Owns the wait between two ticks. Must never wait longer than the caller's timeout, nor skip a tick while it runs. The
calling thread is the main thread of the node.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from clusterbus.config import Config
from clusterbus.config.listening import PortInUseError
from clusterbus.data_plane import DataPlane
from clusterbus.member.driver import TICK_PERIOD_MS
from clusterbus.member.member import Member
from clusterbus.runtime.clock import TickSchedule
from clusterbus.runtime.free_ports import openings
from clusterbus.runtime.startup import open_member


class BlockingNode:
    """A member and its ticks; both run only inside `run`. It has no client port and handles no signals.

    Between two calls of `run` the node hangs: after their node timeout the other nodes consider it failing.
    """

    def __init__(
        self,
        config: Config,
        monotonic_s: Callable[[], float] = time.monotonic,
        data_plane: DataPlane | None = None,
    ) -> None:
        """Raises ConfigError if the node cannot start."""
        self._monotonic_s = monotonic_s
        self.member = _opened(config, data_plane)
        self._schedule = TickSchedule(TICK_PERIOD_MS / 1000, monotonic_s())

    def run(self, timeout_ms: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Drives the node until `until()` is true or `timeout_ms` is over; returns the last answer of `until`.

        It takes at least one step, so that a timeout of 0 still handles what has arrived.
        """
        driver = self.member.driver
        deadline_s = self._monotonic_s() + timeout_ms / 1000
        more = True
        while True:
            now_s = self._monotonic_s()
            if self._schedule.take(now_s):
                more = driver.tick() or more
            wait_s = max(0.0, min(self._schedule.next_s, deadline_s) - now_s)
            more = driver.step(0 if more else math.ceil(wait_s * 1000))
            if until():
                return True
            if self._monotonic_s() >= deadline_s:
                return False

    def close(self) -> None:
        """Saves nodes.conf and closes every socket. Idempotent."""
        self.member.close()


def _opened(config: Config, data_plane: DataPlane | None) -> Member:
    for ports, is_last in openings(config):
        with ports:
            try:
                return open_member(config, data_plane)[0]
            except PortInUseError:
                if is_last:
                    raise
    raise AssertionError("the last attempt returns or raises")
