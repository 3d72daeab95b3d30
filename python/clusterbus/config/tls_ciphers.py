"""Which cipher suites `tls-ciphers` and `tls-ciphersuites` allow, of those that the bus knows.

Owns the nine suites of rustls under their names in OpenSSL, and the meaning of OpenSSL's cipher strings for them. The
words are those of openssl-ciphers(1); words for ciphers that only OpenSSL has select nothing here, and are reported.
Pure functions. Any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clusterbus.errors import ConfigError

CIPHER_LIST_LEN_MAX: Final = 4096
_SEPARATORS: Final = re.compile(r"[:, ;]+")
_WORD: Final = re.compile(r"[A-Za-z0-9_.+=@-]+")


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite of TLS 1.2: its name in the standard and in OpenSSL, and the words that select it."""

    name: str
    openssl_name: str
    words: frozenset[str]
    bits: int


def _suite(certificate: str, cipher: str, standard: str, bits: int, *words: str) -> Suite:
    every = ("ALL", "HIGH", "DEFAULT", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "FIPS")
    return Suite(
        f"TLS_ECDHE_{certificate}_WITH_{standard}",
        f"ECDHE-{certificate}-{cipher}",
        frozenset({*(every if cipher != "CHACHA20-POLY1305" else every[:-1]), f"a{certificate}", *words}),
        bits,
    )


def _both(cipher: str, standard: str, bits: int, *words: str) -> tuple[Suite, Suite]:
    return (
        _suite("ECDSA", cipher, standard, bits, "ECDSA", *words),
        _suite("RSA", cipher, standard, bits, *words),
    )


SUITES_12: Final = (
    *_both("AES256-GCM-SHA384", "AES_256_GCM_SHA384", 256, "AES", "AES256", "AESGCM"),
    *_both("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256", 256, "CHACHA20"),
    *_both("AES128-GCM-SHA256", "AES_128_GCM_SHA256", 128, "AES", "AES128", "AESGCM"),
)
"""The suites of TLS 1.2, in the order in which OpenSSL prefers them."""
SUITES_13: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
"""The suites of TLS 1.3, in the order in which OpenSSL prefers them."""
ONLY_OPENSSL_13: Final = ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256")
"""Suites of TLS 1.3 that OpenSSL knows and the bus does not."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Names of suites, the most wanted first, and the words that did nothing for the bus."""

    names: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def suites_12(text: str) -> Chosen:
    """The suites of TLS 1.2 that a cipher string of OpenSSL leaves; "" is all of them.

    Raises ConfigError for what is no such string, and if it leaves none.
    """
    if not text:
        return Chosen(tuple(suite.name for suite in SUITES_12))
    if len(text) > CIPHER_LIST_LEN_MAX:
        raise ConfigError(f"a list of ciphers has at most {CIPHER_LIST_LEN_MAX} characters")
    listed: list[Suite] = []
    killed: set[Suite] = set()
    ignored: list[str] = []
    for item in filter(None, _SEPARATORS.split(text)):
        sign, word = (item[0], item[1:]) if item[0] in "!-+" else ("", item)
        if not _WORD.fullmatch(word):
            raise ConfigError(f"{item!r} is no word of a list of ciphers")
        if word.startswith("@"):
            if word == "@STRENGTH":
                listed.sort(key=lambda suite: -suite.bits)
            elif not word.startswith("@SECLEVEL="):
                raise ConfigError(f"{item!r} is no word of a list of ciphers")
            continue
        matched = [suite for suite in SUITES_12 if _matches(suite, word)]
        if not matched and not sign:
            ignored.append(item)
        if sign:
            moved = [suite for suite in listed if suite in matched] if sign == "+" else []
            listed = [suite for suite in listed if suite not in matched] + moved
            killed |= set(matched) if sign == "!" else set()
        else:
            listed += [suite for suite in matched if suite not in listed and suite not in killed]
    if not listed:
        known = ", ".join(suite.openssl_name for suite in SUITES_12)
        raise ConfigError(f"that leaves none of the ciphers known here: {known}")
    return Chosen(tuple(suite.name for suite in listed), tuple(ignored))


def suites_13(text: str) -> Chosen:
    """The suites of TLS 1.3 in a list of names with colons; "" is all of them.

    Raises ConfigError for an unknown name, and if there is none that the bus knows.
    """
    if not text:
        return Chosen(SUITES_13)
    names = list(dict.fromkeys(filter(None, text.split(":"))))
    for name in names:
        if name not in (*SUITES_13, *ONLY_OPENSSL_13):
            raise ConfigError(f"{name!r} is no ciphersuite of TLS 1.3; there are {', '.join(SUITES_13)}")
    known = tuple(name for name in names if name in SUITES_13)
    if not known:
        raise ConfigError(f"that leaves none of the ciphersuites known here: {', '.join(SUITES_13)}")
    return Chosen(known, tuple(name for name in names if name not in SUITES_13))


def _matches(suite: Suite, word: str) -> bool:
    """Whether a word, or each of several joined by "+", selects the suite."""
    return word == suite.openssl_name or all(part in suite.words for part in word.split("+"))


def ciphers_reason(text: str) -> str | None:
    """Why `text` is no value of tls-ciphers; None if it is one."""
    return _reason(suites_12, text)


def ciphersuites_reason(text: str) -> str | None:
    """Why `text` is no value of tls-ciphersuites; None if it is one."""
    return _reason(suites_13, text)


def _reason(parse: Callable[[str], Chosen], text: str) -> str | None:
    try:
        parse(text)
    except ConfigError as error:
        return str(error)
    return None
