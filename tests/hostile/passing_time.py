"""Time that passes for a node under attack without the test's waiting for it.

Owns the node's clock from the first call on: its timeline jumps ahead, and what was read from a link before the jump is
older by as much. The node's own deadlines in the kernel and in the engine do not move.
"""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from clusterbus.member.member import Member
from clusterbus.runtime.clock import Clock

from tests.hostile.attacked import Attacked

APART_S = 0.002
"""A jump lies so far from what was read before it. The engine tells the ages of reads in whole milliseconds."""
_jumps: WeakKeyDictionary[Member, _Jumps] = WeakKeyDictionary()


class _Jumps:
    """When the time of one member jumped, and how far."""

    def __init__(self, member: Member) -> None:
        self._jumps: list[tuple[float, int]] = []
        core = member.state._core
        self._age_ms = core.read_age_ms
        core.read_age_ms = self._read_age_ms

    def add(self, member: Member, duration_ms: int) -> None:
        self._jumps.append((time.monotonic(), duration_ms))
        clock = member.clock
        assert isinstance(clock, Clock)
        clock._offset_ns += duration_ms * 1_000_000
        member.state._core.version.move()  # workers take the time from the next view

    def _read_age_ms(self, link: int) -> int | None:
        age_ms = self._age_ms(link)
        if age_ms is None:
            return None
        read_s = time.monotonic() - age_ms / 1000 - APART_S / 2
        return age_ms + sum(duration_ms for at_s, duration_ms in self._jumps if at_s > read_s)


def later(attacked: Attacked, duration_ms: int) -> None:
    """Time passes, in which nobody sends anything to the node."""

    def pass_time(member: Member) -> None:
        if member not in _jumps:
            _jumps[member] = _Jumps(member)
        _jumps[member].add(member, duration_ms)

    time.sleep(APART_S)
    attacked.ask(pass_time)
    time.sleep(APART_S)
