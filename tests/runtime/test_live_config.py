"""Directives that reach the engine: at the start, by CONFIG SET while links are up, and refused changes."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from clusterbus import _core, wire
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.runtime.live_config import build_engine, follow_config

from tests.member.scripted import Loop, Peer, ping, running
from tests.peers.tls import Certificates


def tls_directives(certificates: Certificates) -> dict[str, Any]:
    words = certificates.directives()
    return {name.replace("-", "_"): value for name, value in words.items()} | {"tls_port": 7001}


def followed(loop: Loop) -> Loop:
    engine = loop.driver.engine
    assert isinstance(engine, _core.Engine)
    follow_config(loop.driver.config, engine, loop.certificates)
    return loop


def test_io_threads_change_under_a_link_that_stays_r22_r35(tmp_path: Path) -> None:
    with running(tmp_path) as plain:
        loop = followed(plain)
        peer = loop.connect()
        for number, io_threads in enumerate((4, 1, 3), start=1):
            loop.driver.config.set("io-threads", str(io_threads))
            assert loop.driver.engine.stats()["workers"] == io_threads - 1
            peer.send(wire.encode(ping(epoch=number)))
            loop.until(
                lambda least=number: len(loop.state.heard("packet")) >= least,  # type: ignore[misc]
                "a packet after the change",
            )
        assert loop.state.heard("closed") == []


def test_workers_can_be_kept_awake_r24(tmp_path: Path) -> None:
    with running(tmp_path) as plain:
        loop = followed(plain)
        loop.driver.config.set_many([("io-threads", "4"), ("io-threads-always-active", "yes")])
        loop.until(lambda: loop.driver.engine.stats()["active_workers"] == 3, "all workers are awake")
        loop.driver.config.set("io-threads-always-active", "no")
        loop.until(lambda: loop.driver.engine.stats()["active_workers"] < 3, "and go back to sleep")


def test_the_limit_of_a_send_queue_is_in_force_at_once_r18_h40(tmp_path: Path) -> None:
    with running(tmp_path) as plain:
        loop = followed(plain)
        peer = loop.connect()
        peer.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        big = wire.encode(wire.Publish(wire.Header(sender="a" * 40), b"c", bytes(500_000)))
        loop.driver.config.set("cluster-link-sendbuf-limit", "1mb")

        def choke() -> bool:
            loop.driver.engine.send(peer.link, big)
            return bool(loop.state.heard("closed"))

        loop.until(choke, "the link of a peer that does not read is closed")
        assert loop.driver.engine.stats()["sendbuf_limit_exceeded"] == 1
        assert "sendbuf-limit" in loop.state.heard("closed")[0][1]


def engine_side(peer: Peer) -> socket.socket:
    """A duplicate of the engine's own socket for a peer's link: it is in this process too."""
    ends = (peer.raw.getpeername(), peer.raw.getsockname())
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # no socket, not connected, or closed meanwhile
            copy = socket.socket(fileno=os.dup(int(entry.name)))
            with ExitStack() as unless_found:
                unless_found.callback(copy.close)
                if (copy.getsockname(), copy.getpeername()) == ends:
                    unless_found.pop_all()
                    return copy
    raise AssertionError("the engine has no such socket")


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
def test_the_kernel_waits_for_a_peer_as_long_as_the_node_timeout_within_limits_p7_h32(tmp_path: Path) -> None:
    with running(tmp_path) as plain:
        loop = followed(plain)
        with closing(engine_side(loop.connect())) as socket_of_link:
            for node_timeout_ms, waited_ms in ((5_000, 5_000), (1, 2_000), (3_600_000, 60_000)):
                loop.driver.config.set("cluster-node-timeout", str(node_timeout_ms))
                assert socket_of_link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == waited_ms
                with closing(engine_side(loop.connect())) as socket_of_new_link:
                    assert socket_of_new_link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == waited_ms
            assert socket_of_link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert socket_of_link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
            assert socket_of_link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5


def test_a_new_engine_has_the_timeout_of_the_node_timeout_p7(tmp_path: Path) -> None:
    config = Config.from_keywords(dir=str(tmp_path), cluster_node_timeout=7_000)
    engine = build_engine(config)
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine.connect(*server.getsockname())
        accepted, _address = server.accept()
        with closing(accepted), closing(engine_side(Peer(accepted))) as dialled:
            assert dialled.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7_000
    engine.shutdown()


def handshake(loop: Loop, context: ssl.SSLContext) -> str:
    """The serial number of the node's certificate as a client sees it; "" if the client is refused."""
    with socket.create_connection(("127.0.0.1", loop.port)) as raw:
        raw.setblocking(False)
        secured = context.wrap_socket(raw, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        with secured:
            finished: list[bool] = []

            def step() -> bool:
                try:
                    secured.do_handshake()
                    finished.append(True)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return False
                except ssl.SSLError:
                    finished.append(False)
                return True

            loop.until(step, "the handshake comes to an end")
            if not finished[0]:
                return ""
            certificate = secured.getpeercert()
            assert certificate is not None
            return str(certificate["serialNumber"])


def test_a_new_certificate_is_shown_to_those_who_connect_next(
    tmp_path: Path, certificates: Certificates, stranger_certificates: Certificates
) -> None:
    with running(tmp_path, **tls_directives(certificates)) as secured:
        loop = followed(secured)
        before = handshake(loop, certificates.client_context())
        assert before
        changes = {
            name: value
            for name, value in stranger_certificates.directives().items()
            if (name.startswith("tls-c") and name != "tls-cluster") or name == "tls-key-file"
        }
        loop.driver.config.set_many(list(changes.items()))
        assert handshake(loop, certificates.client_context()) == "", "the old authority vouches no more"
        after = handshake(loop, stranger_certificates.client_context())
        assert after not in ("", before)


def test_a_certificate_that_cannot_be_read_is_refused_and_the_old_one_stays(
    tmp_path: Path, certificates: Certificates
) -> None:
    with running(tmp_path, **tls_directives(certificates)) as secured:
        loop = followed(secured)
        before = handshake(loop, certificates.client_context())
        bad = tmp_path / "bad.pem"
        bad.write_text("nothing of the kind\n")
        with pytest.raises(ConfigError, match=r"tls-cert-file"):
            loop.driver.config.set("tls-cert-file", str(bad))
        assert loop.driver.config.tls_cert_file == str(certificates.cert_file)
        assert handshake(loop, certificates.client_context()) == before


def test_a_plain_bus_has_no_tls_rules(tmp_path: Path) -> None:
    with running(tmp_path) as loop:
        assert loop.certificates.bus is None
