"""Whose a bus is: one thread of one process.

Owns the check that every call makes, and its error. Any thread.
"""

from __future__ import annotations

import os
import threading

from clusterbus.errors import StateError


class Owner:
    """The thread and the process that a bus lives in. A forked process has no I/O threads, so it is not a member."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._process_id = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process is a fork of the owning one."""
        return os.getpid() != self._process_id

    def check(self) -> None:
        """Raises StateError for any other thread or process."""
        if self.is_elsewhere:
            raise StateError(f"the bus stayed in process {self._process_id}, which this one was forked from")
        if threading.get_ident() != self._thread_id:
            raise StateError(
                "the bus belongs to the thread that opened it; from another, hand over to its event loop "
                "(call_soon_threadsafe, run_coroutine_threadsafe)"
            )
