"""Commands at the client port of another node, for what the bus itself cannot ask of a Valkey or Redis node.

Owns such a connection from the dial to the last reply: TLS with this node's certificate, AUTH with primaryauth, one
deadline for all of it, and a bound on each reply. Must never let a peer's bytes allocate what they announce, nor show a
password. Knows nothing of the cluster. Runs on any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeAlias

from clusterbus.config import Config, address_text
from clusterbus.errors import ClusterBusError, ConfigError
from clusterbus.member.ports import Place
from clusterbus.runtime.tls_material import build

REPLY_LEN_MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes that one reply may have: CLUSTER NODES of the largest cluster fits."""
LINE_LEN_MAX_BYTES: Final = 64 * 1024
REPLY_DEPTH_MAX: Final = 8
ITEM_LEN_MIN_BYTES: Final = 3
"""No item of an array is shorter, so an array cannot announce more items than there may be bytes."""

Word: TypeAlias = str | bytes | int
Reply: TypeAlias = "str | bytes | int | list[Reply] | None"
"""A reply as RESP2 has it: a status is text, a string is bytes."""


class PeerCommandError(ClusterBusError):
    """A command at another node's client port came to nothing; the text names the node, the command and the reason.

    `reply` is the node's own error text ("ERR Unknown node ..."), "" if there was no reply to speak of.
    """

    def __init__(self, text: str, reply: str = "") -> None:
        super().__init__(text)
        self.reply = reply


async def send_commands(
    config: Config,
    place: Place,
    commands: Sequence[Sequence[Word]],
    *,
    timeout_s: float,
    tls: Callable[[], ssl.SSLContext] | None = None,
) -> list[Reply]:
    """Sends commands one after the other to the client port of a node, and returns their replies.

    All of it takes at most `timeout_s`. `tls` gives the rules of a connection over TLS; without it they are made of the
    directives. With primaryauth (masterauth) set, the first word to the node is AUTH. The
    first error reply ends it: the commands after that one are not sent. Raises PeerCommandError.
    """
    asked = [address_text(place.ip, place.port)]
    async with _within(asked, timeout_s):
        connection = await PeerConnection.dial(config, place, tls=tls, asked=asked)
        try:
            return [await connection.command(words) for words in commands]
        finally:
            await connection.close()


class PeerConnection:
    """A connection to the client port of one node that stays open for more than one round of questions.

    `open` and `ask` each have a deadline of their own, and raise PeerCommandError. After one was raised the connection
    is of no more use, and is to be closed.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
        self._reader = reader
        self._writer = writer
        self._asked = asked
        self._where = asked[0]

    @classmethod
    async def open(
        cls, config: Config, place: Place, *, timeout_s: float, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> PeerConnection:
        """Connects and logs in; the arguments are those of `send_commands`."""
        asked = [address_text(place.ip, place.port)]
        async with _within(asked, timeout_s):
            return await cls.dial(config, place, tls=tls, asked=asked)

    @classmethod
    async def dial(
        cls, config: Config, place: Place, *, tls: Callable[[], ssl.SSLContext] | None, asked: list[str]
    ) -> PeerConnection:
        """`open` without a deadline; the last item of `asked` says at any time what is waited for."""
        context = _tls(config, tls) if place.tls else None
        reader, writer = await asyncio.open_connection(place.ip, place.port, limit=LINE_LEN_MAX_BYTES, ssl=context)
        connection = cls(reader, writer, asked)
        try:
            for words in _logins(config):
                await connection.command(words)
        except BaseException:
            writer.close()
            raise
        return connection

    async def command(self, words: Sequence[Word]) -> Reply:
        """One command and its reply, without a deadline."""
        self._asked.append(f"{self._where}: {_shown(words)}")
        self._writer.write(packed(words))
        return await _Replies(self._reader).read()

    async def ask(self, commands: Sequence[Sequence[Word]], *, timeout_s: float) -> list[Reply | PeerCommandError]:
        """Sends all commands at once. An error reply stands in the place of that command's reply, as the error that
        it is.
        """
        replies: list[Reply | PeerCommandError] = []
        async with _within(self._asked, timeout_s):
            self._writer.write(b"".join(map(packed, commands)))
            for words in commands:
                self._asked[:] = [f"{self._where}: {_shown(words)}"]
                try:
                    replies.append(await _Replies(self._reader).read())
                except PeerCommandError as error:
                    if not error.reply:
                        raise
                    replies.append(PeerCommandError(f"{self._asked[-1]}: {error}", error.reply))
        return replies

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def _within(asked: Sequence[str], timeout_s: float) -> AsyncIterator[None]:
    """Ends what is within at the deadline, and says of every end what was asked last."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except PeerCommandError as error:
        raise PeerCommandError(f"{asked[-1]}: {error}", error.reply) from None
    except TimeoutError:
        raise PeerCommandError(f"{asked[-1]}: no answer within {timeout_s:g} s") from None
    except asyncio.IncompleteReadError:
        raise PeerCommandError(f"{asked[-1]}: the node closed the connection") from None
    except OSError as error:
        raise PeerCommandError(f"{asked[-1]}: {_reason(error)}") from None


def packed(words: Sequence[Word]) -> bytes:
    """A command as a client sends it."""
    raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n%b" % (len(raw), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw))


def _reason(error: OSError) -> str:
    """What the system calls the error; asyncio puts a text of its own in the place of that."""
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error.strerror or error)


def _logins(config: Config) -> list[Sequence[Word]]:
    if not config.primaryauth:
        return []
    return [("AUTH", *([config.primaryuser] if config.primaryuser else []), config.primaryauth)]


def _shown(words: Sequence[Word]) -> str:
    if words[0] == "AUTH":
        return "AUTH"
    return " ".join(word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in words[:3])


def _tls(config: Config, tls: Callable[[], ssl.SSLContext] | None) -> ssl.SSLContext:
    """The authorities and the certificate of the bus. Raises PeerCommandError for an unreadable file."""
    try:
        if tls is not None:
            return tls()
        return build(config.tls_settings).peers
    except (OSError, ConfigError) as error:
        raise PeerCommandError(f"TLS: {error}") from None


class _Replies:
    """Reads one reply, within its bounds."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._left_bytes = REPLY_LEN_MAX_BYTES

    async def read(self, depth: int = 0) -> Reply:
        """Raises PeerCommandError for an error reply, for what is no reply, and for one that is too long."""
        line = await self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode(errors="replace")
        if kind == b"-":
            text = rest.decode(errors="replace")
            raise PeerCommandError(text, text)
        number = _number(rest)
        if kind == b":":
            return number
        if kind == b"$":
            return await self._string(number) if number >= 0 else None
        if kind == b"*" and depth < REPLY_DEPTH_MAX:
            if number * ITEM_LEN_MIN_BYTES > self._left_bytes:
                raise PeerCommandError("the reply is too long")
            return [await self.read(depth + 1) for _ in range(number)] if number >= 0 else None
        raise PeerCommandError("that is no RESP2 reply")

    async def _line(self) -> bytes:
        try:
            line = await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError:
            raise PeerCommandError("that is no RESP2 reply") from None
        self._spend(len(line))
        return line[:-2]

    async def _string(self, len_bytes: int) -> bytes:
        self._spend(len_bytes + 2)
        return (await self._reader.readexactly(len_bytes + 2))[:-2]

    def _spend(self, len_bytes: int) -> None:
        self._left_bytes -= len_bytes
        if self._left_bytes < 0:
            raise PeerCommandError("the reply is too long")


def _number(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise PeerCommandError("that is no RESP2 reply") from None
