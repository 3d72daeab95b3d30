"""Asking every node of a cluster again and again, each at its own pace: a node that hangs holds no other one up.

Owns the tasks, one for each address. Must never let go of one that fails unseen. One event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from clusterbus.member.ports import Place
from clusterbus.survey.asking import ADDRESSES_MAX, NODES, PARALLEL_MAX, Answer, Asker
from clusterbus.survey.node_rows import ROWS_KEPT_MAX, NodeRow


class Polling:
    """`answers()` yields what each node says, as it says it, for as long as it is read."""

    def __init__(self, asker: Asker, places: Sequence[Place], interval_s: float) -> None:
        """Each node is asked `interval_s` after it was asked before, or when it has answered, if that takes longer."""
        self._asker = asker
        self._interval_s = interval_s
        self._turns = asyncio.Semaphore(PARALLEL_MAX)
        self._heard: asyncio.Queue[tuple[Place, Answer | Exception]] = asyncio.Queue(PARALLEL_MAX)
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._seen: set[NodeRow] = set()
        self._places = places

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """Ends by being closed, or with whatever a task of it raised."""
        for place in self._places:
            self._begin(place)
        try:
            while self._tasks:
                place, answer = await self._heard.get()
                if isinstance(answer, Exception):
                    raise answer
                for row in answer.nodes:
                    if row not in self._seen and row.has_address:
                        self._begin(Place(row.ip, row.port, place.tls))
                self._seen.update(answer.nodes)
                if len(self._seen) > ROWS_KEPT_MAX:
                    self._seen.clear()
                    self._asker.trim()
                yield answer
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin(self, place: Place) -> None:
        if place not in self._tasks and len(self._tasks) < ADDRESSES_MAX:
            self._tasks[place] = asyncio.create_task(self._poll(place))

    async def _poll(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + self._interval_s
            try:
                async with self._turns:
                    answer = await self._asker.ask(place, (NODES,))
            except Exception as error:
                await self._heard.put((place, error))
                return
            await self._heard.put((place, answer))
            await asyncio.sleep(max(0.0, due_s - loop.time()))
