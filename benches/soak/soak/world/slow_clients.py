"""Clients that do not keep up: one that subscribes and never reads, and some that stop within a command.

Raw sockets, so that nothing reads in the background. The subscriber has many patterns that all match, so every message
fills its output many times: the node must end it at its limit, and nobody else may notice. The loop's thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

from soak.world.commands import Address
from soak.world.words import CHANNEL

PATTERNS: Final = 200
HALF_COMMANDS: Final = 5
RECEIVE_LEN_BYTES: Final = 8 * 1024
CONNECT_TIMEOUT_S: Final = 10.0
PATTERN_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
LETTERS: Final = CHANNEL[0]


def patterns() -> list[str]:
    """Different globs that all match the channel."""
    pairs = (first + second for first in PATTERN_LETTERS for second in PATTERN_LETTERS)
    return [f"[{LETTERS}{pair}]{CHANNEL[1:]}" for pair, _ in zip(pairs, range(PATTERNS), strict=False)]


def request(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)


class SlowClients:
    """Opens them on entering, closes them on leaving."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> SlowClients:
        try:
            subscriber = await asyncio.to_thread(self._connect, request("PSUBSCRIBE", *patterns()))
            self._sockets.append(subscriber)
            for number in range(HALF_COMMANDS):
                half = request("CLUSTER", "NODES")[: number + 5]
                self._sockets.append(await asyncio.to_thread(self._connect, half))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()

    def ended(self) -> int:
        """1 if the node has ended the subscriber."""
        subscriber = self._sockets[0]
        subscriber.setblocking(False)
        try:
            while subscriber.recv(1 << 20):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        except OSError:
            pass
        return 1

    def _connect(self, words: bytes) -> socket.socket:
        raw = socket.socket()
        raw.settimeout(CONNECT_TIMEOUT_S)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_LEN_BYTES)
        try:
            raw.connect(("127.0.0.1", self._address.port))
            if self._address.pair is not None:
                context = ssl.create_default_context(cafile=self._address.ca_file)
                context.load_cert_chain(self._address.pair.cert_file, self._address.pair.key_file)
                raw = context.wrap_socket(raw, server_hostname="127.0.0.1")
            raw.sendall(words)
        except BaseException:
            raw.close()
            raise
        return raw
