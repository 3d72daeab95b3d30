"""The TLS rules of connections that Python makes: of the client port, and to the client ports of other nodes.

Owns how the directives become an `ssl.SSLContext`; the bus has its own, in Rust, made of the same content. Must never
leave a key in a file, nor let OpenSSL ask for a passphrase at a terminal. Any thread.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Any, Final, NamedTuple, cast

from clusterbus.config.tls_settings import TlsFiles, TlsSettings
from clusterbus.errors import ConfigError

VERIFY_MODES: Final = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "no": ssl.CERT_NONE}
SETS_SUITES: Final = hasattr(ssl.SSLContext, "set_ciphersuites")
"""Whether this Python can set the cipher suites of TLS 1.3; 3.15 is the first."""
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


class Identity(NamedTuple):
    """A certificate chain and its key, which is not encrypted, both as PEM."""

    cert: bytes
    key: bytes


def server_context(settings: TlsSettings, files: TlsFiles, identity: Identity) -> ssl.SSLContext:
    """The rules of the client port. Raises ConfigError, which names directive and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, settings)
    _show(context, settings, "tls-", identity)
    _trust(context, files)
    context.verify_mode = VERIFY_MODES[settings.auth_clients]
    return context


def client_context(settings: TlsSettings, files: TlsFiles, identity: Identity) -> ssl.SSLContext:
    """The rules of connections to other nodes' client ports. Raises ConfigError, which names directive and file.

    Nodes are known by their authority, as on the bus, and not by the names in their certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _restrict(context, settings)
    _show(context, settings, "tls-client-" if settings.has_client_identity else "tls-", identity)
    _trust(context, files)
    return context


def _restrict(context: ssl.SSLContext, settings: TlsSettings) -> None:
    tls12, tls13 = settings.speaks
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if tls12 else ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3 if tls13 else ssl.TLSVersion.TLSv1_2
    try:
        if settings.ciphers:
            context.set_ciphers(settings.ciphers)
        if settings.ciphersuites and SETS_SUITES:
            cast(Any, context).set_ciphersuites(settings.ciphersuites)
    except ssl.SSLError as fault:
        raise ConfigError(f"tls-ciphers, tls-ciphersuites: {fault.reason or fault}") from None


def _show(context: ssl.SSLContext, settings: TlsSettings, prefix: str, identity: Identity) -> None:
    """OpenSSL is given a file that is nowhere but in memory: what it reads is what the bus has, and a key is decrypted
    once.
    """
    names = [f"{name} {settings.files[name]!r}" for name in (f"{prefix}cert-file", f"{prefix}key-file")]
    try:
        with open(os.memfd_create("tls"), "wb") as memory:
            memory.write(identity.cert + b"\n" + identity.key)
            memory.flush()
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}", password=lambda: "")
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "reason", None) or getattr(fault, "strerror", None) or str(fault)
        raise ConfigError(f"{', '.join(names)}: {reason}") from None


def _trust(context: ssl.SSLContext, files: TlsFiles) -> None:
    for directive, file, content in files.authorities:
        try:
            ders = [ssl.PEM_cert_to_DER_cert(pem.decode("ascii")) for pem in _CERTIFICATE.findall(content)]
            if not ders:
                raise ValueError("holds no certificate")
            context.load_verify_locations(cadata=b"".join(ders))
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{directive} {file!r}: {getattr(fault, 'reason', None) or fault}") from None
