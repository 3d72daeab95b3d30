"""The kinds of values that say who may join: node ids, networks, names of certificates, the label of a cluster.

Must never keep state or read a file. Any thread.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from clusterbus.config.several_kinds import Words
from clusterbus.errors import ConfigError

ALLOWED_MAX: Final = 10_000
"""The most entries of one list: as many as a node knows nodes."""
LABEL_LEN_MAX: Final = 64
_NODE_ID: Final = re.compile(r"[0-9a-z]{40}")
_LABEL: Final = re.compile(r"[A-Za-z0-9._:/-]*")
_CERTIFICATE_NAME: Final = re.compile(r"[!-~]{1,255}")


class _List(Words):
    """Words, each once, and not too many of them."""

    def parse(self, arguments: Sequence[str]) -> tuple[str, ...]:
        words = super().parse(arguments)
        if len(words) > ALLOWED_MAX:
            raise ConfigError(f"more than {ALLOWED_MAX} words")
        return tuple(dict.fromkeys(self._word(word) for word in words))

    def _word(self, word: str) -> str:
        raise NotImplementedError


class NodeIds(_List):
    """Node ids: 40 digits and lower-case letters each."""

    def _word(self, word: str) -> str:
        if not _NODE_ID.fullmatch(word):
            raise ConfigError(f"{word!r} is no node id")
        return word

    def syntax(self) -> str:
        return "ID ..."


class Networks(_List):
    """Networks of IPv4 and IPv6 addresses, `address/bits` or one address; kept in their normal form."""

    def _word(self, word: str) -> str:
        try:
            return str(ipaddress.ip_network(word))
        except ValueError as error:
            raise ConfigError(f"{word!r} is no network: {error}") from None

    def syntax(self) -> str:
        return "ADDRESS/BITS ..."


class CertificateNames(_List):
    """Names as certificates have them: printable ASCII. A `*` stands only for the first label of a DNS name."""

    def _word(self, word: str) -> str:
        if not _CERTIFICATE_NAME.fullmatch(word) or "*" in word.removeprefix("*."):
            raise ConfigError(f"{word!r} is no name of a certificate")
        return word

    def syntax(self) -> str:
        return "NAME ..."


def cluster_label(text: str) -> str | None:
    """The rule for labels, which stand in packets and in the log (H12)."""
    if len(text) > LABEL_LEN_MAX:
        return f"A cluster label has at most {LABEL_LEN_MAX} characters"
    return None if _LABEL.fullmatch(text) else "A cluster label has only letters, digits and any of ._:/-"
