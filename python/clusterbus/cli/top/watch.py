"""The asking: a thread with an event loop of its own that goes round the nodes and hands over pictures.

Owns the connections and what was heard. Must never send what changes anything, wait for a slow node before the next
picture, or take more than its share of a core. Its own thread; `start`, `stop` and the attributes that steer it are for
the screen's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from clusterbus.cli.top.feed import Event, Feed
from clusterbus.cli.top.heard import Heard, Memory
from clusterbus.cli.top.picture import Painter, Picture
from clusterbus.cli.top.schedule import Pace, next_turn
from clusterbus.config import address_text
from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import Place
from clusterbus.survey.access import Access
from clusterbus.survey.asking import ADDRESSES_MAX, NODES, PARALLEL_MAX, Asker

WAIT_SHARE: Final = 0.8
"""So much of an interval a refresh waits for answers; those that come later are in the next picture."""
SILENT_PARALLEL_MAX: Final = 16
"""So many of those that did not answer last time are asked at once, beside the PARALLEL_MAX others."""
JOIN_S: Final = 2.0


class NobodyAnswersError(ClusterBusError):
    """None of the seeds let itself be asked; the text has a line's worth of reasons."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the screen gets at each refresh. `cost_s` is the processor time of the refresh, `in_flight` the questions
    that are not answered yet."""

    picture: Picture
    events: tuple[Event, ...]
    cost_s: float = 0.0
    in_flight: int = 0


class Watch:
    """Looks at one cluster until it is stopped.

    `on_screen`, `details` (addresses) and `is_paused` may be set at any time: they say what is asked first, whom to ask
    for everything, and whether to ask at all.
    """

    def __init__(self, seeds: Sequence[str], access: Access, *, interval_s: float, timeout_s: float) -> None:
        self._seeds = tuple(seeds)
        self._access = access
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self.on_screen: frozenset[str] = frozenset()
        self.details = ""
        self.is_paused = False
        self._deliver: Callable[[Moment], None] = lambda moment: None
        self._painter = Painter()
        self._feed = Feed()
        self._pace = Pace()
        self._memory: Memory | None = None
        self._picture = Picture(0.0)
        self._busy: dict[asyncio.Task[None], str] = {}
        self._gate = asyncio.Semaphore(PARALLEL_MAX)
        self._silent_gate = asyncio.Semaphore(SILENT_PARALLEL_MAX)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Asks the seeds once. Raises NobodyAnswersError or ConfigError, in one line, if none of them answers."""
        asyncio.run(self._check())

    async def _check(self) -> None:
        asker = Asker(self._access, timeout_s=self._timeout_s)
        try:
            found, nameless = await asker.places(self._seeds)
            answers = [*await asyncio.gather(*(asker.ask(place, (NODES,)) for place in found)), *nameless]
        finally:
            await asker.close()
        if all(answer.error for answer in answers):
            raise NobodyAnswersError("; ".join(f"{answer.address}: {answer.error}" for answer in answers[:3]))

    def start(self, deliver: Callable[[Moment], None]) -> None:
        """Begins. `deliver` is called on the watch's own thread."""
        self._deliver = deliver
        self._thread = threading.Thread(target=self._main, name="top-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it; waits a moment for the connections to be closed."""
        self._stopping = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def hurry(self) -> None:
        """Begins the next refresh now."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wake.set)

    def _main(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.current_task()
        asker = Asker(self._access, timeout_s=self._timeout_s)
        seeds, _nameless = await asker.places(self._seeds)
        self._memory = Memory((address_text(place.ip, place.port), place) for place in seeds)
        try:
            while not self._stopping:
                begun_s, cpu_s = time.monotonic(), time.thread_time()
                if not self.is_paused:
                    await self._refresh(asker, self._memory, begun_s, cpu_s)
                left_s = self._interval_s - (time.monotonic() - begun_s)
                self._wake.clear()
                if not self._stopping:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), max(0.01, left_s))
        finally:
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)
            await asker.close()

    async def _refresh(self, asker: Asker, memory: Memory, begun_s: float, cpu_s: float) -> None:
        turn = next_turn(
            memory,
            begun_s,
            budget=self._budget(),
            on_screen=self.on_screen,
            primaries={row.address for row in self._picture.rows if row.is_primary},
            busy=set(self._busy.values()),
            whole=self.details,
        )
        for address, questions in turn.items():
            task = asyncio.create_task(self._ask(asker, memory[address], questions))
            self._busy[task] = address
            task.add_done_callback(self._busy.pop)
        if self._busy:
            await asyncio.wait(self._busy, timeout=self._interval_s * WAIT_SHARE)
        now_s = time.monotonic()
        memory.forget_old_views(now_s)
        asker.trim()
        self._picture = self._painter.paint(memory, now_s)
        is_tls = self._access.tls is not None
        found = [(row.address, row.place) for row in self._picture.rows if row.place is not None]
        listed = {address: Place(place.ip, place.port, tls=is_tls) for address, place in found}
        memory.find(listed, ADDRESSES_MAX)
        self._feed.take(self._picture, time.time_ns() // 1_000_000)
        cost_s = time.thread_time() - cpu_s
        self._pace.adapt(cost_s / self._interval_s)
        self._deliver(Moment(self._picture, self._feed.events, cost_s, len(self._busy)))

    def _budget(self) -> int:
        """How many may be asked now; what is still unanswered counts against the bound on questions at once."""
        allowed = max(1, int(self._pace.asked_per_s * self._interval_s))
        return max(1, min(allowed, PARALLEL_MAX * 4 - len(self._busy)))

    async def _ask(self, asker: Asker, heard: Heard, questions: Sequence[str]) -> None:
        gate = self._silent_gate if heard.failures else self._gate
        async with gate:
            answer = await asker.ask(heard.place, questions)
        heard.take(answer, time.monotonic())
