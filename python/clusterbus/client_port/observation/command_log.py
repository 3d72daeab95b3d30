"""SLOWLOG and COMMANDLOG: the last requests that were slow, and those that were large or got large replies.

Owns the three logs. Each is as long as its directive says and never longer than ENTRIES_MAX; an entry keeps
ENTRY_WORDS_MAX words of ENTRY_WORD_LEN_MAX_BYTES. Main thread. Source: `commandlog.c`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.shown_words import shown_words
from clusterbus.client_port.registry import Call
from clusterbus.client_port.reply import Reply
from clusterbus.config import Config

ENTRIES_MAX: Final = 65_536
ENTRY_WORDS_MAX: Final = 32
ENTRY_WORD_LEN_MAX_BYTES: Final = 128


class LogKind(Enum):
    """Which log, by the word of COMMANDLOG."""

    SLOW = "slow"
    LARGE_REQUEST = "large-request"
    LARGE_REPLY = "large-reply"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `value` is what it was logged for: microseconds or bytes."""

    id: int
    time_s: int
    value: int
    words: Sequence[bytes]
    address: str
    client_name: str

    def shape(self) -> Reply:
        """The entry as SLOWLOG GET shows it."""
        return [self.id, self.time_s, self.value, self.words, self.address, self.client_name]


class CommandLog:
    """One of the logs. `threshold` and `len_max` follow the directives; a negative threshold turns the log off."""

    def __init__(self) -> None:
        self.threshold = -1
        self._entries: deque[Entry] = deque(maxlen=0)
        self._next_id = 0

    def limit(self, threshold: int, len_max: int) -> None:
        """Sets the threshold and how many entries are kept."""
        self.threshold = threshold
        self._entries = deque(self._entries, maxlen=min(len_max, ENTRIES_MAX))

    def add(self, client: Client, call: Call, value: int, now_s: int) -> None:
        """Notes a request, if its value reaches the threshold. Some are not noted: of EXEC, its calls are."""
        is_too_small = self.threshold < 0 or value < self.threshold
        if is_too_small or not self._entries.maxlen or "skip_commandlog" in call.spec.flags:
            return
        words = _shortened(shown_words(call))
        self._entries.append(Entry(self._next_id, now_s, value, words, client.address, client.name))
        self._next_id += 1

    def newest(self, count: int) -> list[Entry]:
        """At most `count` entries, the newest first; all of them for -1."""
        newest_first = list(reversed(self._entries))
        return newest_first if count < 0 else newest_first[:count]

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def _shortened(words: Sequence[bytes]) -> list[bytes]:
    kept = list(words[:ENTRY_WORDS_MAX])
    if len(words) > ENTRY_WORDS_MAX:
        kept[-1] = b"... (%d more arguments)" % (len(words) - ENTRY_WORDS_MAX + 1)
    for position, word in enumerate(kept):
        if len(word) > ENTRY_WORD_LEN_MAX_BYTES:
            more = len(word) - ENTRY_WORD_LEN_MAX_BYTES
            kept[position] = word[:ENTRY_WORD_LEN_MAX_BYTES] + b"... (%d more bytes)" % more
    return kept


class CommandLogs:
    """The three logs, which follow the configuration."""

    def __init__(self, config: Config) -> None:
        self.slow = CommandLog()
        self.large_request = CommandLog()
        self.large_reply = CommandLog()
        self._follow(config, frozenset())

    def follow(self, config: Config) -> Callable[[], None]:
        """The logs follow the directives from now on. Call the returned function to stop."""
        return config.on_change(
            self._follow,
            "commandlog-execution-slower-than",
            "commandlog-slow-execution-max-len",
            "commandlog-request-larger-than",
            "commandlog-large-request-max-len",
            "commandlog-reply-larger-than",
            "commandlog-large-reply-max-len",
        )

    def of(self, kind: LogKind) -> CommandLog:
        """The log of a kind."""
        match kind:
            case LogKind.SLOW:
                return self.slow
            case LogKind.LARGE_REQUEST:
                return self.large_request
            case LogKind.LARGE_REPLY:
                return self.large_reply

    def _follow(self, config: Config, _changed: frozenset[str]) -> None:
        self.slow.limit(config.commandlog_execution_slower_than, config.commandlog_slow_execution_max_len)
        self.large_request.limit(config.commandlog_request_larger_than, config.commandlog_large_request_max_len)
        self.large_reply.limit(config.commandlog_reply_larger_than, config.commandlog_large_reply_max_len)
