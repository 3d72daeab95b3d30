"""Addresses to listen on, and the text `ip:port`.

Owns the one spelling of an address with its port, and what a host name stands for. Listens on nothing. Any thread.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

from clusterbus.errors import ConfigError

_EVERY: Final = {"*": "0.0.0.0", "::*": "::"}
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


@dataclass(frozen=True, slots=True)
class BindAddress:
    """An address to listen on. `optional`: a machine without this address starts all the same. `wildcard`: it stands
    for every address.
    """

    ip: str
    optional: bool
    wildcard: bool

    def excuses(self, error: OSError) -> bool:
        """Whether the address is optional and `error`, met when it was listened on, says that this machine lacks it."""
        return self.optional and error.errno in _ABSENT


def resolve(text: str) -> BindAddress | None:
    """The address that a word of `bind` stands for. `*` and `::*` are all addresses of a version, a leading `-` makes
    the word optional, and a host name is its first IPv4 address, or else its first IPv6 address.

    None for an optional name that nobody knows; raises ConfigError, whose text is just the reason, for another. Asks
    the resolver of the system, which may block.
    """
    plain = text.removeprefix("-")
    optional = plain != text
    ip = _EVERY.get(plain, plain)
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        try:
            found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if optional:
                return None
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"can't resolve {plain!r}: {reason}") from error
        by_version = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
        ip = str(by_version[0][4][0])
    return BindAddress(ip, optional, plain in _EVERY)


def address_text(ip: str, port: int) -> str:
    """`ip:port`, or `[ip]:port` for IPv6."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
