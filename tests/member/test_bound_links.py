"""Only heartbeats on a bound link may be quiet: a stranger's claims change nothing (R33, H21)."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusterbus import wire
from clusterbus._core import Engine, LinkAccepted, PacketsReceived, QuietHeartbeats, TlsConfig
from clusterbus.view import ExpectedHeartbeat, NodeRow, NodeTimes, Version, View

from tests.peers.tls import Certificates

DEADLINE_S = 30.0
MYSELF, KNOWN, MENTIONED = "0" * 40, "a" * 40, "c" * 40
IP, PORT, CPORT = "127.0.0.1", 7001, 17001
PRIMARY = 1
PRIMARY_MYSELF = 17


class Rig:
    """An engine with a published view of two nodes, and its events."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now_ms = time.time_ns() // 1_000_000
        self.mentioned_times = NodeTimes()
        self.events: list[object] = []
        ours = wire.Heartbeat(0, wire.Header(sender=MYSELF, flags=PRIMARY_MYSELF))
        rows = [self._row(KNOWN, NodeTimes(), speaks=True), self._row(MENTIONED, self.mentioned_times, speaks=False)]
        view = View(
            version=Version(), now_ms=self.now_ms, heartbeat=wire.encode(ours), current_epoch=0, table_len=3, rows=rows
        )
        engine.publish(view)

    @staticmethod
    def _row(node_id: str, times: NodeTimes, *, speaks: bool) -> NodeRow:
        expected = ExpectedHeartbeat(
            config_epoch=0,
            myslots=bytes(2048),
            replicaof=None,
            flags=0,
            flags_mask=0,
            extensions=b"",
            extensions_len=0,
            reports=[],
        )
        return NodeRow(
            times=times,
            node_id=node_id,
            ip=IP,
            port=PORT,
            pport=0,
            cport=CPORT,
            flags=PRIMARY,
            is_gossiped=True,
            has_reports=False,
            takes_extensions=True,
            expected=expected if speaks else None,
        )

    def ping(self) -> bytes:
        """A PING of KNOWN that is quiet. It also mentions that MENTIONED has just answered."""
        entry = wire.GossipEntry(
            node_id=MENTIONED, pong_received_s=self.now_ms // 1000, ip=IP, port=PORT, cport=CPORT, flags=PRIMARY
        )
        header = wire.Header(sender=KNOWN, port=PORT, cport=CPORT, flags=PRIMARY)
        return wire.encode(wire.Heartbeat(0, header, [entry]))

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, self.events
            self.events += self.engine.poll(50)

    def of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def connected(engine: Engine, tls: ssl.SSLContext | None) -> Iterator[tuple[Rig, socket.socket, int]]:
    rig = Rig(engine)
    port = engine.listener_port(engine.listen(IP, 0, tls=tls is not None))
    plain = socket.create_connection((IP, port))
    with plain if tls is None else _shaken(rig, plain, tls) as peer:
        rig.until(lambda: bool(rig.of(LinkAccepted)))
        (accepted,) = rig.of(LinkAccepted)
        assert isinstance(accepted, LinkAccepted)
        yield rig, peer, accepted.link


def _shaken(rig: Rig, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """Does the TLS handshake, while the engine does its part of it."""
    plain.setblocking(False)
    peer = tls.wrap_socket(plain, server_hostname=IP, do_handshake_on_connect=False)

    def is_done() -> bool:
        try:
            peer.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    rig.until(is_done)
    return peer


@pytest.mark.parametrize("with_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("io_threads", [1, 3])
def test_a_strangers_heartbeat_under_a_known_id_is_not_quiet_and_leaves_no_times(
    io_threads: int, with_tls: bool, certificates: Certificates
) -> None:
    words = certificates.directives()
    cert, key, authority = (
        (words[name], Path(words[name]).read_bytes()) for name in ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")
    )
    keys = TlsConfig(cert=cert, key=key, authorities=[("tls-ca-cert-file", *authority)])
    engine = Engine(io_threads=io_threads, tls=keys if with_tls else None)
    try:
        with connected(engine, certificates.client_context() if with_tls else None) as (rig, peer, link):
            peer.send(rig.ping())
            rig.until(lambda: bool(rig.of(PacketsReceived)))
            assert rig.mentioned_times.gossiped_pong_ms == 0
            engine.bind(link, MENTIONED)  # bound, but to another node
            peer.send(rig.ping())
            rig.until(lambda: len(rig.of(PacketsReceived)) == 2)
            assert rig.mentioned_times.gossiped_pong_ms == 0
            assert rig.of(QuietHeartbeats) == []
            engine.bind(link, KNOWN)
            peer.send(rig.ping())
            rig.until(lambda: bool(rig.of(QuietHeartbeats)))
            assert rig.mentioned_times.gossiped_pong_ms == rig.now_ms // 1000 * 1000
    finally:
        engine.shutdown()
