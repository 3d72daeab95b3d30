"""Cipher lists mean here what they mean to OpenSSL, as far as the bus has the ciphers; the rest is named."""

from __future__ import annotations

import ssl

import pytest
from clusterbus._core import TlsConfig
from clusterbus.config import Config
from clusterbus.config.tls_ciphers import (
    CIPHER_LIST_LEN_MAX,
    SUITES_12,
    SUITES_13,
    ciphers_reason,
    ciphersuites_reason,
    suites_12,
    suites_13,
)
from clusterbus.errors import ConfigError

from tests.peers.tls import Certificates

OURS = {suite.openssl_name: suite.name for suite in SUITES_12}
LISTS = (
    *("DEFAULT", "DEFAULT:!MEDIUM", "HIGH", "ALL", "ALL:!AES128", "FIPS", "AES", "AES256:AES128", "aRSA", "aECDSA"),
    *("ECDHE+AESGCM", "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!MD5", "EECDH+AESGCM:EDH+AESGCM", "AES256+ECDHE"),
    *("HIGH:!aRSA", "HIGH:@STRENGTH", "DEFAULT:-AES128", "DEFAULT:+AES256", "kEECDH", "TLSv1.2+AES128"),
    *("HIGH:-AES256:AES256", "HIGH:!AES256:AES256", "CHACHA20:ECDHE-RSA-AES128-GCM-SHA256", "AES128 AES256,CHACHA20"),
    *("DEFAULT:@SECLEVEL=2", "ECDHE-RSA-AES256-GCM-SHA384:NONSENSE", "AES128:AES:@STRENGTH"),
)


@pytest.mark.parametrize("text", LISTS)
def test_a_cipher_list_selects_what_openssl_selects(text: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(text)
    selected = [cipher["name"] for cipher in context.get_ciphers()]
    assert suites_12(text).names == tuple(OURS[name] for name in selected if name in OURS)


def test_words_that_select_nothing_are_named() -> None:
    assert suites_12("AES256-SHA:ECDHE+AESGCM:EDH+AESGCM:!RC4").ignored == ("AES256-SHA", "EDH+AESGCM")
    assert suites_13("TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256").ignored == ("TLS_AES_128_CCM_SHA256",)
    assert suites_12("").ignored == suites_13("").ignored == ()


@pytest.mark.parametrize(
    "text", ["AES256-SHA", "NONSENSE", "default", "!ALL", "ALL:!ECDHE", "ECDHE:(", "@NOSUCH", "PROFILE=SYSTEM", ":"]
)
def test_a_list_that_leaves_nothing_or_is_none_is_refused(text: str) -> None:
    assert ciphers_reason(text)
    with pytest.raises(ConfigError, match="tls-ciphers"):
        Config.from_keywords(tls_ciphers=text)


def test_a_list_has_a_limit() -> None:
    longest = "HIGH:" * (CIPHER_LIST_LEN_MAX // 5) + "A" * (CIPHER_LIST_LEN_MAX % 5)
    assert len(longest) == CIPHER_LIST_LEN_MAX
    assert ciphers_reason(longest) is None
    assert str(CIPHER_LIST_LEN_MAX) in str(ciphers_reason(longest + "A"))


def test_ciphersuites_are_names_with_colons() -> None:
    assert suites_13("").names == SUITES_13
    text = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
    assert suites_13(text).names == ("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
    for refused in ("NONSENSE", "TLS_AES_128_CCM_SHA256", ":", "TLS_AES_128_GCM_SHA256:HIGH"):
        assert ciphersuites_reason(refused), refused


def test_the_core_knows_every_suite(certificates: Certificates) -> None:
    files = [(str(file), file.read_bytes()) for file in (certificates.cert_file, certificates.key_file)]
    authority = ("tls-ca-cert-file", "ca.pem", certificates.ca_cert_file.read_bytes())
    names = [*SUITES_13, *(suite.name for suite in SUITES_12)]
    TlsConfig(cert=files[0], key=files[1], authorities=[authority], suites=names)
    with pytest.raises(ConfigError, match="NO_SUCH"):
        TlsConfig(cert=files[0], key=files[1], authorities=[authority], suites=[*names, "NO_SUCH"])
