"""Rows H35 to H38: what goes wrong before a link is up, because of TLS. H35 four ways; the others need TLS, so on the
worker and on the main-thread path.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.hostile.attacked import DEADLINE_S, WAYS, Attacked
from tests.interop.bus_peer import TYPE_PONG
from tests.peers.tls import Certificates

Attack = Callable[..., Attacked]

TLS_WAYS = {name: way for name, way in WAYS.items() if way.tls}
HANDSHAKE_TIMEOUT_MS = 800
HANDSHAKES_MAX, STORM = 12, 40
ANSWERED_WITHIN_S = 2.0
"""A heartbeat waits for a look between two handshakes, and this machine may be busy."""


@pytest.fixture(params=list(TLS_WAYS.values()), ids=list(TLS_WAYS))
def secured(request: pytest.FixtureRequest, attack: Attack) -> Attacked:
    """A node under attack that speaks TLS, by workers or not, and waits for handshakes for less than a second."""
    return attack(
        request.param,
        cluster_tls_handshake_timeout=HANDSHAKE_TIMEOUT_MS,
        cluster_max_tls_handshakes=HANDSHAKES_MAX,
    )


@contextmanager
def raw(attacked: Attacked) -> Iterator[socket.socket]:
    """A TCP connection to the bus port, without TLS."""
    with socket.create_connection(("127.0.0.1", attacked.bus.bus_port), DEADLINE_S) as connection:
        yield connection


def is_ended(connection: socket.socket) -> bool:
    """Reads until the node ends the connection, whatever it says before; TimeoutError if it does not."""
    try:
        while connection.recv(4_096):
            pass
    except ConnectionError:
        pass
    return True


def one_line(attacked: Attacked, part: str, name: str = "127.0.0.1") -> str:
    """One line of the log has `part`, and it names the peer."""
    (line,) = attacked.wait_logged(part)
    assert name in line
    return line


# ---------------------------------------------------------------- H35: TLS or not


def test_who_speaks_tls_where_it_is_not_spoken_or_the_reverse_is_ended_h35(attacked: Attacked) -> None:
    known = attacked.known()
    certificates = attacked.certificates
    with raw(attacked) as connection:
        if attacked.way.tls:
            counter, logged = "cluster_accepts_refused_not_tls", "connection refused (not-tls)"
            connection.sendall(known.heartbeat())
            assert is_ended(connection)
        else:
            counter, logged = "cluster_links_lost_tls_on_plain", "link lost (tls-on-plain)"
            with pytest.raises((ssl.SSLError, ConnectionError)):
                certificates.client_context().wrap_socket(connection, server_hostname="127.0.0.1")
    attacked.counts(counter, 1)
    one_line(attacked, logged)
    assert known.ping() is not None


def test_a_dial_that_meets_the_other_kind_is_given_up_h35(attacked: Attacked) -> None:
    """A node that is dialled answers with TLS where it is not spoken, or without."""
    answer = attacked.good.heartbeat(TYPE_PONG) if attacked.way.tls else b"\x15\x03\x03\x00\x02\x02\x50"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cport = listener.getsockname()[1]
        attacked.bus.meet("127.0.0.1", 7000, bus_port=cport)
        connection, _ = listener.accept()
        with connection:
            connection.recv(4_096)
            connection.sendall(answer)
            kind = "not_tls" if attacked.way.tls else "tls_on_plain"
            attacked.counts(f"cluster_links_lost_{kind}", 1)
    attacked.counts("cluster_refused_protocol", 1)
    one_line(attacked, "does not speak this cluster bus (", f"127.0.0.1:{cport}")


# ---------------------------------------------------------------- H36: certificates


@dataclass(frozen=True)
class Authority:
    """Certificates of the node's own authority, and what else a peer may show."""

    folder: Path
    ca: trustme.CA
    good: Certificates

    @classmethod
    def make(cls, folder: Path) -> Authority:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "ca.pem")
        good = Certificates(folder / "ca.pem", folder / "good.pem", folder / "good.key")
        cls._write(ca.issue_cert("127.0.0.1", "localhost"), good)
        return cls(folder, ca, good)

    @staticmethod
    def _write(leaf: trustme.LeafCert, files: Certificates) -> None:
        leaf.private_key_pem.write_to_path(files.key_file)
        for place, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(files.cert_file, append=place > 0)

    def _files(self, name: str) -> Certificates:
        return Certificates(self.good.ca_cert_file, self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def bad(self, kind: str) -> Certificates | None:
        """The files of a certificate that is bad in its own way; None for none at all."""
        if kind == "none":
            return None
        files = self._files(kind)
        days = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        if kind == "expired":
            self._write(self.ca.issue_cert("127.0.0.1", not_before=now - 3 * days, not_after=now - days), files)
        elif kind == "not yet valid":
            self._write(self.ca.issue_cert("127.0.0.1", not_before=now + days, not_after=now + 3 * days), files)
        elif kind == "self-signed":
            itself = trustme.CA()  # an authority's own certificate is signed by itself
            itself.cert_pem.write_to_path(files.cert_file)
            itself.private_key_pem.write_to_path(files.key_file)
        else:
            assert kind == "unknown authority"
            self._write(trustme.CA().issue_cert("127.0.0.1"), files)
        return files


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Certificates:
    """In this module the nodes' certificates are of an authority that can issue bad ones too."""
    return authority.good


BAD = ("none", "expired", "not yet valid", "self-signed", "unknown authority")


def talk(attacked: Attacked, context: ssl.SSLContext, data: bytes) -> None:
    """Sends something over TLS and reads to the end. With TLS 1.3 a refusal comes after the client's part."""
    with raw(attacked) as connection, context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(data)
        while wrapped.recv(4_096):
            pass


@pytest.mark.parametrize("kind", BAD)
def test_who_dials_with_a_bad_certificate_is_refused_and_told_why_h36(
    secured: Attacked, authority: Authority, kind: str
) -> None:
    known = secured.known()
    links = secured.counter("cluster_links")
    bad = authority.bad(kind)
    context = ssl.create_default_context(cafile=str(authority.good.ca_cert_file))
    if bad is not None:
        context.load_cert_chain(str(bad.cert_file), str(bad.key_file))
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        talk(secured, context, known.heartbeat())
    word = "no_certificate" if bad is None else "bad_certificate"
    secured.counts(f"cluster_accepts_refused_{word}", 1)
    one_line(secured, f"connection refused ({word.replace('_', '-')})")
    assert secured.counter("cluster_links") == links
    assert known.ping() is not None


@pytest.mark.parametrize("kind", BAD[1:])
def test_who_is_dialled_and_has_a_bad_certificate_is_left_h36(
    secured: Attacked, authority: Authority, kind: str
) -> None:
    known = secured.known()
    bad = authority.bad(kind)
    assert bad is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(bad.cert_file), str(bad.key_file))
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ssl.SSLError, ConnectionError):
            wrapped = context.wrap_socket(connection, server_side=True)
            received.append(wrapped.recv(4_096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        cport = listener.getsockname()[1]
        secured.bus.meet("127.0.0.1", 7000, bus_port=cport)
        (line, *_) = secured.wait_logged("dial failed (bad-certificate)")
        assert f"127.0.0.1:{cport}" in line
        server.join(DEADLINE_S)
    assert received in ([], [b""]), "it is told nothing"
    assert secured.counter("cluster_links_lost_bad_certificate") >= 1
    assert known.ping() is not None


# ---------------------------------------------------------------- H37: inside the handshake


def hello() -> bytes:
    """The first bytes of an honest client."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


GARBAGE = b"\x16\x03\x03\x00\x64" + b"\xff" * 100
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"
# A handshake message that claims 16 MiB, in records that keep coming.
ENDLESS = b"\x16\x03\x03\x40\x00\x01\xff\xff\xff" + bytes(0x4000 - 4) + (b"\x16\x03\x03\x40\x00" + bytes(0x4000)) * 8
# A hello that claims 60,000 bytes, one byte to a record: most of what comes is no part of it.
CRUMBS = b"".join(b"\x16\x03\x03\x00\x01" + bytes([byte]) for byte in b"\x01\x00\xea\x60" + bytes(12_000))
INSIDE: dict[str, tuple[Callable[[], bytes], bool, str]] = {
    "garbage": (lambda: GARBAGE, False, "tls"),
    "garbage after a hello": (lambda: hello() + GARBAGE, False, "tls"),
    "a goodbye": (lambda: CLOSE_NOTIFY, False, "handshake_timeout"),
    "a goodbye after a hello": (lambda: hello() + CLOSE_NOTIFY, False, "tls_alert"),
    "half a hello and the end": (lambda: hello()[:50], True, "eof"),
    "a hello and the end": (hello, True, "eof"),
    "more than 64 KiB": (lambda: ENDLESS, False, "tls"),
    "more than 64 KiB in small records": (lambda: CRUMBS, False, "error"),
}
"""What comes, whether the stream ends after it, and for what it is refused: at once, but for a goodbye that comes
first. rustls ignores that, because it is not authenticated, and the deadline ends the handshake.
"""
REFUSED_INSIDE = ("tls", "tls_alert", "eof", "error", "handshake_timeout")


@pytest.mark.parametrize("case", INSIDE)
def test_what_breaks_inside_a_handshake_ends_it_h37(secured: Attacked, case: str) -> None:
    known = secured.known()
    links = secured.counter("cluster_links")
    counters = {word: f"cluster_accepts_refused_{word}" for word in REFUSED_INSIDE}
    data, ends, word = INSIDE[case]
    with raw(secured) as connection:
        try:
            connection.sendall(data())
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it was ended before all was sent
        assert is_ended(connection)
    secured.wait(lambda: sum(map(secured.counter, counters.values())) == 1, "it is counted once")
    assert [word for word, name in counters.items() if secured.counter(name)] == [word]
    one_line(secured, f"connection refused ({word.replace('_', '-')})")
    secured.wait(lambda: secured.counter("cluster_handshakes") == 0, "nothing of it stays")
    assert secured.counter("cluster_links") == links
    assert known.ping() is not None


# ---------------------------------------------------------------- H38: storms


def slowest_answer_s(attacked: Attacked, goes_on: Callable[[], bool]) -> float:
    """Pings the node as its good peer for as long as the storm lasts; returns how long the slowest answer took."""
    slowest_s = 0.0
    while True:
        begun_s = time.monotonic()
        assert attacked.good.ping() is not None
        slowest_s = max(slowest_s, time.monotonic() - begun_s)
        if not goes_on():
            return slowest_s


def test_handshakes_that_stall_are_capped_and_expire_h38(secured: Attacked) -> None:
    known = secured.known()
    storm = [socket.create_connection(("127.0.0.1", secured.bus.bus_port), DEADLINE_S) for _ in range(STORM)]
    try:
        secured.wait(lambda: secured.counter("cluster_accepts_refused_max_handshakes") > 0, "some are refused")
        assert secured.counter("cluster_handshakes") <= HANDSHAKES_MAX
        secured.counts("cluster_accepts_refused_max_handshakes", STORM - HANDSHAKES_MAX)
        one_line(secured, "connection refused (max-handshakes)")
        assert slowest_answer_s(secured, lambda: secured.counter("cluster_handshakes") > 0) < ANSWERED_WITHIN_S
        secured.counts("cluster_accepts_refused_handshake_timeout", HANDSHAKES_MAX)
        assert all(is_ended(one) for one in storm)
    finally:
        for one in storm:
            one.close()
    assert known.ping() is not None
    assert secured.stranger().ping() is not None, "there is room again"


def test_heartbeats_are_answered_while_handshakes_storm_h38(secured: Attacked) -> None:
    """Honest clients as fast as a thread can dial, each with a handshake to the end."""
    known = secured.known()
    context = secured.certificates.client_context()
    shaken: list[bool] = []
    stop = threading.Event()

    def dial() -> None:
        while not stop.is_set() and len(shaken) < 4 * STORM:
            with raw(secured) as connection:
                try:
                    context.wrap_socket(connection, server_hostname="127.0.0.1").close()
                    shaken.append(True)
                except (ssl.SSLError, ConnectionError):
                    shaken.append(False)  # beyond the cap

    threads = [threading.Thread(target=dial) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        slowest_s = slowest_answer_s(secured, lambda: any(thread.is_alive() for thread in threads))
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert shaken.count(True) > STORM
    assert slowest_s < ANSWERED_WITHIN_S, f"an answer took {slowest_s} s"
    assert known.ping() is not None
    secured.wait(lambda: secured.counter("cluster_handshakes") == 0, "nothing of it stays")
