"""A member without an event loop: the thread of a caller steps the same driver, or a thread of its own does.

Owns the wait between two steps, the thread if there is one, and the turns that threads take. Must never wait longer
than a caller's timeout, skip a tick while it is driven, or step while another thread works on the member. Whoever has
the turn is the main thread of the node.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Callable

from clusterbus.config import Config
from clusterbus.config.listening import PortInUseError
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, ConfigError, StateError
from clusterbus.member.driver import FLUSH_AT_CLOSE_MAX_MS, TICK_PERIOD_MS
from clusterbus.member.member import Member
from clusterbus.runtime.clock import TickSchedule
from clusterbus.runtime.free_ports import openings
from clusterbus.runtime.log import logger
from clusterbus.runtime.startup import open_member
from clusterbus.runtime.turns import Turns


class BlockingNode:
    """A member and its ticks. It has no client port and handles no signals.

    Without a thread both run only inside `run`: between two calls the node hangs, and after their node timeout the
    other nodes consider it failing. After `start_thread` a thread of its own runs them, and `run` waits for it.
    """

    def __init__(
        self,
        config: Config,
        monotonic_s: Callable[[], float] = time.monotonic,
        data_plane: DataPlane | None = None,
    ) -> None:
        """Raises ConfigError if the node cannot start."""
        self._monotonic_s = monotonic_s
        self.member, engine_fd = _opened(config, data_plane)
        self.member.schedule_step = self._schedule_step
        self.turns = Turns()
        self._schedule = TickSchedule(TICK_PERIOD_MS / 1000, monotonic_s())
        self._bell = Bell()
        self._readable = select.poll()
        self._readable.register(engine_fd, select.POLLIN)
        self._readable.register(self._bell.fd, select.POLLIN)
        self._thread: threading.Thread | None = None
        self._waiters: list[_Waiter] = []
        self._is_stepping = False
        self._is_closed = False
        self._must_end = False
        self._closes_after_step = False
        self._is_woken = False
        self.fault: BaseException | None = None
        self.on_fault: Callable[[BaseException], None] = lambda _error: None
        self.on_close: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ waiting

    def run(self, timeout_ms: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Drives the node, or has its thread drive it, until `until()` is true or `timeout_ms` is over; returns the
        last answer of `until`, and False if the node is closed meanwhile.

        It takes at least one step, so that a timeout of 0 still handles what has arrived. `until` is asked after every
        step, by the thread that drives. Raises StateError inside of a callback, which is part of a step.
        """
        self.check_may_wait()
        with self.turns:
            deadline_s = self._monotonic_s() + timeout_ms / 1000
            if self._thread is not None:
                return self._wait(deadline_s, until)
            return self._drive(deadline_s, until)

    @property
    def is_driving_here(self) -> bool:
        """Whether the calling thread is inside of a callback, or in a condition that the node's own thread asks."""
        return self._thread is threading.current_thread() or (self._is_stepping and self.turns.is_mine)

    def check_may_wait(self) -> None:
        """Raises StateError where waiting would be for ever."""
        if self.is_driving_here:
            raise StateError("a callback of the bus cannot wait for the bus: it is part of the step that it waits for")

    def _drive(self, deadline_s: float, until: Callable[[], bool]) -> bool:
        while True:
            more = self._step()
            if self._closes_after_step:
                self._close()
            if self._is_closed or self._must_end:
                return False
            self._tell_waiters()
            if until():
                return True
            if self._is_closed or self._monotonic_s() >= deadline_s:
                return False
            self._sleep(0 if more else min(self._schedule.next_s, deadline_s))

    def _step(self) -> bool:
        driver = self.member.driver
        self._is_stepping = True
        try:
            if self._schedule.take(self._monotonic_s()):
                driver.tick()
            return driver.step(0)
        finally:
            self._is_stepping = False

    def _sleep(self, until_s: float) -> None:
        """Waits for the kernel or the bell. The other threads take their turns meanwhile, even if there is no time."""
        wait_s = until_s - self._monotonic_s()
        ready: list[tuple[int, int]] = []
        with self.turns.given_away():
            if wait_s > 0:
                ready = self._readable.poll(math.ceil(wait_s * 1000))
        if any(fd == self._bell.fd for fd, _what in ready):
            self._bell.hush()

    def _wait(self, deadline_s: float, until: Callable[[], bool]) -> bool:
        """Waits until the thread that drives has found `until()` true."""
        if self.fault is not None:
            raise broken(self.fault)
        if self._is_closed or self._must_end:
            return False
        if until():
            return True
        waiter = _Waiter(until)
        self._waiters.append(waiter)
        try:
            with self.turns.given_away():
                waiter.told.wait(_finite(deadline_s - self._monotonic_s()))
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if waiter.error is not None:
            raise waiter.error
        if self.fault is not None:
            raise broken(self.fault)
        return waiter.is_true or (not self._is_closed and until())

    def _tell_waiters(self) -> None:
        for waiter in list(self._waiters):
            if waiter.ask():
                self._waiters.remove(waiter)

    def _schedule_step(self) -> None:
        """An order was given: what it queued is sent, and whoever drives learns of it."""
        if self._is_stepping:
            return  # an order of a callback; this step ends soon
        if self.member.driver.finish_step() or self._waiters:
            self._bell.ring()

    # ------------------------------------------------------------ waking

    def wake(self) -> None:
        """Has the thread that drives take a step and ask its conditions. Any thread may call it, at any time."""
        self._is_woken = True
        self._bell.ring()

    @property
    def is_woken(self) -> bool:
        """Whether `wake` was called since the last `take_wake`."""
        return self._is_woken

    def take_wake(self) -> None:
        self._is_woken = False

    # ------------------------------------------------------------ the thread

    @property
    def has_thread(self) -> bool:
        return self._thread is not None

    def start_thread(self) -> None:
        """From now on a thread drives the node. It does not keep the interpreter from ending."""
        self._thread = threading.Thread(target=self._run_thread, name="clusterbus", daemon=True)
        self._thread.start()

    def _run_thread(self) -> None:
        with self.turns:
            try:
                self._drive(math.inf, lambda: False)
            except BaseException as error:
                logger.error("the main loop's step failed; the node stops", exc_info=error)
                self.fault = error
                self.on_fault(error)
                self._release_waiters()

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Sends what waits to be sent, for a moment, saves nodes.conf, closes every socket, and ends the thread.
        Idempotent. In a callback it is done when the step ends, and its error is in the log.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        if self.is_driving_here:
            self._closes_after_step = True
            return
        if self._thread is not None:
            self._must_end = True
            self._bell.ring()
            with self.turns.given_away() if self.turns.is_mine else contextlib.nullcontext():
                self._thread.join()
        with self.turns:
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._send_rest()
        finally:
            try:
                self.on_close()
                self.member.close()
            except ClusterBusError as error:
                if not self._closes_after_step:
                    raise
                logger.error("nodes.conf could not be saved: %s", error)
            finally:
                self._bell.close()
                self._release_waiters()

    def _send_rest(self) -> None:
        if self.fault is not None:
            return
        driver = self.member.driver
        driver.finish_step()
        end_s = self._monotonic_s() + FLUSH_AT_CLOSE_MAX_MS / 1000
        while driver.has_unsent and (wait_s := end_s - self._monotonic_s()) > 0:
            self._readable.poll(math.ceil(min(wait_s, TICK_PERIOD_MS / 1000) * 1000))
            self._bell.hush()
            self._step()

    def _release_waiters(self) -> None:
        for waiter in self._waiters:
            waiter.told.set()


class _Waiter:
    """One thread that waits for a condition."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self._until = until
        self.is_true = False
        self.error: BaseException | None = None
        self.told = threading.Event()

    def ask(self) -> bool:
        """Whether the wait is over; what the condition raises is for the thread that waits."""
        try:
            self.is_true = self._until()
        except BaseException as error:
            self.error = error
        if self.is_true or self.error is not None:
            self.told.set()
        return self.told.is_set()


class Bell:
    """A descriptor that any thread makes readable. It may be rung after it is closed, when nobody hears it."""

    fd = -1

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may ring while its own thread does
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def hush(self) -> None:
        """Makes it silent again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        with self._lock:
            self.__del__()

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def broken(fault: BaseException) -> ClusterBusError:
    """The error for whoever uses a node that broke down."""
    error = ClusterBusError(f"the node broke down: {fault!r}")
    error.__cause__ = fault
    return error


def _finite(wait_s: float) -> float | None:
    return None if wait_s > threading.TIMEOUT_MAX else max(0.0, wait_s)


def _opened(config: Config, data_plane: DataPlane | None) -> tuple[Member, int]:
    if config.metrics_port:
        raise ConfigError("metrics-port needs an event loop: use clusterbus.Bus, or BlockingBus.metrics()")
    for ports, is_last in openings(config):
        with ports:
            try:
                member, engine = open_member(config, data_plane)
                return member, engine.fileno()
            except PortInUseError:
                if is_last:
                    raise
    raise AssertionError("the last attempt returns or raises")
