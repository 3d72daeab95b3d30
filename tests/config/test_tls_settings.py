"""What the TLS directives say together, and how the files that they name are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from clusterbus.config import Config
from clusterbus.config import tls_settings as module
from clusterbus.config.config import HIDDEN_TEXT
from clusterbus.errors import ConfigError

from tests.peers.authorities import Authority, Files
from tests.peers.tls import Certificates

SECRET = "open sesame"


def keywords(certificates: Certificates, **others: object) -> dict[str, Any]:
    words = {name.replace("-", "_"): value for name, value in certificates.directives().items()}
    return words | {"tls_port": 7001} | others


@pytest.mark.parametrize(
    ("text", "tls12", "tls13"),
    [
        ("", True, True),
        ("TLSv1.2", True, False),
        ("tlsV1.3", False, True),
        ("TLSv1.3 TLSv1.2", True, True),
        ("TLSv1 TLSv1.1 TLSv1.3", False, True),
    ],
)
def test_protocols(text: str, tls12: bool, tls13: bool) -> None:
    assert Config.from_keywords(tls_protocols=text).tls_settings.speaks == (tls12, tls13)


@pytest.mark.parametrize("text", ["TLSv1", "TLSv1 TLSv1.1", "TLSv1.4", "TLSv1.2,TLSv1.3", "TLSv1.2  TLSv1.3", "ssl3"])
def test_protocols_that_leave_none_or_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="tls-protocols"):
        Config.from_keywords(tls_protocols=text)
    config = Config()
    with pytest.raises(ConfigError, match="tls-protocols"):
        config.set("tls-protocols", text)
    assert config.tls_protocols == ""


def test_what_is_not_honoured_is_said() -> None:
    config = Config.from_keywords(
        tls_protocols="TLSv1 TLSv1.2",
        tls_ciphers="AES256-SHA:AESGCM",
        tls_ciphersuites="TLS_AES_128_GCM_SHA256",
        tls_client_cert_file="client.pem",
    )
    said = list(config.tls_settings.warnings(sets_suites=False))
    assert len(said) == 3, said
    assert "TLSv1 is not spoken" in said[0]
    assert "AES256-SHA" in said[1]
    assert "only together" in said[2]
    assert list(Config().tls_settings.warnings(sets_suites=False)) == []


def test_ciphersuites_are_not_honoured_on_the_client_port_of_an_older_python(certificates: Certificates) -> None:
    settings = Config.from_keywords(**keywords(certificates), tls_ciphersuites="TLS_AES_128_GCM_SHA256").tls_settings
    assert [text for text in settings.warnings(sets_suites=False) if "tls-ciphersuites" in text]
    assert list(settings.warnings(sets_suites=True)) == []


def test_passphrases_are_shown_nowhere() -> None:
    config = Config.from_keywords(tls_key_file_pass=SECRET, tls_client_key_file_pass=SECRET)
    shown = config.get("*")
    assert shown["tls-key-file-pass"] == shown["tls-client-key-file-pass"] == HIDDEN_TEXT
    assert SECRET not in repr(shown) + repr(config.tls_settings)
    assert Config().get("tls-key-file-pass") == {"tls-key-file-pass": ""}
    assert config.tls_settings.key_pass == SECRET


def test_a_passphrase_is_kept_by_a_rewrite(tmp_path: Path) -> None:
    file = tmp_path / "node.conf"
    file.write_text(f'tls-key-file-pass "{SECRET}"\n')
    config = Config.from_arguments([str(file)])
    config.set("maxclients", "77")
    config.rewrite()
    assert Config.from_arguments([str(file)]).tls_key_file_pass == SECRET


@pytest.mark.parametrize("name", ["tls-cert-file", "tls-key-file", "tls-ca-cert-file"])
def test_only_regular_files_within_a_limit_are_read(
    certificates: Certificates, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, missing = tmp_path / "pipe", tmp_path / "missing"
    os.mkfifo(pipe)
    for file, reason in ((pipe, "no regular file"), (tmp_path, "no regular file"), (missing, "No such file")):
        with pytest.raises(ConfigError, match=f"{name} .*{reason}"):
            Config.from_keywords(**keywords(certificates, **{name.replace("-", "_"): file}))
    long = tmp_path / "long"
    monkeypatch.setattr(module, "TLS_FILE_LEN_MAX_BYTES", 4_096)
    assert max(Path(file).stat().st_size for file in (certificates.cert_file, certificates.key_file)) <= 4_096
    for size, reason in ((4_096, ""), (4_097, f"{name} .*more than 4096 bytes")):
        long.write_bytes(b"x" * size)
        keyword = name.replace("-", "_")
        words = keywords(certificates) | {keyword: long}
        if not reason:
            Config.from_keywords(**words)
        else:
            with pytest.raises(ConfigError, match=reason):
                Config.from_keywords(**words)


def test_a_file_that_vanishes_does_not_hinder_other_changes(tmp_path: Path) -> None:
    files = Files(tmp_path, Authority())
    config = Config.from_keywords(**files.keywords(), tls_port=7001)
    files.cert_file.unlink()
    config.set("maxclients", "77")
    with pytest.raises(ConfigError, match=r"tls-cert-file .*No such file"):
        config.set("tls-auth-clients", "no")
    assert config.tls_auth_clients == "yes"


def test_of_a_directory_only_hashed_names_are_read_each_certificate_once(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    words = keywords(certificates, tls_ca_cert_dir=folder) | {"tls_ca_cert_file": None}
    (folder / "plain.pem").write_bytes(Authority("plain").pem)
    with pytest.raises(ConfigError, match=r"tls-ca-cert-dir .*hash"):
        Config.from_keywords(**words)
    first, second = Authority("first").pem, Authority("second").pem
    for name, pem in (("0123abcd.0", first), ("0123abcd.1", second), ("ffffffff.0", first)):
        (folder / name).write_bytes(pem)
    config = Config.from_keywords(**words)
    files = config.tls_settings.read()
    assert [content for _, _, content in files.authorities] == [first, second]
    (folder / "0123abcd.1").write_bytes(Authority("third").pem)
    assert config.tls_settings.read().fingerprint != files.fingerprint
    monkeypatch.setattr(module, "CA_DIR_FILES_MAX", 2)
    with pytest.raises(ConfigError, match="more than 2"):
        config.tls_settings.read()
    with pytest.raises(ConfigError, match=r"tls-ca-cert-dir .*No such file"):
        Config.from_keywords(**words | {"tls_ca_cert_dir": tmp_path / "missing"})


def test_a_client_certificate_needs_its_key(tmp_path: Path, certificates: Certificates) -> None:
    client = Files(tmp_path, Authority())
    config = Config.from_keywords(**keywords(certificates), tls_client_cert_file=client.cert_file)
    assert not config.tls_settings.has_client_identity
    config.set("tls-client-key-file", str(client.key_file))
    assert config.tls_settings.has_client_identity
    assert len(config.tls_settings.read().by_directive) == 4
