"""`TlsSettings`: what the TLS directives say at one moment, and the files that they name, read as one state.

Owns which directives have to do with TLS and how their files are read: regular files only, within a limit, and of a
directory of authorities the names that OpenSSL looks at. Must never show a passphrase. Whoever has the settings may
read the files in any thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from clusterbus.config.tls_ciphers import suites_12, suites_13
from clusterbus.errors import ConfigError

TLS_FILE_LEN_MAX_BYTES: Final = 16 * 1024 * 1024
CA_DIR_FILES_MAX: Final = 4096
TLS_NAMES: Final = (
    *("tls-cert-file", "tls-key-file", "tls-client-cert-file", "tls-client-key-file"),
    *("tls-ca-cert-file", "tls-ca-cert-dir"),
)
"""The directives that name files. Setting one to the same name again reads its file again, as in Valkey."""
TLS_DIRECTIVES: Final = (
    *("tls-port", "tls-cluster", "tls-auth-clients", *TLS_NAMES),
    *("tls-key-file-pass", "tls-client-key-file-pass", "tls-protocols", "tls-ciphers", "tls-ciphersuites"),
)
"""All that decides what TLS connections are made with."""
_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.[0-9]{1,4}")
"""How openssl rehash names the certificates of a directory: OpenSSL finds them by that, and no others."""
_PROTOCOLS: Final = ("tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3")

Pem = tuple[str, bytes]
"""A file's name and content."""


def protocols_reason(text: str) -> str | None:
    """Why `text` is no value of tls-protocols; None if it is one."""
    words = [word.lower() for word in text.split(" ")] if text else []
    if any(word not in _PROTOCOLS for word in words):
        return "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'."
    if words and not {"tlsv1.2", "tlsv1.3"} & set(words):
        return "only TLSv1.2 and TLSv1.3 are spoken here, and that leaves none of them"
    return None


@dataclass(frozen=True)
class TlsFiles:
    """The content of all files, as it was when they were read one after the other."""

    by_directive: dict[str, Pem]
    authorities: tuple[tuple[str, str, bytes], ...]
    """(directive, file, content) of each file with authorities."""

    @property
    def fingerprint(self) -> bytes:
        """Another one for other content. Keys are in it as digests only."""
        whole = hashlib.sha256()
        for directive, (name, content) in self.by_directive.items():
            whole.update(f"{directive} {name} ".encode() + hashlib.sha256(content).digest())
        for directive, name, content in self.authorities:
            whole.update(f"{directive} {name} ".encode() + hashlib.sha256(content).digest())
        return whole.digest()


@dataclass(frozen=True)
class TlsSettings:
    """The TLS directives; names of files are absolute, "" where there is none."""

    on_bus: bool
    on_port: bool
    auth_clients: str
    files: dict[str, str]
    protocols: str
    ciphers: str
    ciphersuites: str
    key_pass: str = field(repr=False)
    client_key_pass: str = field(repr=False)

    @property
    def is_used(self) -> bool:
        """Whether this node speaks TLS on any port of its own."""
        return self.on_bus or self.on_port

    @property
    def has_client_identity(self) -> bool:
        """Whether another certificate is shown where this node dials. As in Valkey it takes both files."""
        return bool(self.files["tls-client-cert-file"] and self.files["tls-client-key-file"])

    @property
    def speaks(self) -> tuple[bool, bool]:
        """Whether TLS 1.2 is spoken, and whether TLS 1.3 is."""
        words = self.protocols.lower().split() or list(_PROTOCOLS)
        return "tlsv1.2" in words, "tlsv1.3" in words

    @property
    def suites(self) -> list[str]:
        """The standard's names of the cipher suites of the bus, the most wanted first."""
        return [*suites_13(self.ciphersuites).names, *suites_12(self.ciphers).names]

    def warnings(self, *, sets_suites: bool) -> Iterator[str]:
        """What of these settings is not or not wholly honoured. `sets_suites`: Python's ssl takes tls-ciphersuites."""
        old = [word for word in self.protocols.split() if word.lower() in ("tlsv1", "tlsv1.1")]
        if old:
            yield f"tls-protocols: {' and '.join(old)} is not spoken here"
        ignored = [*suites_12(self.ciphers).ignored, *suites_13(self.ciphersuites).ignored]
        if ignored:
            yield f"tls-ciphers and tls-ciphersuites: the bus has no such ciphers: {', '.join(ignored)}"
        if self.ciphersuites and self.on_port and not sets_suites:
            yield "tls-ciphersuites is for the bus alone: the ssl module of this Python cannot set them for clients"
        names = ("tls-client-cert-file", "tls-client-key-file")
        if any(self.files[name] for name in names) and not self.has_client_identity:
            yield "tls-client-cert-file and tls-client-key-file have an effect only together"

    def read(self) -> TlsFiles:
        """Reads all files. Raises ConfigError, which names directive and file."""
        names = ["tls-cert-file", "tls-key-file"]
        if self.has_client_identity:
            names += ["tls-client-cert-file", "tls-client-key-file"]
        by_directive = {name: (self.files[name], _content(name, self.files[name])) for name in names}
        authorities = []
        if file := self.files["tls-ca-cert-file"]:
            authorities.append(("tls-ca-cert-file", file, _content("tls-ca-cert-file", file)))
        if folder := self.files["tls-ca-cert-dir"]:
            authorities += [("tls-ca-cert-dir", *pem) for pem in _folder(folder)]
        return TlsFiles(by_directive, tuple(authorities))


def _content(directive: str, file: str) -> bytes:
    if not file:
        raise ConfigError(f"{directive} is not set")
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # to open a pipe would wait for who writes to it
            raise ConfigError(f"{directive} {file!r}: is no regular file")
        with open(file, "rb") as opened:
            content = opened.read(TLS_FILE_LEN_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{directive} {file!r}: {error.strerror}") from None
    if len(content) > TLS_FILE_LEN_MAX_BYTES:
        raise ConfigError(f"{directive} {file!r}: has more than {TLS_FILE_LEN_MAX_BYTES} bytes")
    return content


def _folder(folder: str) -> list[Pem]:
    """The certificates that OpenSSL would find in the directory, each once."""
    directive = "tls-ca-cert-dir"
    try:
        names = sorted(name for name in os.listdir(folder) if _HASHED_NAME.fullmatch(name))
    except OSError as error:
        raise ConfigError(f"{directive} {folder!r}: {error.strerror}") from None
    if not names:
        raise ConfigError(f"{directive} {folder!r}: holds no certificate named by its hash, as openssl rehash does it")
    if len(names) > CA_DIR_FILES_MAX:
        raise ConfigError(f"{directive} {folder!r}: holds more than {CA_DIR_FILES_MAX} certificates")
    by_content: dict[bytes, str] = {}
    for name in names:
        path = os.path.join(folder, name)
        by_content.setdefault(_content(directive, path), path)
    return [(path, content) for content, path in by_content.items()]
