"""The disk of a host, as far as nodes.conf goes: what was written, what is durable, what a crash leaves.

Owns the text of the last write and of the last durable write. Reads nothing in it but the epochs of the last line. A
killed process loses nothing that it wrote. A power cut may lose what was not synced, but only as a whole, because the
file is replaced atomically (`runtime/nodes_conf.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from clusterbus.sim.timeline import US_PER_MS, Timeline

WRITEBACK_MS: Final = 5_000
"""What was written this long ago is durable, even if no sync was asked for."""
_VARIABLES: Final = re.compile(r"^vars currentEpoch (\d+) lastVoteEpoch (\d+)$", re.MULTILINE)

_OWN_SHARD: Final = re.compile(r"^(\S+ \S*shard-id=)\w+(\S* myself,)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SavedEpochs:
    """The epochs in the last line of a nodes.conf."""

    current_epoch: int = 0
    last_vote_epoch: int = 0


def epochs_in(text: str) -> SavedEpochs:
    """The epochs in a nodes.conf."""
    found = _VARIABLES.search(text)
    return SavedEpochs(int(found[1]), int(found[2])) if found is not None else SavedEpochs()


class Disk:
    """`is_failing` makes every write fail, as a full or read-only disk does (H47). `slow_ms` is for how long a write is
    under way.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._durable: str | None = None
        self._written: str | None = None
        self._written_us = 0
        self.is_failing = False
        self.slow_ms = 0.0
        self.writes = 0
        self.syncs = 0

    def save(self, text: str, *, durable: bool) -> bool:
        """Writes the file. Returns whether that worked."""
        if self.is_failing:
            return False
        self.writes += 1
        if self._is_written_back():
            self._durable = self._written
        self._written = text
        self._written_us = self._timeline.now_us
        if durable:
            self.syncs += 1
            self._durable = text
        return True

    def sync(self) -> None:
        """Makes everything that was written durable."""
        self._durable = self._written

    def misplace(self, shard_id: str) -> None:
        """Somebody edits the file: the node itself is of this shard."""
        if self._written is not None:
            self._written = self._durable = _OWN_SHARD.sub(rf"\g<1>{shard_id}\g<2>", self._written)

    def cut_power(self, random: Random) -> None:
        """The page cache is gone: what was not synced is lost with probability one half."""
        if not self._is_written_back() and random.random() < 0.5:
            self._written = self._durable
        self._durable = self._written

    @property
    def text(self) -> str | None:
        """The file as a new process would read it; None if there is none."""
        return self._written

    @property
    def durable(self) -> SavedEpochs:
        """The epochs that no crash can take away."""
        text = self._written if self._is_written_back() else self._durable
        return epochs_in(text) if text is not None else SavedEpochs()

    def _is_written_back(self) -> bool:
        return self._timeline.now_us - self._written_us >= WRITEBACK_MS * US_PER_MS
