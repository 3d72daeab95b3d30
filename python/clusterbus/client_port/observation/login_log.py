"""ACL LOG: logins that failed.

Owns the entries, ENTRIES_MAX of them; the same client's same failure within GROUPED_S counts up one entry. The line of
the client is that of CLIENT LIST, so it is handed in. Main thread. Source: `addACLLogEntry`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from clusterbus.client_port.reply import Reply

ENTRIES_MAX: Final = 128
GROUPED_S: Final = 60
USER_LEN_MAX: Final = 128


@dataclass(slots=True)
class FailedLogin:
    """One entry. Times are unix milliseconds."""

    id: int
    user: str
    client_text: str
    created_ms: int
    updated_ms: int
    count: int = 1

    def shape(self, now_ms: int) -> Reply:
        """The entry as ACL LOG shows it."""
        return {
            "count": self.count,
            "reason": "auth",
            "context": "toplevel",
            "object": "AUTH",
            "username": self.user,
            "age-seconds": (now_ms - self.created_ms) / 1000,
            "client-info": self.client_text,
            "entry-id": self.id,
            "timestamp-created": self.created_ms,
            "timestamp-last-updated": self.updated_ms,
        }


class LoginLog:
    """The entries, the newest last."""

    def __init__(self) -> None:
        self._entries: deque[FailedLogin] = deque(maxlen=ENTRIES_MAX)
        self._next_id = 0
        self.failures = 0
        """How many logins have failed since the start."""

    def add(self, user: str, client_text: str, now_ms: int) -> None:
        """Notes a login that failed."""
        self.failures += 1
        user = user[:USER_LEN_MAX]
        for entry in self._entries:
            if entry.user == user and now_ms - entry.updated_ms <= GROUPED_S * 1000:
                entry.count += 1
                entry.updated_ms, entry.client_text = now_ms, client_text
                return
        self._entries.append(FailedLogin(self._next_id, user, client_text, now_ms, now_ms))
        self._next_id += 1

    def newest(self, count: int) -> list[FailedLogin]:
        """At most `count` entries, the newest first."""
        return list(reversed(self._entries))[: max(count, 0)]

    def clear(self) -> None:
        self._entries.clear()
