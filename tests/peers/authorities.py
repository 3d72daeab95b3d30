"""Authorities and certificates that a test chooses in every respect: validity, usage, kind of key, passphrase, bundles.

Keys and certificates are made in the process, so that none takes longer than a millisecond or two.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.peers.tls import Certificates

DAY = datetime.timedelta(days=1)
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Leaf:
    """A certificate of an authority, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def serial(self) -> str:
        """As INFO shows it."""
        digits = f"{self.certificate.serial_number:X}"
        return digits if len(digits) % 2 == 0 else f"0{digits}"

    @property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: str = "", *, is_traditional: bool = False) -> bytes:
        kind = serialization.PrivateFormat
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        form = kind.TraditionalOpenSSL if is_traditional else kind.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, encryption)


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, name: str = "test", *, until: datetime.datetime | None = None) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key, now() - 2 * DAY, until or now() + 3650 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        usage: str = "",
    ) -> Leaf:
        """A certificate; `usage` "server" or "client" keeps it to that."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
        builder = self._builder(name, key, since or now() - DAY, until or now() + 30 * DAY)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[usage]]), critical=False)
        return Leaf(builder.sign(self._key, hashes.SHA256()), key)

    def _builder(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        since: datetime.datetime,
        until: datetime.datetime,
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(issuer_name=self._name, subject_name=name, public_key=key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(since).not_valid_after(until)


class Files:
    """The files of one node, which a test replaces as an operator does: written beside and renamed."""

    def __init__(self, folder: Path, authority: Authority, leaf: Leaf | None = None, passphrase: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_cert_file, self.cert_file, self.key_file = folder / "ca.pem", folder / "node.pem", folder / "node.key"
        self.leaf = leaf or authority.issue()
        self.trust(authority)
        self.show(self.leaf, passphrase)

    def trust(self, *authorities: Authority) -> None:
        replace(self.ca_cert_file, b"".join(authority.pem for authority in authorities))

    def show(self, leaf: Leaf, passphrase: str = "") -> None:
        self.leaf = leaf
        replace(self.cert_file, leaf.cert_pem)
        replace(self.key_file, leaf.key_pem(passphrase))

    def certificates(self) -> Certificates:
        """The same files for fixtures that start servers and clients."""
        return Certificates(self.ca_cert_file, self.cert_file, self.key_file)

    def keywords(self) -> dict[str, str]:
        """The directives as keywords of a Bus."""
        words = {name.replace("-", "_"): value for name, value in self.certificates().directives().items()}
        return {name: value for name, value in words.items() if name != "tls_auth_clients"}


def replace(file: Path, content: bytes) -> None:
    """Puts another file in the place of the old one, at one stroke."""
    beside = file.with_suffix(".new")
    beside.write_bytes(content)
    os.replace(beside, file)
