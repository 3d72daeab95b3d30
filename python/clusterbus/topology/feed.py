"""`Feed`: follows the topology at one of several clusterbus nodes, in a thread of its own.

Owns that thread, its one connection, and the picture. It goes to the next node when one is gone, silent, or tells what
does not fit together, and takes a picture anew there. Must never raise into the client's calls. The lock guards the
picture; `heard` is called outside of it, on the feed's thread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final

from clusterbus.topology.picture import GapError, Picture, Row

CHANNEL: Final = "__cluster__:topology"
SILENCE_MAX_S: Final = 2.0
"""A node that answers no PING for so long is left for the next one."""
PING_EVERY_S: Final = 0.5
DOWN_MAX_S: Final = 1.0
"""A node that holds the cluster down for so long may be on the smaller side of a partition: others are heard."""
AGAIN_AFTER_S: Final = 0.2
"""The rest between two rounds of tries at all nodes."""

logger: Final = logging.getLogger("clusterbus.topology")


class FeedState(Enum):
    """Whether the picture is kept up to date."""

    LIVE = auto()
    CUT_OFF = auto()
    """None of the nodes can be followed at present."""
    CLOSED = auto()


class Feed:
    """`connect(host, port)` gives a client of redis-py or valkey-py for one node. `heard()` is called after each change
    that a cluster client must know of.
    """

    def __init__(
        self, seeds: Sequence[tuple[str, int]], connect: Callable[[str, int], Any], heard: Callable[[], None]
    ) -> None:
        self._seeds = list(seeds)
        self._connect, self._heard = connect, heard
        self._picture = Picture()
        self._changed = threading.Condition()
        self._number = 0
        """Counts the changes that clients must know of."""
        self._state = FeedState.CUT_OFF
        self.follows = ""
        """The node that is followed, "host:port"; "" while none is."""
        self._cut_off_s = time.monotonic()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clusterbus-topology", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and its connection."""
        self._is_closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def state(self) -> FeedState:
        return self._state

    @property
    def number(self) -> int:
        return self._number

    def cut_off_for_s(self) -> float:
        """For how long no node could be followed; 0 while one is."""
        return 0.0 if self._state is FeedState.LIVE else time.monotonic() - self._cut_off_s

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Waits for a condition on the picture; False after `timeout_s`, or when the feed is closed."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._is_closing.is_set(), timeout_s)
            return condition()

    def rows(self, *, tls: bool) -> tuple[int, list[Row]]:
        """The number of the last change, and CLUSTER SLOTS after it."""
        with self._changed:
            return self._number, self._picture.rows(tls=tls)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        for number, (host, port) in enumerate(itertools.cycle(self._seeds), 1):
            try:
                self._follow(host, port)
            except Exception as fault:  # every library has its own
                if not self._is_closing.is_set():
                    logger.info("%s:%d pushes no topology: %s", host, port, fault)
            self._lose()
            if self._is_closing.wait(AGAIN_AFTER_S if number % len(self._seeds) == 0 else 0):
                break
        self._state = FeedState.CLOSED

    def _lose(self) -> None:
        with self._changed:
            self.follows = ""
            if self._state is FeedState.LIVE:
                self._state, self._cut_off_s = FeedState.CUT_OFF, time.monotonic()
            self._changed.notify_all()

    def _follow(self, host: str, port: int) -> None:
        with contextlib.closing(self._connect(host, port)) as client, contextlib.closing(client.pubsub()) as channel:
            channel.subscribe(CHANNEL)
            heard_s = pinged_s = ok_s = time.monotonic()
            while not self._is_closing.is_set():
                message = channel.get_message(timeout=PING_EVERY_S)
                now_s = time.monotonic()
                if message is not None:
                    heard_s = now_s
                    if message["type"] == "message":
                        self._take(message["data"])
                        self.follows = f"{host}:{port}"
                elif now_s - heard_s > SILENCE_MAX_S:
                    raise TimeoutError(f"no answer within {SILENCE_MAX_S:g} s")
                if self._picture.state != "fail":
                    ok_s = now_s
                elif now_s - ok_s > DOWN_MAX_S and len(self._seeds) > 1:
                    raise ConnectionError("it holds the cluster down")
                if now_s - pinged_s > PING_EVERY_S:
                    pinged_s = now_s
                    channel.ping()

    def _take(self, text: str | bytes) -> None:
        with self._changed:
            try:
                is_news = self._picture.take(text)
            except GapError as gap:
                raise ConnectionError(str(gap)) from None
            self._number += is_news
            self._state = FeedState.LIVE
            self._changed.notify_all()
        if is_news:
            self._heard()
