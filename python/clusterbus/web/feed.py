"""Server-sent events: what happens in the cluster, and that there is another picture.

Owns the backlog of what happened, from which each page reads at its own pace, and the limits on pages. A page that
reads too slowly loses the oldest and is told how many; one that does not read at all is cut off. Must never hold the
main loop up, nor keep anything for one page alone; without a page nothing is encoded. Main thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from aiohttp import web

from clusterbus.cluster.events import Event
from clusterbus.member.member import Member
from clusterbus.streams.event_stream import CLUSTER_KINDS
from clusterbus.web.picture import PICTURE_AGE_MAX_S, PICTURE_AGE_MIN_S

PAGES_MAX: Final = 32
BACKLOG_EVENTS_MAX: Final = 512
EVENTS_PER_WRITE: Final = 64
RANGES_MAX: Final = 32
"""Of an event's slots so many ranges are told; the picture has all."""
BEAT_S: Final = 5.0
"""So often something is sent, so that a page finds out when it is cut off."""
WRITE_TIMEOUT_S: Final = 10.0
RETRY_MS: Final = 1_000
"""How long a page waits before it connects again."""
EVENT_ID_LEN_MAX: Final = 64


class Feed:
    """What happened since the node started, as far as the backlog goes, and the pages that follow it."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._backlog: deque[_Told] = deque(maxlen=BACKLOG_EVENTS_MAX)
        self._last_number = 0
        self._news: set[asyncio.Event] = set()
        self._is_closed = False
        member.listen(self._on_event)

    def close(self) -> None:
        """Ends all pages."""
        self._is_closed = True
        self._wake()

    def _on_event(self, event: Event) -> None:
        if type(event) not in CLUSTER_KINDS or self._is_closed:
            return
        self._last_number += 1
        self._backlog.append(_Told(self._last_number, self._member.clock.now_ms(), event))
        self._wake()

    def _wake(self) -> None:
        for news in self._news:
            news.set()

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The stream of one page. With the header Last-Event-ID, or `?after=`, it goes on where the page was cut off:
        if that was in this life of the node, after that event; else with the whole backlog.
        """
        if self._is_closed or len(self._news) >= PAGES_MAX:
            return web.Response(status=503, text=f"{PAGES_MAX} pages are open already\n", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        news = asyncio.Event()
        self._news.add(news)
        try:
            last_id = request.headers.get("Last-Event-ID") or request.query.get("after", "")
            await response.prepare(request)
            await self._follow(response, news, self._seen(last_id))
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._news.discard(news)
        return response

    def _seen(self, last_id: str) -> int:
        """The number of the last event that a page has seen. An id of another life of the node says nothing."""
        run, _, number = last_id[:EVENT_ID_LEN_MAX].rpartition("-")
        if run == self._member.run_id and number.isascii() and number.isdigit() and int(number) <= self._last_number:
            return int(number)
        return self._backlog[0].number - 1 if self._backlog else self._last_number

    async def _follow(self, response: web.StreamResponse, news: asyncio.Event, seen: int) -> None:
        now_s = asyncio.get_running_loop().time
        hello = json.dumps({"run": self._member.run_id, "me": self._member.state.myself.node_id, "beat_s": BEAT_S})
        await _send(response, f"retry: {RETRY_MS}\nevent: hello\ndata: {hello}\n\n")
        shown, shown_s, beat_s = -1, 0.0, now_s()
        while not self._is_closed:
            news.clear()
            while seen < self._last_number and not self._is_closed:
                seen, text = self._since(seen)
                await _send(response, text)
            version, since_s = self._member.state.version, now_s() - shown_s
            if since_s >= (PICTURE_AGE_MIN_S if version != shown else PICTURE_AGE_MAX_S):
                shown, shown_s = version, now_s()
                await _send(response, "event: picture\ndata: \n\n")
            if now_s() - beat_s >= BEAT_S:
                beat_s = now_s()
                await _send(response, ": beat\nevent: beat\ndata: \n\n")
            try:
                await asyncio.wait_for(news.wait(), PICTURE_AGE_MIN_S)
            except TimeoutError:
                continue

    def _since(self, seen: int) -> tuple[int, str]:
        """The next events after that one, as text, and the number of the last of them."""
        first = self._backlog[0].number
        parts = []
        if first > seen + 1:
            parts.append(f"event: lost\ndata: {first - seen - 1}\n\n")
            seen = first - 1
        for told in islice(self._backlog, seen + 1 - first, seen + 1 - first + EVENTS_PER_WRITE):
            parts.append(f"id: {self._member.run_id}-{told.number}\nevent: change\ndata: {told.text}\n\n")
            seen = told.number
        return seen, "".join(parts)


class _Told:
    """An event of the backlog, encoded once, when the first page wants it."""

    __slots__ = ("_at_ms", "_event", "_text", "number")

    def __init__(self, number: int, at_ms: int, event: Event) -> None:
        self.number, self._at_ms, self._event = number, at_ms, event
        self._text = ""

    @property
    def text(self) -> str:
        if not self._text:
            told = {"at_ms": self._at_ms, "kind": type(self._event).__name__, "fields": dict(_fields(self._event))}
            self._text = json.dumps(told)
        return self._text


def _fields(event: Event) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, tuple) and len(value) > RANGES_MAX:
            yield f"{field.name}_not_told", len(value) - RANGES_MAX
            value = value[:RANGES_MAX]
        yield field.name, dict(value) if field.name == "tags" else value


async def _send(response: web.StreamResponse, text: str) -> None:
    """Raises TimeoutError if the page does not read."""
    await asyncio.wait_for(response.write(text.encode()), WRITE_TIMEOUT_S)
