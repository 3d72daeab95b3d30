"""When nodes.conf is written, and what must still be done after a failed write (S10, H47).

Owns the requests for a save between two writes. Must never report something as saved that is not. The content is the
state's (`ClusterState.nodes_conf_text`), the writing the port's. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import Clock, NodesFile

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


class Saver:
    """Writes the result of `text` to a member's file.

    `is_wanted`: a write is due at the end of the step, or a little later (`is_due`). `owes_durable`: a durable write
    failed and no write has succeeded since. The next one must then be durable, because later messages announce what the
    failed one was to keep.
    """

    def __init__(self, nodes_file: NodesFile, text: Callable[[], str], clock: Clock) -> None:
        self._nodes_file = nodes_file
        self._text = text
        self._clock = clock
        self.status = SaveStatus()
        self.is_wanted = False
        self.owes_durable = False
        self._has_failed = False

    def want(self) -> None:
        """Asks for a write at the end of the step: one for many changes."""
        self.is_wanted = True

    def want_again(self) -> None:
        """Asks for another try at the end of this step, if the last write failed."""
        if self._has_failed:
            self.is_wanted = True

    @property
    def is_due(self) -> bool:
        """Whether to write at the end of this step. The first change is written at once, and those that follow soon are
        written together."""
        since_ms = self._clock.now_ms() - self.status.last_saved_ms
        return self.is_wanted and (self._has_failed or since_ms >= SAVE_PERIOD_MS)

    def write(self, *, durable: bool) -> bool:
        """Writes now. Returns whether it worked; `status` says why not."""
        now_ms = self._clock.now_ms()
        self.is_wanted = False
        durable = durable or self.owes_durable
        try:
            self._nodes_file.save(self._text(), durable)
        except (OSError, ClusterBusError) as error:
            self.status.failures += 1
            self.status.last_error = str(error)
            self._has_failed = True
            self.owes_durable = durable
            return False
        self._has_failed = self.owes_durable = False
        self.status.saves += 1
        self.status.last_error = ""
        self.status.last_saved_ms = now_ms
        return True

    def close(self) -> None:
        """Releases the file."""
        self._nodes_file.close()
