"""Turns: one thread at a time works on a member, each in the order in which it asked.

Owns the lock that the threads of a blocking bus share. The one that drives the node takes its turn for each step, and
gives it away while it waits for the kernel; others take theirs for a call. First come, first served: many threads that
publish cannot keep the ticks from coming. Any thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class Turns:
    """A lock that is handed over in order. A thread may take a turn within its turn, as with `threading.RLock`."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._holder: int | None = None
        self._depth = 0
        self._waiting: deque[_Gate] = deque()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread has the turn."""
        return self._holder == threading.get_ident()

    def __enter__(self) -> Self:
        self._take(1)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._hand_on()

    @contextlib.contextmanager
    def given_away(self) -> Iterator[None]:
        """The calling thread waits for something, and the others may take turns meanwhile. Ctrl-C waits for the turn to
        come back, since the code around this goes on with it."""
        depth, self._depth = self._depth, 0
        self._hand_on()
        try:
            yield
        finally:
            interruption: BaseException | None = None
            while not self.is_mine:
                try:
                    self._take(depth)
                except KeyboardInterrupt as error:
                    interruption = error
            if interruption is not None:
                raise interruption

    def _take(self, depth: int) -> None:
        me = threading.get_ident()
        if self._holder == me:
            self._depth += depth
            return
        with self._guard:
            if self._holder is None:
                self._holder, self._depth = me, depth
                return
            gate = _Gate(me, depth)
            self._waiting.append(gate)
        gate.wait(self)

    def _hand_on(self) -> None:
        with self._guard:
            if not self._waiting:
                self._holder = None
                return
            gate = self._waiting.popleft()
            self._holder, self._depth = gate.thread_id, gate.depth
            gate.lock.release()

    def _leave(self, gate: _Gate) -> None:
        """A thread waits no more, because Ctrl-C interrupted it."""
        with self._guard:
            if gate in self._waiting:
                self._waiting.remove(gate)
                return
        self._hand_on()  # the turn had just come


class _Gate:
    """Where one thread waits for its turn."""

    def __init__(self, thread_id: int, depth: int) -> None:
        self.thread_id = thread_id
        self.depth = depth
        self.lock = threading.Lock()
        self.lock.acquire()

    def wait(self, turns: Turns) -> None:
        """Returns with the turn, or raises without it."""
        try:
            self.lock.acquire()
        except BaseException:
            turns._leave(self)
            raise
