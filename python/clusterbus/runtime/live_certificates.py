"""`LiveCertificates`: the TLS material in use, and how it is renewed while the node runs.

Owns the one material that bus, client port and connections to other nodes are given, the look at its files every
tls-auto-reload-interval seconds, and what INFO tells of both. What is new is made first and taken as a whole; what
cannot be used changes nothing. Files are read in a thread of its own, except for CONFIG SET, whose client waits for the
answer as in Valkey. Must never end a connection. Main thread.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator

from clusterbus._core import TlsConfig
from clusterbus.config import Config
from clusterbus.config.tls_contexts import SETS_SUITES
from clusterbus.config.tls_settings import TLS_DIRECTIVES, TlsSettings
from clusterbus.errors import ConfigError
from clusterbus.runtime.log import logger
from clusterbus.runtime.tls_material import TlsMaterial, build

Line = tuple[str, object]


class _Look:
    """One look at the files, in a thread of its own."""

    def __init__(self, settings: TlsSettings, before: TlsMaterial) -> None:
        self.before = before
        self.made: TlsMaterial | None = None
        self.error = ""
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="clusterbus-tls", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.made = _renewed(self._settings, self.before)
        except ConfigError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"the TLS files cannot be used: {error!r}"


class LiveCertificates:
    """Follows the TLS directives of `config`. Raises ConfigError, which names directive and file, if they cannot be
    used from the start. A certificate that has expired is a warning then: there is nothing better to keep.
    """

    def __init__(
        self,
        config: Config,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._monotonic_s, self._unix_s = monotonic_s, unix_s
        self._users: list[Callable[[], None]] = []
        self._look: _Look | None = None
        self._looked_s = monotonic_s()
        self._reloads = 0
        self._failures = 0
        self._last_reload_s = 0
        self._last_error = ""
        self._material: TlsMaterial | None = None
        settings = config.tls_settings
        if settings.is_used:
            self._material = build(settings)
            if fault := self._material.fault_of_time(None, unix_s()):
                logger.warning("%s", fault)
            self._warn(settings)

    # ---------------------------------------------------------------- what connections are made from

    @property
    def bus(self) -> TlsConfig | None:
        """The rules of the bus; None if it does not speak TLS."""
        material = self._material
        return material.bus if material is not None and material.settings.on_bus else None

    def port(self) -> ssl.SSLContext | None:
        """The rules of the client port; None if this node does not speak TLS."""
        return self._material.port if self._material is not None else None

    def peers(self) -> ssl.SSLContext:
        """The rules of connections to other nodes' client ports. Raises ConfigError. Any thread."""
        material = self._material
        return (material or build(self._config.tls_settings)).peers

    def on_renewed(self, user: Callable[[], None]) -> Callable[[], None]:
        """Calls `user` whenever there is another material. Call the returned function to stop."""
        self._users.append(user)

        def stop() -> None:
            if user in self._users:
                self._users.remove(user)

        return stop

    # ---------------------------------------------------------------- renewal

    def follow(self) -> Callable[[], None]:
        """From now on changes of the TLS directives renew the material, or are refused. Call the returned function to
        stop that.
        """
        return self._config.on_change(self._on_change, *TLS_DIRECTIVES)

    def _on_change(self, config: Config, _changed: frozenset[str]) -> None:
        settings, before = config.tls_settings, self._material
        if not settings.is_used:
            self._take(None)
            return
        try:
            material = _renewed(settings, before)
            if before is not None and (fault := material.fault_of_time(before, self._unix_s())):
                raise ConfigError(fault)
        except ConfigError as error:
            if before is not None and before.settings == settings:
                self._fail(str(error))
            raise
        self._succeed(material)
        if before is not None and before.settings != settings:
            self._warn(settings)

    def tick(self) -> None:
        """Begins a look at the files when it is due, and takes what the last one has found."""
        if self._look is not None:
            if self._look.is_done:
                look, self._look = self._look, None
                self._finish(look)
            return
        interval_s = self._config.tls_auto_reload_interval
        if not interval_s or self._material is None or self._monotonic_s() - self._looked_s < interval_s:
            return
        self._looked_s = self._monotonic_s()
        self._look = _Look(self._material.settings, self._material)

    def _finish(self, look: _Look) -> None:
        if look.before is not self._material:
            return  # CONFIG SET was faster
        error = look.error
        if look.made is not None and look.made is not look.before:
            error = look.made.fault_of_time(look.before, self._unix_s())
        if error:
            self._fail(error)
        elif look.made is not None:
            self._succeed(look.made)

    def _fail(self, reason: str) -> None:
        self._failures += 1
        if reason != self._last_error:
            logger.warning("The TLS files are not taken, those from before stay in use: %s", reason)
        self._last_error = reason

    def _succeed(self, material: TlsMaterial) -> None:
        if self._last_error:
            logger.info("The TLS files can be used again")
        self._last_error = ""
        if material is not self._material:
            self._take(material)

    def _take(self, material: TlsMaterial | None) -> None:
        before, self._material = self._material, material
        if material is not None and before is not None:
            self._reloads += 1
            self._last_reload_s = int(self._unix_s())
            logger.info("TLS files loaded for new connections; %s", _described(material))
        for user in list(self._users):
            user()

    def _warn(self, settings: TlsSettings) -> None:
        for text in settings.warnings(sets_suites=SETS_SUITES):
            logger.warning("%s", text)

    # ---------------------------------------------------------------- INFO

    def lines(self) -> Iterator[Line]:
        """The lines of INFO's section TLS; the first six are Valkey's."""
        certificates = dict(self._material.certificates) if self._material is not None else {}
        for name in ("server", "client", "ca"):
            certificate = certificates.get(name)
            remaining_s = certificate.not_after_s - int(self._unix_s()) if certificate is not None else 0
            yield f"tls_{name}_cert_serial", certificate.serial if certificate is not None else "none"
            yield f"tls_{name}_cert_expires_in_seconds", max(0, remaining_s)
        yield "tls_reloads", self._reloads
        yield "tls_reload_failures", self._failures
        yield "tls_last_reload_status", "err" if self._last_error else "ok"
        yield "tls_last_reload_time", self._last_reload_s
        yield "tls_last_reload_error", " ".join(self._last_error.split())

    @property
    def is_used(self) -> bool:
        """Whether any port of this node speaks TLS."""
        return self._material is not None


def _renewed(settings: TlsSettings, before: TlsMaterial | None) -> TlsMaterial:
    """`before` itself if neither settings nor files have changed: keys are not decrypted for nothing."""
    if before is not None and before.settings == settings:
        with contextlib.suppress(ConfigError):  # `build` says it
            if settings.read().fingerprint == before.fingerprint:
                return before
    return build(settings)


def _described(material: TlsMaterial) -> str:
    days = {name: certificate for name, certificate in material.certificates if certificate is not None}
    server = days.get("server")
    if server is None:
        return "the certificate has no validity"
    until = time.strftime("%Y-%m-%d", time.gmtime(server.not_after_s))
    return f"certificate {server.serial} is valid until {until}"
