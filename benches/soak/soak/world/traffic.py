"""Publishers and subscribers: for each node a client that publishes and one that listens, as long as the soak runs.

Owns the records that `checks.messages` judges. A client whose connection ends opens another; a program with a `Bus` in
it tells by its lines what its clients would have seen. Each subscription that ends must have a reason, too.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

import redis

from soak.cast import Kind
from soak.checks.messages import Published, Session
from soak.world.commands import NO_ANSWER
from soak.world.node import Node
from soak.world.words import CHANNEL, PUBLISH_INTERVAL_S, body, numbered

RETRY_S: Final = 0.2
NAME_OF_SUBSCRIBER: Final = "soak-subscriber"
NAME_OF_PUBLISHER: Final = "soak-publisher"


class Traffic:
    """All clients that publish and listen. Between `stop_publishing` and `stop`, what is under way arrives."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.sessions: list[Session] = []
        self.damaged: list[str] = []
        self.lost_in_streams: list[str] = []
        self._publishing: list[asyncio.Task[None]] = []
        self._listening: list[asyncio.Task[None]] = []
        self._open: dict[str, Session] = {}

    def start(self, node: Node) -> None:
        """Begins for one node; a program begins by itself, when it runs."""
        if node.part.kind is Kind.PROGRAM:
            node.on_line = lambda line: self._take_line(node.name, line)
            return
        self._publishing.append(asyncio.create_task(self._publish(node)))
        self._listening.append(asyncio.create_task(self._listen(node)))

    async def stop_publishing(self) -> None:
        await _cancel(self._publishing)

    async def stop(self) -> None:
        await _cancel(self._publishing + self._listening)
        for session in self.sessions:
            session.until_s = min(session.until_s, time.monotonic())

    def end_session(self, name: str) -> None:
        """The process of a program has ended, and with it what it subscribed to."""
        session = self._open.pop(name, None)
        if session is not None:
            session.until_s = time.monotonic()

    # ------------------------------------------------------------ clients

    async def _publish(self, node: Node) -> None:
        number = 0
        while True:
            connection = node.address.connection()
            try:
                await connection.connect()
                await _ask(connection, "CLIENT", "SETNAME", NAME_OF_PUBLISHER)
                while True:
                    number += 1
                    message = Published(node.name, number, time.monotonic())
                    self.published.append(message)
                    await _ask(connection, "PUBLISH", CHANNEL, body(node.name, number))
                    message.answered_s = time.monotonic()
                    await asyncio.sleep(PUBLISH_INTERVAL_S)
            except (*NO_ANSWER, redis.ResponseError):
                await asyncio.sleep(RETRY_S)
            finally:
                await connection.disconnect(nowait=True)

    async def _listen(self, node: Node) -> None:
        while True:
            connection = node.address.connection(timeout_s=None)
            session = None
            try:
                await connection.connect()
                await _ask(connection, "CLIENT", "SETNAME", NAME_OF_SUBSCRIBER)
                await _ask(connection, "SUBSCRIBE", CHANNEL)
                session = Session(node.name, time.monotonic())
                self.sessions.append(session)
                while True:
                    _kind, _channel, text = await connection.read_response()
                    self._take(session, text)
            except (*NO_ANSWER, redis.ResponseError):
                if session is not None:
                    session.until_s = time.monotonic()
                    session = None
                await asyncio.sleep(RETRY_S)
            finally:
                if session is not None:
                    session.until_s = time.monotonic()
                await connection.disconnect(nowait=True)

    def _take(self, session: Session, text: str) -> None:
        found = numbered(text)
        if found is None:
            self.damaged.append(f"{session.node} got a damaged message: {text[:60]!r}")
        else:
            session.take(*found, time.monotonic())

    # ------------------------------------------------------------ programs

    def _take_line(self, name: str, line: str) -> None:
        told: dict[str, Any] = json.loads(line)
        match told["what"]:
            case "subscribed":
                self._open[name] = Session(name, told["at_s"])
                self.sessions.append(self._open[name])
            case "published":
                self.published.append(Published(name, told["number"], told["begun_s"], told["answered_s"]))
            case "got":
                self._open[name].take(told["sender"], told["number"], told["at_s"])
            case "lost":
                self.lost_in_streams.append(f"{name}: {told['count']} messages did not fit into its stream")


async def _ask(connection: Any, *words: str) -> Any:
    await connection.send_command(*words, check_health=False)
    return await connection.read_response()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
