"""When nodes.conf is written, and what is still owed after a write that failed (S10, H47).

Owns the wishes for a save between two writes. Must never say that something is saved which is not. What the file
says is the state's (`ClusterState.nodes_conf_text`), how it is written the port's. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import Clock, NodesFile


@dataclass(slots=True)
class SaveStatus:
    """How nodes.conf fares: what INFO shows (H47)."""

    saves: int = 0
    failures: int = 0
    last_error: str = ""
    last_saved_ms: int = 0


class Saver:
    """Writes what `text` gives into the file of a member.

    `is_wanted`: a write is due at the end of the step. `owes_durable`: a durable write failed and has not been made
    good, so whatever is written next must be durable too, for later messages tell what it was to keep.
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
        """One write for many changes, at the end of the step."""
        self.is_wanted = True

    def want_again(self) -> None:
        """A write that failed is tried again at the end of this step."""
        if self._has_failed:
            self.is_wanted = True

    def write(self, *, durable: bool) -> bool:
        """Writes now; whether it worked (`status` tells why not)."""
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
        """Gives the file back."""
        self._nodes_file.close()
