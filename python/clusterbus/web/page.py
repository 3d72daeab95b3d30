"""The page of a node: its files, its picture, and the feed.

Owns their routes and headers. The page may load nothing from elsewhere, and what peers say of themselves is shown as
text alone (`page.js`). Main thread.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Final

from aiohttp import web

from clusterbus.member.member import Member
from clusterbus.web.feed import Feed
from clusterbus.web.picture import Pictures

FILES: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """The handlers of a node's page, and the routes to them."""

    def __init__(self, member: Member) -> None:
        self._pictures = Pictures(member)
        self._feed = Feed(member)
        static = resources.files("clusterbus.web") / "static"
        self._files = {path: (static / name).read_bytes() for path, (name, _kind) in FILES.items()}

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(path, self.file) for path in FILES),
            web.get("/topology.json", self.topology),
            web.get("/events", self._feed.events),
        ]

    def close(self) -> None:
        """Ends the streams of all pages."""
        self._feed.close()

    async def file(self, request: web.Request) -> web.Response:
        """A file of the page."""
        kind = FILES[request.path][1]
        return web.Response(body=self._files[request.path], content_type=kind, charset="utf-8", headers=HEADERS)

    async def topology(self, request: web.Request) -> web.StreamResponse:
        """The picture of the cluster; the guide says what is in it. It is sent as the client reads: who does not read
        costs a piece, and the picture that all share.
        """
        pieces = await self._pictures.pieces()
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/json; charset=utf-8"})
        response.content_length = sum(map(len, pieces))
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write_eof()
        return response
