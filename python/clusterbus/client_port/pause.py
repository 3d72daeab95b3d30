"""CLIENT PAUSE: requests wait for a while, all of them or those that write.

Owns the end of the pause, and wakes who waits for it. A client waits with one request at most; what it sends behind it
stays unread. Must never hold what keeps the node alive: the bus goes on. Main thread. Source: `clientPauseCommand`, and
the end of `processCommand`.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import Call

_WRITES: Final = frozenset({"write", "may_replicate"})


class PauseKind(Enum):
    """Which requests wait, by the word of CLIENT PAUSE."""

    WRITE = "WRITE"
    ALL = "ALL"


class Pause:
    """At most one pause at a time. Times are seconds of the server's clock."""

    def __init__(self) -> None:
        self.kind: PauseKind | None = None
        """None: there is no pause, or it has ended and nobody has looked since."""
        self._until_s = 0.0
        self._ended = asyncio.Event()

    def begin(self, kind: PauseKind, duration_s: float, now_s: float) -> None:
        """Begins a pause, or prolongs the present one: the later end and the wider kind hold."""
        if self.remaining_s(now_s) and PauseKind.ALL in (kind, self.kind):
            kind = PauseKind.ALL
        self.kind = kind
        self._until_s = max(self._until_s, now_s + duration_s)

    def end(self) -> None:
        """Ends the pause now."""
        self.kind = None
        self._until_s = 0.0
        self._ended.set()
        self._ended = asyncio.Event()

    def remaining_s(self, now_s: float) -> float:
        """How long the pause will last; 0 without one."""
        return max(self._until_s - now_s, 0.0) if self.kind is not None else 0.0

    def holds(self, client: Client, call: Call, now_s: float) -> bool:
        """Whether a call has to wait."""
        if self.kind is None:
            return False
        if not self.remaining_s(now_s):
            self.end()
            return False
        if self.kind is PauseKind.ALL:
            return True
        calls = client.transaction or () if call.name == "exec" else (call,)
        return any(not _WRITES.isdisjoint(one.spec.flags) for one in calls)

    async def wait(self, now_s: float) -> None:
        """Waits until the pause ends. It may have been prolonged then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.remaining_s(now_s)):
                await self._ended.wait()
