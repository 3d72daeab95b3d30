"""When nodes.conf is written, and what must still be done after a failed write (S10, H47).

Owns the requests for a save between two writes, and the one write that may be under way: a disk that takes seconds for
it holds up nobody but who waits for it. Must never report something as saved that is not. The content is the state's
(`ClusterState.nodes_conf_text`), the writing the port's. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import Clock, NodesFile, Replacement

SAVE_PERIOD_MS: Final = 1_000
"""What packets change and a crash may lose is written at most this often. When many nodes join, each of them changes
the file several times."""


@dataclass(slots=True)
class SaveStatus:
    """How the saves of nodes.conf went, as INFO shows it (H47)."""

    saves: int = 0
    failures: int = 0
    last_error: str = ""
    last_saved_ms: int = 0
    last_duration_ms: int = 0


class Outcome(Enum):
    """What became of a write."""

    UNDER_WAY = auto()
    SAVED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class Attempt:
    """One write, begun or still to begin. Who asked for it looks at `outcome` later."""

    outcome: Outcome = Outcome.UNDER_WAY


@dataclass(slots=True)
class _Write:
    attempt: Attempt
    replacement: Replacement
    begun_ms: int


class Saver:
    """Writes the result of `text` to a member's file.

    `is_wanted`: a write is due at the end of the step, or a little later (`is_due`). `owes_durable`: a durable write
    failed or is under way, and none has succeeded since. The next one must then be durable, because later messages
    announce what the failed one was to keep.
    """

    def __init__(self, nodes_file: NodesFile, text: Callable[[], str], clock: Clock) -> None:
        self._nodes_file = nodes_file
        self._text = text
        self._clock = clock
        self.status = SaveStatus()
        self.is_wanted = False
        self.owes_durable = False
        self._has_failed = False
        self._under_way: _Write | None = None
        self._next: Attempt | None = None
        """What was asked for while a write was under way, whose text is older."""

    def want(self) -> None:
        """Asks for a write at the end of the step: one for many changes."""
        self.is_wanted = True

    def want_again(self) -> None:
        """Asks for another try at the end of this step, if the last write failed."""
        if self._has_failed:
            self.is_wanted = True

    @property
    def is_under_way(self) -> bool:
        """Whether the disk has not yet answered."""
        return self._under_way is not None

    @property
    def is_due(self) -> bool:
        """Whether to write at the end of this step. The first change is written at once, and those that follow soon are
        written together."""
        if not self.is_wanted or self._under_way is not None:
            return False
        since_ms = self._clock.now_ms() - self.status.last_saved_ms
        return self._has_failed or self._next is not None or since_ms >= SAVE_PERIOD_MS

    def write(self, *, durable: bool) -> Attempt:
        """Begins a write now, and waits for it no longer than the file does. While one is under way, the next begins
        when that has ended and was looked at. `status` says why one failed.
        """
        if self._under_way is not None:
            self.is_wanted = True
            self.owes_durable = self.owes_durable or durable
            self._next = self._next or Attempt()
            return self._next
        attempt, self._next = self._next or Attempt(), None
        self.is_wanted = False
        self.owes_durable = durable = durable or self.owes_durable
        replacement = self._nodes_file.begin(self._text(), durable)
        self._under_way = _Write(attempt, replacement, self._clock.now_ms())
        self.look()
        return attempt

    def write_now(self) -> Attempt:
        """Writes durably and waits for the end, also of a write under way."""
        attempt, self._next = self._next or Attempt(), None
        self.is_wanted = False
        self.owes_durable = True
        begun_ms = self._clock.now_ms()
        try:
            self._nodes_file.save(self._text(), True)
        except (OSError, ClusterBusError) as error:
            self._end(attempt, begun_ms, str(error))
        else:
            self._end(attempt, begun_ms, "")
        if self._under_way is not None:
            self._under_way.attempt.outcome = attempt.outcome
            self._under_way = None
        return attempt

    def look(self) -> Attempt | None:
        """The write that has ended since the last look, if one has."""
        write = self._under_way
        if write is None or not write.replacement.is_done:
            return None
        self._under_way = None
        try:
            write.replacement.result()
        except (OSError, ClusterBusError) as error:
            self._end(write.attempt, write.begun_ms, str(error))
        else:
            self._end(write.attempt, write.begun_ms, "")
        return write.attempt

    def _end(self, attempt: Attempt, begun_ms: int, error: str) -> None:
        now_ms = self._clock.now_ms()
        self.status.last_error = error
        self.status.last_duration_ms = now_ms - begun_ms
        self._has_failed = bool(error)
        if error:
            attempt.outcome = Outcome.FAILED
            self.status.failures += 1
            return
        attempt.outcome = Outcome.SAVED
        self.owes_durable = self._next is not None and self.owes_durable
        self.status.saves += 1
        self.status.last_saved_ms = begun_ms

    def close(self) -> None:
        """Releases the file."""
        self._nodes_file.close()
