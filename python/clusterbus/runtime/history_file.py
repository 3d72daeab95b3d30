"""`HistoryFile`: appends each change of the cluster to a file, as a line of JSON (`cluster-log-file`).

Owns the file and the thread that writes to it. The main thread only puts changes into a bounded queue, so a disk that
is slow or full holds up nothing; what does not fit is counted and dropped, and the ring of `cluster.history` has it all
the same. A file that was moved away or removed, as logrotate does, is found out before the next line is written, which
begins a new one. Must never leave half a line behind. `append`, `tick` and `close`: main thread; the rest: its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections import Counter, deque
from itertools import islice
from typing import Final

from clusterbus.cluster.history.change import Change
from clusterbus.errors import ConfigError
from clusterbus.member.ports import Log

QUEUED_MAX: Final = 8_192
"""Changes that wait for the disk. They take some 4 MiB."""
LINES_PER_WRITE_MAX: Final = 256
RETRY_PAUSE_S: Final = 1.0
CLOSE_PATIENCE_S: Final = 0.25
"""For so long the end of a node waits for the rest to be written."""
MODE: Final = 0o640
TAIL_LEN_BYTES: Final = 16 * 1024
"""More than a line may have."""
_LINE_START: Final = b'{"number":'


class HistoryFile:
    """An open file. `written`, `errors` and `dropped` count lines, failed attempts, and changes that were not kept."""

    def __init__(self, path: str) -> None:
        """Opens the file. Raises ConfigError if it cannot be written."""
        self.path = path
        self.written = self.errors = self.dropped = 0
        self._queue: deque[Change] = deque()
        self._fd: int | None = None
        self._wakes = threading.Condition()
        self._is_closing = False
        self._fault = ""
        self._told_fault = ""
        try:
            if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError("is no regular file")
            self._open()
        except OSError as error:
            raise ConfigError(f"cluster-log-file {path} cannot be written: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._run, name="cluster-log-file", daemon=True)
        self._thread.start()

    def append(self, change: Change) -> None:
        """Has a change written soon."""
        with self._wakes:
            if len(self._queue) >= QUEUED_MAX:
                self.dropped += 1
                return
            self._queue.append(change)
            self._wakes.notify()

    def tick(self, counters: Counter[str], log: Log) -> None:
        """Puts the counts where others are, and logs once that writing fails, and once that it goes on."""
        counters["log_file_errors"] += self.errors - self._shown_errors
        counters["log_lines_dropped"] += self.dropped - self._shown_dropped
        self._shown_errors, self._shown_dropped = self.errors, self.dropped
        fault = self._fault
        if bool(fault) != bool(self._told_fault):
            self._told_fault = fault
            if fault:
                log("warning", f"cluster-log-file {self.path} cannot be written, trying again: {fault}")
            else:
                log("notice", f"cluster-log-file {self.path} is written again")

    _shown_errors = 0
    _shown_dropped = 0

    def close(self) -> None:
        """Ends the thread once it has written the rest, or after a moment. Idempotent."""
        with self._wakes:
            self._is_closing = True
            self._wakes.notify()
        self._thread.join(CLOSE_PATIENCE_S)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            with self._wakes:
                while not self._queue and not self._is_closing:
                    self._wakes.wait()
                batch = list(islice(self._queue, LINES_PER_WRITE_MAX))
            if not batch:
                break
            try:
                self._write(b"".join(line_of(change) for change in batch))
            except OSError as error:
                self.errors += 1
                self._fault = error.strerror or str(error)
                with self._wakes:
                    if self._is_closing:
                        break
                    self._wakes.wait_for(lambda: self._is_closing, RETRY_PAUSE_S)
                continue
            self._fault = ""
            with self._wakes:
                for _ in batch:
                    self._queue.popleft()
            self.written += len(batch)
        self._close()

    def _write(self, lines: bytes) -> None:
        """Writes some whole lines or, if it raises OSError, none of them."""
        if self._fd is None or self._is_replaced(self._fd):
            self._close()
            self._open()
        fd = self._fd
        assert fd is not None
        before_len = os.fstat(fd).st_size
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, before_len)
            raise

    def _is_replaced(self, fd: int) -> bool:
        """Whether another file, or none, is at the path by now."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(fd))

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, MODE)
        try:
            _mend_end(fd)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)


def line_of(change: Change) -> bytes:
    """The line of a change. Text of peers may hold anything; what is not ASCII is escaped."""
    return json.dumps(change.fields()).encode() + b"\n"


def _mend_end(fd: int) -> None:
    """Takes away half a line of ours, which a crash has left; another text without an end gets one."""
    end = os.fstat(fd).st_size
    tail = os.pread(fd, TAIL_LEN_BYTES, max(0, end - TAIL_LEN_BYTES))
    if not tail or tail.endswith(b"\n"):
        return
    torn = tail[tail.rfind(b"\n") + 1 :]
    if _LINE_START.startswith(torn) or torn.startswith(_LINE_START):
        os.ftruncate(fd, end - len(torn))
    else:
        os.write(fd, b"\n")
