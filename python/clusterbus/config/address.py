"""Addresses to listen on, and the text `ip:port`.

Owns the one spelling of an address with its port. Opens nothing. Any thread.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

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


def address_text(ip: str, port: int) -> str:
    """`ip:port`, or `[ip]:port` for IPv6."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
