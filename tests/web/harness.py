"""A node with a metrics port in the process of the test, and questions to it. Opens sockets on free ports."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import clusterbus

from tests.bus.harness import settings
from tests.peers.ports import free_port


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    text: str
    headers: dict[str, str]


@asynccontextmanager
async def served(folder: Path, **directives: object) -> AsyncIterator[clusterbus.Bus]:
    """A bus with a metrics port."""
    async with clusterbus.Bus(**settings(folder, **({"metrics_port": free_port()} | directives))) as bus:
        yield bus


def url_of(bus: clusterbus.Bus, path: str) -> str:
    scheme = "https" if bus._config.metrics_tls else "http"
    return f"{scheme}://127.0.0.1:{bus._config.metrics_port}{path}"


def basic(user: str, password: str) -> dict[str, str]:
    """The header of basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def get(url: str, headers: dict[str, str] | None = None, context: ssl.SSLContext | bool = False) -> Answer:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=context) as answer:
        return Answer(answer.status, await answer.text(), dict(answer.headers))
