"""The file nodes.conf: its locks, its reading and the detection of damage, and its atomic replacement.

Knows the text but not its meaning: `clusterbus.cluster.operator.persist` turns text into state and back. Must never
change a file that it has refused, and never leave a half-written file under the real name. Main thread, but for the
replacement itself, which has a thread of its own while the main thread may wait for the disk no longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from clusterbus.errors import ConfigError

FILE_LEN_MAX_BYTES: Final = 64 * 1024 * 1024
LOCK_ATTEMPTS_MAX: Final = 10
SAVE_PATIENCE_S: Final = 0.1
"""For so long a save that was begun holds up the main thread. Disks that are well answer in a few milliseconds; the
peers of a node wait for its heartbeats, not for its disk."""
LOCK_SUFFIX: Final = ".lock"
TEMPORARY_SUFFIX: Final = ".tmp"
PROCESSES: Final = "/proc"

Parsed = TypeVar("Parsed")


def _in_use(path: str) -> str:
    return f"cluster-config-file {path} is already used by another node; give each node its own"


def _holder_of_a_replaced_file(path: str) -> int | None:
    """The id of another process that has a lock on a file that was at `path` before the present one (H46).

    Looks where Linux shows the open files of processes; elsewhere, and of processes of other users, it sees none.
    """
    own, replaced = str(os.getpid()), f"{os.path.realpath(path)} (deleted)"
    for process in os.listdir(PROCESSES) if os.path.isdir(PROCESSES) else ():
        if not process.isdigit() or process == own:
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is of another user
            for number in os.listdir(f"{PROCESSES}/{process}/fd"):
                if os.readlink(f"{PROCESSES}/{process}/fd/{number}") != replaced:
                    continue
                with open(f"{PROCESSES}/{process}/fdinfo/{number}", encoding="ascii") as described:
                    if "FLOCK" in described.read():
                        return int(process)
    return None


class Replacement:
    """One replacement of a file, in a thread of its own (`member.ports.Replacement`)."""

    def __init__(self, replace: Callable[[], None]) -> None:
        self._replace = replace
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="nodes.conf", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread is to be had
            self._run()

    def _run(self) -> None:
        try:
            self._replace()
        except Exception as error:
            self._error = error
        self._ended.set()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._ended.is_set()

    def wait(self, timeout_s: float | None) -> None:
        """Waits for the end, at most so long."""
        if self._ended.wait(timeout_s) and self._thread.is_alive():
            self._thread.join()

    def result(self) -> None:
        """Raises the error that ended it."""
        if self._error is not None:
            raise self._error


class NodesFile:
    """A nodes.conf that this process has locked (S10, H44-H47).

    Two locks guard it until `close`. One is on `nodes.conf.lock`, which is never replaced, so this lock survives every
    replacement of the real file. The other is on nodes.conf itself, where Valkey looks for one (clusterLockConfig in
    src/cluster_legacy.c); each new file is locked before it replaces the old one. Valkey itself locks none but the file
    that it finds at its start, so of a Valkey that has saved since, that lock on a replaced file is looked for.
    """

    def __init__(self, path: str) -> None:
        """Takes the locks. Raises ConfigError if another process has them or the folder cannot be written."""
        self.path = os.path.abspath(path)
        self._folder = os.path.dirname(self.path)
        self._file_lock: int | None = None
        self._lock: int | None = None
        self._spare: int | None = None
        """A descriptor that a save gives back while it needs one, so that a process with none left still saves."""
        self._last: Replacement | None = None
        with self._explained("lock"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(self.path + LOCK_SUFFIX, flags, 0o644)
        try:
            self._take_lock(self._lock)
            self._file_lock = self._lock_present_file()
            if self._file_lock is not None and (process := _holder_of_a_replaced_file(self.path)) is not None:
                raise ConfigError(f"{_in_use(self.path)} (process {process} runs on it)")
        except BaseException:
            self.close()
            raise

    def _take_lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(_in_use(self.path)) from None
        except OSError as error:
            raise ConfigError(f"{self.path}: lock: {error.strerror}") from error

    def _lock_present_file(self) -> int | None:
        """Locks the file under the real name, if there is one. If it is replaced meanwhile, tries again."""
        for _ in range(LOCK_ATTEMPTS_MAX):
            with self._explained("open"):
                try:
                    descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                except FileNotFoundError:
                    return None
            try:
                self._take_lock(descriptor)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise ConfigError(f"{self.path}: another process keeps replacing the file")

    def read(self) -> str | None:
        """The text of the file; None if there is no file, which means that the node is new.

        Raises ConfigError, which names file and line, if the file is empty, cut off or not text. The file stays as it
        is.
        """
        if self._file_lock is None:
            return None
        with self._explained("read"):
            os.lseek(self._file_lock, 0, os.SEEK_SET)
            with os.fdopen(os.dup(self._file_lock), "rb") as file:
                raw = file.read(FILE_LEN_MAX_BYTES + 1)
        if len(raw) > FILE_LEN_MAX_BYTES:
            raise ConfigError(f"{self.path} is over {FILE_LEN_MAX_BYTES} bytes, so it is no nodes.conf")
        if not raw.strip():
            raise ConfigError(f"{self.path}:1: the file is empty; delete it if this node is to start as a new one")
        if (cut := self._how_cut_off(raw)) is not None:
            last_line = raw.rstrip(b"\n").count(b"\n") + 1
            raise ConfigError(f"{self.path}:{last_line}: the file is cut off: {cut}")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{self.path}:{line}: the file is damaged: byte {error.start} is no text") from None
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise ConfigError(f"{self.path}:{line}: the file is damaged: it holds a zero byte")
        return text

    def _how_cut_off(self, raw: bytes) -> str | None:
        """What the end of the file lacks, and how an operator goes on (P44); None if nothing is missing.

        Valkey starts on such a file. We do not: of a `lastVoteEpoch` that has lost its last digits nothing can be seen,
        and it would let this node vote twice in one epoch.
        """
        ends_line = raw.endswith(b"\n")
        last_line = raw.rstrip(b"\n").rsplit(b"\n", 1)[-1]
        if not last_line.startswith(b"vars "):
            return (
                "its last line is not 'vars ...'; put a whole copy in its place, or delete it and let the node join as"
                " a new one"
            )
        if not ends_line:
            return (
                f"its last line has no end; if {last_line.decode(errors='replace')!r} is all of it, add the newline"
                f" (echo >> {shlex.quote(self.path)}), else put a whole copy in its place"
            )
        return None

    def load(self, parse: Callable[[str], Parsed]) -> Parsed | None:
        """Returns `parse(text)`, or None for a new node. A ConfigError out of `parse` gains the name of the file."""
        text = self.read()
        if text is None:
            return None
        try:
            return parse(text)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from error

    def save(self, text: str, durable: bool) -> None:
        """Replaces the file as a whole. If `durable`, file and folder entry are on disk before this returns. Waits for
        a replacement under way.

        Raises ConfigError, which names the step that failed. The old file is then still in place, unless only the last
        step failed, the flush of the folder.
        """
        self._wait_for_last()
        self._replace(text, durable)

    def begin(self, text: str, durable: bool) -> Replacement:
        """As `save`, in a thread of its own, for which this waits SAVE_PATIENCE_S at most."""
        self._wait_for_last()
        self._last = Replacement(lambda: self._replace(text, durable))
        self._last.wait(SAVE_PATIENCE_S)
        return self._last

    def _wait_for_last(self) -> None:
        if self._last is not None:
            self._last.wait(None)

    def _replace(self, text: str, durable: bool) -> None:
        self._give_spare_back()
        try:
            self._write_and_rename(text, durable)
        finally:
            self._keep_spare()

    def _keep_spare(self) -> None:
        with contextlib.suppress(OSError):  # another try comes with the next save
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_spare_back(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.closerange(spare, spare + 1)  # whatever comes of it

    def _write_and_rename(self, text: str, durable: bool) -> None:
        temporary = self.path + TEMPORARY_SUFFIX
        try:
            self._write_temporary(temporary, text.encode("utf-8"), durable)
            lock = self._put_in_place(temporary)
        except ConfigError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        previous, self._file_lock = self._file_lock, lock
        if previous is not None:
            os.close(previous)
        if durable:
            with self._explained("fsync of the folder"):
                folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    def _write_temporary(self, temporary: str, raw: bytes, durable: bool) -> None:
        with self._explained("creation of the new file"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o644)
        try:
            with self._explained("write of the new file"):
                rest = memoryview(raw)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            if durable:
                with self._explained("fsync of the new file"):
                    os.fsync(descriptor)
        except ConfigError:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        with self._explained("close of the new file"):
            os.close(descriptor)

    def _put_in_place(self, temporary: str) -> int:
        """Locks the new file, then renames it over the old one, so that nobody sees it without a lock. Returns the
        descriptor that holds the lock.
        """
        with self._explained("lock of the new file"):
            lock = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._take_lock(lock)
            with self._explained("rename of the new file"):
                os.rename(temporary, self.path)
        except ConfigError:
            os.close(lock)
            raise
        return lock

    def close(self) -> None:
        """Releases the locks, after a replacement under way. Afterwards the object cannot be used."""
        self._wait_for_last()
        for descriptor in (self._file_lock, self._lock, self._spare):
            if descriptor is not None:
                os.close(descriptor)
        self._file_lock = self._lock = self._spare = None

    @contextlib.contextmanager
    def _explained(self, step: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"cluster-config-file {self.path}: {step}: {error.strerror}") from error
