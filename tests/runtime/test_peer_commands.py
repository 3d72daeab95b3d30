"""Commands at another node's client port: replies, the password, TLS, and peers that do not answer as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.config import Config
from clusterbus.member.ports import Place
from clusterbus.runtime.peer_commands import (
    ITEM_LEN_MIN_BYTES,
    REPLY_LEN_MAX_BYTES,
    PeerCommandError,
    send_commands,
)

from tests.loops import Run
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

DEADLINE_S = 20.0
Peers = Callable[..., Server]


async def answered(raw: bytes, *, timeout_s: float = DEADLINE_S, closes: bool = True, **directives: Any) -> Any:
    """What a command is told by a peer that sends these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(raw)
        if not closes:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        place = Place("127.0.0.1", server.sockets[0].getsockname()[1])
        config = Config.from_keywords(**directives)
        (reply,) = await send_commands(config, place, [("CLUSTER", "NODES")], timeout_s=timeout_s)
        return reply


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"+OK\r\n", "OK"),
        (b":7\r\n", 7),
        (b"$3\r\na\r\n\r\n", b"a\r\n"),
        (b"$-1\r\n", None),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]),
    ],
)
def test_replies_of_every_kind(run: Run, raw: bytes, reply: object) -> None:
    assert run(answered(raw)) == reply


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"HTTP/1.1 400\r\n", "no RESP2 reply"),
        (b"$x\r\n", "no RESP2 reply"),
        (b"*1\r\n" * 9, "no RESP2 reply"),
        (b"+" + b"a" * 200_000, "no RESP2 reply"),
        (b"$%d\r\n" % REPLY_LEN_MAX_BYTES, "too long"),
        (b"*%d\r\n" % (REPLY_LEN_MAX_BYTES // ITEM_LEN_MIN_BYTES), "too long"),
        (b"$9\r\nabc", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
def test_what_is_no_reply_is_one_clear_error(run: Run, raw: bytes, reason: str) -> None:
    with pytest.raises(PeerCommandError, match=rf"127\.0\.0\.1:\d+: CLUSTER NODES: .*{reason}"):
        run(answered(raw))


def test_silence_ends_in_time_and_nobody_there_at_once(run: Run) -> None:
    with pytest.raises(PeerCommandError, match=r"CLUSTER NODES: no answer within 0\.05 s"):
        run(answered(b"$9\r\nabc", timeout_s=0.05, closes=False))
    place = Place("127.0.0.1", free_port())
    with pytest.raises(PeerCommandError, match=rf"127\.0\.0\.1:{place.port}: "):
        run(send_commands(Config(), place, [("PING",)], timeout_s=DEADLINE_S))


def test_the_password_is_never_shown(run: Run) -> None:
    with pytest.raises(PeerCommandError, match="AUTH: WRONGPASS no") as refused:
        run(answered(b"-WRONGPASS no\r\n", primaryauth="sesame", primaryuser="bus"))
    assert refused.value.reply == "WRONGPASS no"
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_commands_at_a_real_server_with_a_password(peers: Peers, run: Run, kind: str) -> None:
    server = peers(kind, cluster_enabled="no")
    server.call("CONFIG", "SET", "requirepass", "sesame")
    place = Place("127.0.0.1", server.port)
    config = Config.from_keywords(primaryauth="sesame")
    commands = [("SET", "a", 1), ("GET", "a"), ("PING",)]
    assert run(send_commands(config, place, commands, timeout_s=DEADLINE_S)) == ["OK", b"1", "PONG"]
    with pytest.raises(PeerCommandError, match="NOAUTH"):
        run(send_commands(Config(), place, commands, timeout_s=DEADLINE_S))


def test_commands_over_mutual_tls(
    peers: Peers, run: Run, certificates: Certificates, stranger_certificates: Certificates
) -> None:
    server = peers("redis", certificates=certificates)
    place = Place("127.0.0.1", server.port, tls=True)

    def config_with(files: Certificates) -> Config:
        words = {name.replace("-", "_"): value for name, value in files.directives().items()}
        return Config.from_keywords(**words, tls_port=7001)

    assert run(send_commands(config_with(certificates), place, [("PING",)], timeout_s=DEADLINE_S)) == ["PONG"]
    with pytest.raises(PeerCommandError, match="CERTIFICATE_VERIFY_FAILED"):
        run(send_commands(config_with(stranger_certificates), place, [("PING",)], timeout_s=DEADLINE_S))
    with pytest.raises(PeerCommandError, match="TLS: "):
        run(send_commands(Config(), place, [("PING",)], timeout_s=DEADLINE_S))
