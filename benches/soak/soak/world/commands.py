"""Connections of redis-py to a node: one command at a time with an answer within a limit. The loop's thread."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import redis
import redis.asyncio.connection as connections

from soak.world.certificates import Pair

ANSWER_TIMEOUT_S: Final = 15.0
Reply = Any
NO_ANSWER: Final = (OSError, redis.ConnectionError, redis.TimeoutError, TimeoutError)
"""What a connection raises whose other end is gone or silent."""


@dataclass(frozen=True)
class Address:
    """A node's client port; with `pair` it speaks TLS and the client shows that certificate."""

    port: int
    ca_file: str = ""
    pair: Pair | None = None

    def connection(self, timeout_s: float | None = ANSWER_TIMEOUT_S) -> Any:
        """An unopened connection of redis-py."""
        common: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "protocol": 2,
            "decode_responses": True,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": ANSWER_TIMEOUT_S,
        }
        if self.pair is None:
            return connections.Connection(**common)
        return connections.SSLConnection(
            ssl_ca_certs=self.ca_file,
            ssl_certfile=str(self.pair.cert_file),
            ssl_keyfile=str(self.pair.key_file),
            **common,
        )


class Commander:
    """Gives a node one command after the other on a connection that is opened when it is needed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def call(self, *words: str | int | bytes) -> Reply:
        """The answer. Raises redis.ResponseError for an error reply, one of NO_ANSWER for none."""
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._address.connection()
                    await self._connection.connect()
                await self._connection.send_command(*words, check_health=False)
                return await self._connection.read_response()
            except redis.ResponseError:
                raise
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
