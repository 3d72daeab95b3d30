"""TLS material while the node runs: renewed as a whole, never half, and what INFO and the log tell of it."""

from __future__ import annotations

import logging
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.runtime import live_certificates, tls_material
from clusterbus.runtime.live_certificates import LiveCertificates

from tests.peers.authorities import DAY, Authority, Files, Leaf, now, replace
from tests.peers.ports import free_port

DEADLINE_S = 30.0
INTERVAL_S = 10
SECRET = "open sesame"


class Kept:
    """The material of one node, the files that it is made of, and clocks that the test moves."""

    def __init__(self, folder: Path, **directives: Any) -> None:
        self.authority = Authority("first")
        self.files = Files(folder, self.authority, passphrase=directives.get("tls_key_file_pass", ""))
        self.config = Config.from_keywords(
            **self.files.keywords(), tls_port=free_port(), tls_auto_reload_interval=INTERVAL_S, **directives
        )
        self.monotonic_s = 0.0
        self.renewals = 0
        self.certificates = LiveCertificates(self.config, monotonic_s=lambda: self.monotonic_s)
        self.certificates.follow()
        self.certificates.on_renewed(self._count)

    def _count(self) -> None:
        self.renewals += 1

    @property
    def info(self) -> dict[str, Any]:
        return dict(self.certificates.lines())

    def look(self) -> None:
        """The interval passes, and a look at the files comes to its end."""
        self.monotonic_s += INTERVAL_S
        self.certificates.tick()
        self.finish()

    def finish(self) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while self.certificates._look is not None:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
            self.certificates.tick()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings of the log so far."""
    caplog.set_level(logging.INFO, logger="clusterbus")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_info_shows_serial_numbers_and_what_is_left(kept: Kept) -> None:
    info = kept.info
    assert info["tls_server_cert_serial"] == kept.files.leaf.serial
    assert info["tls_client_cert_serial"] == "none"
    assert info["tls_client_cert_expires_in_seconds"] == 0
    assert 29 * 86_400 < info["tls_server_cert_expires_in_seconds"] <= 30 * 86_400
    assert 3_649 * 86_400 < info["tls_ca_cert_expires_in_seconds"] <= 3_650 * 86_400
    assert (info["tls_reloads"], info["tls_reload_failures"], info["tls_last_reload_status"]) == (0, 0, "ok")


def test_of_a_bundle_info_shows_the_authority_that_expires_first(kept: Kept) -> None:
    soon = Authority("soon", until=now() + DAY)
    kept.files.trust(kept.authority, soon)
    kept.look()
    assert kept.info["tls_ca_cert_serial"] == f"{soon.certificate.serial_number:X}".zfill(
        2 * ((soon.certificate.serial_number.bit_length() + 7) // 8)
    )
    assert 0 < kept.info["tls_ca_cert_expires_in_seconds"] <= 86_400


def test_files_are_looked_at_after_the_interval_and_taken_only_if_they_changed(kept: Kept) -> None:
    fresh = kept.authority.issue()
    kept.files.show(fresh)
    kept.monotonic_s += INTERVAL_S - 0.01
    kept.certificates.tick()
    assert kept.certificates._look is None
    kept.look()
    assert kept.info["tls_server_cert_serial"] == fresh.serial
    assert kept.info["tls_reloads"] == kept.renewals == 1
    assert abs(kept.info["tls_last_reload_time"] - time.time()) < 60
    kept.look()
    replace(kept.files.cert_file, kept.files.cert_file.read_bytes())
    kept.look()
    assert kept.info["tls_reloads"] == kept.renewals == 1, "the content is the same"


def test_without_an_interval_nothing_is_looked_at(kept: Kept) -> None:
    kept.config.set("tls-auto-reload-interval", "0")
    kept.files.show(kept.authority.issue())
    kept.monotonic_s += 10**9
    kept.certificates.tick()
    assert kept.certificates._look is None
    kept.config.set("tls-auto-reload-interval", "1")
    kept.certificates.tick()
    kept.finish()
    assert kept.renewals == 1


def test_a_second_authority_of_a_bundle_is_noticed(kept: Kept) -> None:
    kept.files.trust(kept.authority, Authority("second"))
    kept.look()
    assert kept.renewals == 1


Spoil = Callable[[Kept], None]


def spoil_missing(kept: Kept) -> None:
    kept.files.cert_file.unlink()


def spoil_garbage(kept: Kept) -> None:
    replace(kept.files.ca_cert_file, b"nothing of the kind")


def spoil_key(kept: Kept) -> None:
    replace(kept.files.key_file, kept.authority.issue().key_pem())


def spoil_garbage_key(kept: Kept) -> None:
    replace(kept.files.key_file, b"\0" * 100)


def spoil_expired(kept: Kept) -> None:
    kept.files.show(kept.authority.issue(since=now() - 2 * DAY, until=now() - DAY))


def spoil_early(kept: Kept) -> None:
    kept.files.show(kept.authority.issue(since=now() + DAY))


def spoil_pass(kept: Kept) -> None:
    kept.files.show(kept.authority.issue(), "another passphrase")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_missing, r"tls-cert-file .*No such file"),
        (spoil_garbage, r"tls-ca-cert-file .*holds no certificate"),
        (spoil_key, r"tls-key-file .*is not the key of tls-cert-file"),
        (spoil_garbage_key, r"tls-key-file .*node\.key"),
        (spoil_expired, r"tls-cert-file .*expired on 20"),
        (spoil_early, r"tls-cert-file .*not valid before 20"),
        (spoil_pass, r"tls-key-file .*cannot be decrypted with tls-key-file-pass"),
    ],
)
def test_a_bad_file_keeps_the_old_one_is_said_once_and_counted_until_it_is_mended(
    tmp_path: Path, warnings: Callable[[], list[str]], spoil: Spoil, reason: str
) -> None:
    kept = Kept(tmp_path, tls_key_file_pass=SECRET)
    before = (kept.certificates.bus, kept.certificates.port(), kept.certificates.peers())
    old = kept.files.leaf
    spoil(kept)
    for looks in (1, 2, 3):
        kept.look()
        info = kept.info
        assert (info["tls_last_reload_status"], info["tls_reload_failures"]) == ("err", looks)
        assert info["tls_server_cert_serial"] == old.serial
    assert (kept.certificates.bus, kept.certificates.port(), kept.certificates.peers()) == before
    assert kept.renewals == 0
    (said,) = warnings()
    assert re.search(reason, said), said
    assert re.search(reason, str(kept.info["tls_last_reload_error"]))
    assert SECRET not in said

    fresh = kept.authority.issue()
    kept.files.trust(kept.authority)
    kept.files.show(fresh, SECRET)
    kept.look()
    assert (kept.info["tls_last_reload_status"], kept.info["tls_last_reload_error"]) == ("ok", "")
    assert kept.info["tls_server_cert_serial"] == fresh.serial
    assert kept.info["tls_reload_failures"] == 3
    assert kept.renewals == 1


def test_the_old_files_put_back_clear_the_error(kept: Kept) -> None:
    pem = kept.files.cert_file.read_bytes()
    spoil_missing(kept)
    kept.look()
    replace(kept.files.cert_file, pem)
    kept.look()
    assert (kept.info["tls_last_reload_status"], kept.renewals) == ("ok", 0)


def test_config_set_takes_new_files_at_once_and_refuses_bad_ones(kept: Kept) -> None:
    fresh = kept.authority.issue()
    kept.files.show(fresh)
    kept.config.set("tls-cert-file", str(kept.files.cert_file))
    assert kept.info["tls_server_cert_serial"] == fresh.serial
    spoil_expired(kept)
    with pytest.raises(ConfigError, match="expired"):
        kept.config.set("tls-cert-file", str(kept.files.cert_file))
    assert kept.info["tls_server_cert_serial"] == fresh.serial
    assert kept.info["tls_last_reload_status"] == "err", "the file that is in use by name is bad"
    kept.files.show(fresh)
    kept.config.set("tls-cert-file", str(kept.files.cert_file))
    assert kept.info["tls_last_reload_status"] == "ok"


def test_another_file_that_is_refused_is_an_answer_and_no_lasting_error(kept: Kept, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"tls-ca-cert-file .*holds no certificate"):
        kept.config.set("tls-ca-cert-file", str(other))
    assert kept.config.tls_ca_cert_file == str(kept.files.ca_cert_file)
    assert (kept.info["tls_last_reload_status"], kept.info["tls_reload_failures"]) == ("ok", 0)


def test_a_refused_change_leaves_what_other_listeners_had(kept: Kept) -> None:
    """The files on the disk have become bad meanwhile, so there is no way back but to keep what there is."""
    calls: list[str] = []

    def refuse(config: Config, _changed: frozenset[str]) -> None:
        calls.append(config.tls_auth_clients)
        if config.tls_auth_clients == "no":
            kept.files.cert_file.write_bytes(b"bad now")
            raise ConfigError("not that")

    kept.config.on_change(refuse, "tls-auth-clients")
    with pytest.raises(ConfigError, match="not that"):
        kept.config.set("tls-auth-clients", "no")
    assert kept.config.tls_auth_clients == "yes"
    assert calls == ["no", "yes"]
    assert kept.certificates.bus is not None


def test_a_look_that_config_set_overtook_changes_nothing(kept: Kept) -> None:
    first, second = kept.authority.issue(), kept.authority.issue()
    kept.files.show(first)
    kept.monotonic_s += INTERVAL_S
    kept.certificates.tick()
    look = kept.certificates._look
    assert look is not None
    look._thread.join()
    kept.files.show(second)
    kept.config.set("tls-cert-file", str(kept.files.cert_file))
    kept.finish()
    assert kept.info["tls_server_cert_serial"] == second.serial
    assert kept.renewals == 1


def test_an_expired_certificate_starts_with_a_warning_and_may_be_followed_by_a_good_one(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    authority = Authority()
    files = Files(tmp_path, authority, authority.issue(since=now() - 2 * DAY, until=now() - DAY))
    config = Config.from_keywords(**files.keywords(), tls_port=free_port())
    certificates = LiveCertificates(config)
    certificates.follow()
    assert "expired" in warnings()[0]
    assert dict(certificates.lines())["tls_server_cert_expires_in_seconds"] == 0
    config.set("tls-auth-clients", "optional")
    files.show(authority.issue())
    config.set("tls-cert-file", str(files.cert_file))
    lines: dict[str, Any] = dict(certificates.lines())
    assert lines["tls_server_cert_expires_in_seconds"] > 0


def test_a_separate_client_certificate_has_lines_of_its_own(tmp_path: Path) -> None:
    authority = Authority()
    server, client = authority.issue(usage="server"), authority.issue(usage="client", until=now() + DAY)
    files, more = Files(tmp_path / "server", authority, server), Files(tmp_path / "client", authority, client, SECRET)
    config = Config.from_keywords(
        **files.keywords(),
        tls_port=free_port(),
        tls_client_cert_file=more.cert_file,
        tls_client_key_file=more.key_file,
        tls_client_key_file_pass=SECRET,
    )
    info: dict[str, Any] = dict(LiveCertificates(config).lines())
    assert (info["tls_server_cert_serial"], info["tls_client_cert_serial"]) == (server.serial, client.serial)
    assert 0 < info["tls_client_cert_expires_in_seconds"] <= 86_400


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL)


def started_with_key(folder: Path, leaf: Leaf, authority: Authority, key: Path, key_pass: str) -> LiveCertificates:
    files = Files(folder, authority, leaf)
    words = files.keywords() | {"tls_key_file": str(key)}
    return LiveCertificates(Config.from_keywords(**words, tls_port=free_port(), tls_key_file_pass=key_pass))


@pytest.mark.processes
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-iter", "100000"),
        ("-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"),
        ("-v2", "des3", "-v2prf", "hmacWithSHA1"),
        ("-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"),
        ("-scrypt",),
    ],
    ids=" ".join,
)
def test_keys_as_openssl_encrypts_them_are_read(tmp_path: Path, words: tuple[str, ...]) -> None:
    authority = Authority()
    leaf = authority.issue()
    plain, key = tmp_path / "plain.key", tmp_path / "encrypted.key"
    plain.write_bytes(leaf.key_pem())
    openssl(
        *("pkcs8", "-topk8", "-in", str(plain), "-out", str(key), "-passout", f"pass:{SECRET}"),
        *words,
    )
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in key.read_bytes()
    assert started_with_key(tmp_path, leaf, authority, key, SECRET).bus is not None
    with pytest.raises(ConfigError, match="cannot be decrypted with tls-key-file-pass"):
        started_with_key(tmp_path, leaf, authority, key, "wrong")
    with pytest.raises(ConfigError, match=r"is encrypted, and tls-key-file-pass is not set"):
        started_with_key(tmp_path, leaf, authority, key, "")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-iter", "1000001"), "1000001 iterations; at most 1000000"),
        (("-v1", "PBE-SHA1-3DES"), "openssl pkcs8 -topk8"),
    ],
    ids=["iterations", "old"],
)
def test_keys_that_take_too_long_or_are_weak_are_refused_with_what_to_do(
    tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    authority = Authority()
    leaf = authority.issue()
    plain, key = tmp_path / "plain.key", tmp_path / "encrypted.key"
    plain.write_bytes(leaf.key_pem())
    openssl("pkcs8", "-topk8", "-in", str(plain), "-out", str(key), "-passout", f"pass:{SECRET}", *words)
    with pytest.raises(ConfigError, match=rf"tls-key-file .*encrypted\.key.*{reason}"):
        started_with_key(tmp_path, leaf, authority, key, SECRET)


def test_the_traditional_encryption_is_refused_with_the_command_that_converts(tmp_path: Path) -> None:
    authority = Authority()
    leaf = authority.issue()
    key = tmp_path / "traditional.key"
    key.write_bytes(leaf.key_pem(SECRET, is_traditional=True))
    assert b"Proc-Type: 4,ENCRYPTED" in key.read_bytes()
    with pytest.raises(ConfigError, match=r"tls-key-file .*traditional form.*openssl pkcs8 -topk8") as refused:
        started_with_key(tmp_path, leaf, authority, key, SECRET)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("cut", [3, 40, 200])
def test_an_encrypted_key_that_is_cut_off_is_damaged(tmp_path: Path, cut: int) -> None:
    authority = Authority()
    leaf = authority.issue()
    key = tmp_path / "cut.key"
    pem = leaf.key_pem(SECRET)
    key.write_bytes(pem[:-cut])
    with pytest.raises(ConfigError, match="tls-key-file"):
        started_with_key(tmp_path, leaf, authority, key, SECRET)


def test_a_slow_key_is_decrypted_beside_the_main_thread(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick that begins a look returns while the look still goes on, and so do those after it."""
    gate = threading.Event()
    build = tls_material.build

    def slow(*arguments: Any) -> Any:
        assert gate.wait(DEADLINE_S)
        return build(*arguments)

    monkeypatch.setattr(live_certificates, "build", slow)
    kept.files.show(kept.authority.issue())
    kept.monotonic_s += INTERVAL_S
    kept.certificates.tick()
    kept.monotonic_s += 10 * INTERVAL_S
    kept.certificates.tick()
    assert kept.certificates._look is not None
    assert kept.renewals == 0
    gate.set()
    kept.finish()
    assert kept.renewals == 1


@pytest.mark.processes
def test_the_event_loop_runs_while_a_slow_key_is_decrypted(tmp_path: Path) -> None:
    """The core and OpenSSL both let other threads of Python run meanwhile."""
    authority = Authority()
    leaf = authority.issue()
    plain, key = tmp_path / "plain.key", tmp_path / "encrypted.key"
    plain.write_bytes(leaf.key_pem())
    openssl(
        *("pkcs8", "-topk8", "-in", str(plain), "-out", str(key), "-passout", f"pass:{SECRET}", "-iter", "1000000"),
    )
    reading = threading.Thread(target=lambda: started_with_key(tmp_path, leaf, authority, key, SECRET))
    longest_s, last_s = 0.0, time.monotonic()
    began_s = last_s
    reading.start()
    while reading.is_alive():
        time.sleep(0.001)
        longest_s, last_s = max(longest_s, time.monotonic() - last_s), time.monotonic()
    assert longest_s < (last_s - began_s) / 2, f"held up for {longest_s:.3f} of {last_s - began_s:.3f} s"


def test_a_node_without_tls_reads_nothing(tmp_path: Path) -> None:
    certificates = LiveCertificates(
        Config.from_keywords(tls_cert_file=tmp_path / "missing", tls_auto_reload_interval=1)
    )
    certificates.tick()
    assert certificates.bus is None
    assert certificates.port() is None
    assert not certificates.is_used
    assert dict(certificates.lines())["tls_server_cert_serial"] == "none"
