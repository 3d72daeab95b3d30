"""Whose a bus is: one thread of one process.

Owns the check that every call makes, and its error. Any thread.
"""

from __future__ import annotations

import os
import threading

from clusterbus.errors import StateError


class Owner:
    """The thread and the process that a bus lives in. A forked process has no I/O threads, so it is not a member."""

    def __init__(self, elsewhere: str) -> None:
        """`elsewhere` says what another thread can do."""
        self._elsewhere = elsewhere
        self._thread_id = threading.get_ident()
        self._process_id = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process is a fork of the owning one."""
        return os.getpid() != self._process_id

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the owner."""
        return threading.get_ident() == self._thread_id and not self.is_elsewhere

    def check_process(self) -> None:
        """Raises StateError in a fork of the owning process."""
        if self.is_elsewhere:
            raise StateError(f"the bus stayed in process {self._process_id}, which this one was forked from")

    def check(self) -> None:
        """Raises StateError for any other thread or process."""
        self.check_process()
        if not self.is_here:
            raise StateError(f"the bus belongs to the thread that opened it; {self._elsewhere}")
