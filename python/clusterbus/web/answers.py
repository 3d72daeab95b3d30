"""What is answered at which path.

Owns /metrics, /livez and /readyz. Must never change the member, nor work longer in one go than a piece of the text of
metrics takes. Main thread.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from clusterbus.member.member import Member
from clusterbus.metrics.health import reasons_against
from clusterbus.metrics.snapshot import take
from clusterbus.metrics.text import CONTENT_TYPE, pieces
from clusterbus.web.access import MAY_READ

NO_STORE: Final = {"Cache-Control": "no-store"}


class Answers:
    """The handlers, and the routes to them."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/metrics", self.metrics),
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """One snapshot, as text. It is made piece by piece, and sent as the client reads."""
        snapshot = take(self._member)
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, **NO_STORE})
        await response.prepare(request)
        for piece in pieces(snapshot):
            await response.write(piece.encode())
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def livez(self, _request: web.Request) -> web.Response:
        """The main loop runs, or there would be no answer."""
        return web.Response(text="ok\n", headers=NO_STORE)

    async def readyz(self, request: web.Request) -> web.Response:
        """200, or 503 with a reason on each line; who may not read is not told the reasons."""
        reasons = reasons_against(self._member)
        if not reasons:
            return web.Response(text="ok\n", headers=NO_STORE)
        shown = reasons if request[MAY_READ] else ["not ready"]
        return web.Response(status=503, text="".join(f"{reason}\n" for reason in shown), headers=NO_STORE)
