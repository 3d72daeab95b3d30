"""Server-sent events: what happens in the cluster, and that there is another picture.

Owns the backlog of what happened, from which each page reads at its own pace, and the limits on pages. A page that
reads too slowly loses the oldest and is told how many; one that does not read at all is cut off. Must never hold the
main loop up, nor keep anything for one page alone. Main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from clusterbus.cluster.events import Event
from clusterbus.member.member import Member
from clusterbus.streams.event_stream import CLUSTER_KINDS
from clusterbus.web.picture import PICTURE_AGE_MAX_S, PICTURE_AGE_MIN_S, Pictures

PAGES_MAX: Final = 32
BACKLOG_EVENTS_MAX: Final = 512
BEAT_S: Final = 10.0
"""So often something is sent, so that a page finds out when it is cut off."""
WRITE_TIMEOUT_S: Final = 10.0
RETRY_MS: Final = 1_000
"""How long a page waits before it connects again."""


class Feed:
    """What happened since the node started, as far as the backlog goes, and the pages that follow it."""

    def __init__(self, member: Member, pictures: Pictures) -> None:
        self._member, self._pictures = member, pictures
        self._backlog: deque[tuple[int, str]] = deque(maxlen=BACKLOG_EVENTS_MAX)
        self._last_id = 0
        self._pages = 0
        self._news = asyncio.Event()
        self._is_closed = False
        member.listen(self._on_event)

    def close(self) -> None:
        """Ends all pages."""
        self._is_closed = True
        self._wake()

    def _on_event(self, event: Event) -> None:
        if type(event) not in CLUSTER_KINDS or self._is_closed:
            return
        self._last_id += 1
        fields: dict[str, Any] = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields = {name: dict(value) if name == "tags" else value for name, value in fields.items()}
        told = {"at_ms": self._member.clock.now_ms(), "kind": type(event).__name__, "fields": fields}
        self._backlog.append((self._last_id, json.dumps(told, default=str)))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The stream of one page. With the header Last-Event-ID it goes on where the page was cut off."""
        if self._pages >= PAGES_MAX:
            return web.Response(status=503, text=f"{PAGES_MAX} pages are open already\n", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self._pages += 1
        try:
            await response.prepare(request)
            await self._follow(_Page(response), _number(request.headers.get("Last-Event-ID", "")))
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._pages -= 1
        return response

    async def _follow(self, page: _Page, seen: int | None) -> None:
        # An id of another life of the node says nothing about this one's events.
        first = self._backlog[0][0] if self._backlog else self._last_id + 1
        seen = first - 1 if seen is None or seen > self._last_id else seen
        await page.send(f"retry: {RETRY_MS}\n\n")
        shown, shown_s = None, 0.0
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            news = self._news
            seen = await self._send_since(page, seen)
            version, now_s = self._member.state.version, loop.time()
            is_due = now_s - shown_s >= (PICTURE_AGE_MIN_S if version != shown else PICTURE_AGE_MAX_S)
            if is_due:
                shown, shown_s = version, now_s
                await page.send("event: picture\ndata: \n\n")
            elif now_s - page.sent_s >= BEAT_S:
                await page.send(": beat\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), PICTURE_AGE_MIN_S)

    async def _send_since(self, page: _Page, seen: int) -> int:
        rows = [entry for entry in self._backlog if entry[0] > seen]
        if rows and rows[0][0] > seen + 1:
            await page.send(f"event: lost\ndata: {rows[0][0] - seen - 1}\n\n")
        for number, text in rows:
            await page.send(f"id: {number}\nevent: change\ndata: {text}\n\n")
            seen = number
        return seen


class _Page:
    """The way to one page. `send` raises TimeoutError if the page does not read."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self.sent_s = 0.0

    async def send(self, text: str) -> None:
        loop: Callable[[], float] = asyncio.get_running_loop().time
        self.sent_s = loop()
        await asyncio.wait_for(self._response.write(text.encode()), WRITE_TIMEOUT_S)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
