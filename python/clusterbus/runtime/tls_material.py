"""`TlsMaterial`: what TLS connections of this node are made from, of one state of the directives and their files.

Owns that the bus, the client port and the connections to other nodes' client ports are given the same files. Must never
put a passphrase into an error or a log. Any thread may build it: a key that is encrypted takes its time.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from clusterbus._core import TlsConfig, decrypt_key
from clusterbus.config.tls_contexts import Identity, client_context, server_context
from clusterbus.config.tls_settings import TlsFiles, TlsSettings


class Certificate(NamedTuple):
    """What INFO tells of a certificate: its serial number in hexadecimal, and its validity in unix seconds."""

    serial: str
    not_before_s: int
    not_after_s: int


@dataclass(frozen=True)
class TlsMaterial:
    """Rules for each kind of connection, and what they were made of."""

    settings: TlsSettings
    fingerprint: bytes
    bus: TlsConfig
    port: ssl.SSLContext
    peers: ssl.SSLContext

    @property
    def certificates(self) -> Iterator[tuple[str, Certificate | None]]:
        """(server, client or ca, certificate): what is shown to who dials, what to who is dialled if that is another
        one, and of the authorities the one that expires first.
        """
        rows = (("server", self.bus.server_certificate), ("client", self.bus.client_certificate))
        for name, row in (*rows, ("ca", self.bus.authority)):
            yield name, Certificate(*row) if row is not None else None

    def fault_of_time(self, before: TlsMaterial | None, now_s: float) -> str:
        """Why a certificate of our own that `before` did not have is not valid now; "" if all are."""
        known = {certificate for _, certificate in before.certificates} if before is not None else set()
        for name, certificate in self.certificates:
            if name == "ca" or certificate is None or certificate in known:
                continue
            directive = "tls-cert-file" if name == "server" else "tls-client-cert-file"
            where = f"{directive} {self.settings.files[directive]!r}"
            if now_s > certificate.not_after_s:
                return f"{where}: expired on {_date(certificate.not_after_s)}"
            if now_s < certificate.not_before_s:
                return f"{where}: is not valid before {_date(certificate.not_before_s)}"
        return ""


def build(settings: TlsSettings) -> TlsMaterial:
    """Reads the files and makes the rules. Raises ConfigError, which names directive and file."""
    files = settings.read()
    server = _identity(files, "tls-", settings.key_pass)
    client = _identity(files, "tls-client-", settings.client_key_pass) if settings.has_client_identity else None
    tls12, tls13 = settings.speaks
    bus = TlsConfig(
        cert=(settings.files["tls-cert-file"], server.cert),
        key=(settings.files["tls-key-file"], server.key),
        client_cert=(settings.files["tls-client-cert-file"], client.cert) if client is not None else None,
        client_key=(settings.files["tls-client-key-file"], client.key) if client is not None else None,
        authorities=files.authorities,
        auth_clients=settings.auth_clients,
        tls12=tls12,
        tls13=tls13,
        suites=settings.suites,
    )
    port, peers = server_context(settings, files, server), client_context(settings, files, client or server)
    return TlsMaterial(settings, files.fingerprint, bus, port, peers)


def _identity(files: TlsFiles, prefix: str, key_pass: str) -> Identity:
    key_directive = f"{prefix}key-file"
    key = decrypt_key(key_directive, files.by_directive[key_directive], key_pass)
    return Identity(files.by_directive[f"{prefix}cert-file"][1], key)


def _date(unix_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
