"""`Access`: how the client ports of a cluster are entered: user, password, TLS.

Owns how words as redis-cli has them become what a connection needs. Must never show a password. Plain data; its making
reads files.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clusterbus.config import Config
from clusterbus.errors import ConfigError

PASSWORD_VARIABLES: Final = ("VALKEYCLI_AUTH", "REDISCLI_AUTH")
"""Where valkey-cli and redis-cli look for a password that stands on no command line, the first that is set."""


@dataclass(frozen=True)
class Access:
    """`password` "" is for nodes that want none. `tls` None means plain connections."""

    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    def config(self) -> Config:
        """The directives by which `runtime.peer_commands` logs in."""
        return Config.from_keywords(primaryuser=self.user or None, primaryauth=self.password or None)

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError for connections that are plain."""
        if self.tls is None:
            raise ConfigError("no TLS was asked for")
        return self.tls


def tls_context(
    *, ca_cert: str = "", ca_cert_dir: str = "", cert: str = "", key: str = "", insecure: bool = False
) -> ssl.SSLContext:
    """The rules of connections over TLS: the system's authorities unless others are named, no names of hosts, as nodes
    are known by their authority. Raises ConfigError, which names the argument.
    """
    if bool(cert) != bool(key):
        raise ConfigError("--cert and --key go together")
    for name, file in (("--cacert", ca_cert), ("--cacertdir", ca_cert_dir), ("--cert", cert), ("--key", key)):
        if file and not Path(file).exists():
            raise ConfigError(f"{name}: there is no {file!r}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if insecure:
        context.verify_mode = ssl.CERT_NONE
    try:
        if ca_cert or ca_cert_dir:
            context.load_verify_locations(ca_cert or None, ca_cert_dir or None)
        else:
            context.load_default_certs()
    except (OSError, ValueError) as fault:
        raise ConfigError(f"--cacert {ca_cert or ca_cert_dir!r}: {_reason(fault)}") from None
    try:
        if cert:
            context.load_cert_chain(cert, key, password=_no_passphrase)
    except (OSError, ValueError) as fault:
        raise ConfigError(f"--cert {cert!r}, --key {key!r}: {_reason(fault)}") from None
    return context


def _no_passphrase() -> str:
    """OpenSSL would ask for one at the terminal."""
    return ""


def _reason(fault: Exception) -> str:
    return str(getattr(fault, "reason", None) or getattr(fault, "strerror", None) or fault)
