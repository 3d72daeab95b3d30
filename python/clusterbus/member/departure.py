"""How this node goes: at once, after a replica has taken over its slots, or not at all (P29).

Owns what SHUTDOWN and the signals mean: the words SAFE, FAILOVER, NOW, FORCE, NOSAVE, and the wait for the hand-over.
Must never block: who asked is told by a callback. Main thread. Source: `prepareForShutdown`, `finishShutdown`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from clusterbus.cluster.events import Event, HandoverEnded
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.member.ports import Clock, Log

MS_PER_S: Final = 1_000
WORDS: Final = frozenset({"save", "nosave", "now", "force", "safe", "failover"})
"""What SHUTDOWN and the directives shutdown-on-sigterm and shutdown-on-sigint may say."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """Somebody wants the node to go. `answer` gets "" when it goes, else the reason why it stays."""

    words: frozenset[str]
    answer: Callable[[str], None]


class Departure:
    """The way out of a member. `go(save)` asks its runner to stop it; `settle` carries out what the state was told."""

    def __init__(
        self,
        *,
        state: ClusterState,
        config: Config,
        clock: Clock,
        log: Log,
        go: Callable[[bool], None],
        settle: Callable[[], None],
    ) -> None:
        self._state = state
        self._config = config
        self._clock = clock
        self._log = log
        self._go = go
        self._settle = settle
        self._waiting: _Wish | None = None

    def begin(self, words: Collection[str], answer: Callable[[str], None] = lambda _reason: None) -> None:
        """Goes, with the words of SHUTDOWN in lower case. Whoever asks again while this waits goes without waiting."""
        wish = _Wish(frozenset(words), answer)
        insists = self._waiting is not None
        if insists:
            self._stop_waiting("somebody else stops the node now")
        wants_failover = "failover" in wish.words or self._config.auto_failover_on_shutdown
        timeout_ms = self._config.shutdown_timeout * MS_PER_S
        if wants_failover and timeout_ms and "now" not in wish.words and not insists:
            if self._state.hand_over(timeout_ms, self._clock.now_ms()):
                self._waiting = wish
            self._settle()
        if self._waiting is None:
            self._finish(wish)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits to go."""
        return self._waiting is not None

    def abort(self) -> bool:
        """SHUTDOWN ABORT. False if nobody waits to go."""
        if self._waiting is None:
            return False
        self._stop_waiting("SHUTDOWN ABORT")
        return True

    def handle_event(self, event: Event) -> None:
        """Goes on when the hand-over has ended, well or not."""
        if isinstance(event, HandoverEnded) and self._waiting is not None:
            wish, self._waiting = self._waiting, None
            self._finish(wish)

    def _stop_waiting(self, reason: str) -> None:
        wish, self._waiting = self._waiting, None
        assert wish is not None
        self._state.keep_slots(self._clock.now_ms())
        self._settle()
        wish.answer(reason)

    def _finish(self, wish: _Wish) -> None:
        if "safe" in wish.words and self._state.myself.is_voting:
            slots = self._state.myself.slot_bits.bit_count()
            text = f"This primary serves {slots} slots, and without it the cluster may go down."
            if "force" not in wish.words:
                self._log("warning", f"{text} Not shutting down.")
                wish.answer(text)
                return
            self._log("warning", f"{text} Shutting down all the same.")
        wish.answer("")
        self._go("nosave" not in wish.words)
