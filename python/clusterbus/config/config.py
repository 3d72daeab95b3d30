"""`Config`: the values of all directives, as typed attributes whose names have underscores.

A change is all or nothing: it is parsed, checked against the other values, and offered to the listeners. If any of
them refuses, it is taken back. Opens no socket; reads only configuration and TLS files. Main thread.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from clusterbus.config.address import BindAddress, resolve
from clusterbus.config.directive import Directive
from clusterbus.config.directives import BY_NAME, DIRECTIVES
from clusterbus.config.kinds import AlwaysOn, BufferLimits, Value
from clusterbus.config.rewrite import replace_file, rewritten
from clusterbus.config.statements import RENAME_COMMAND, STATEMENTS, check, is_statement
from clusterbus.config.syntax import Line, parse_command_line, read_file, read_stdin, read_text
from clusterbus.config.tls_settings import TLS_DIRECTIVES, TLS_NAMES, TlsSettings
from clusterbus.errors import ConfigError
from clusterbus.wire import BUS_PORT_OFFSET, PORT_MAX

Listener = Callable[["Config", frozenset[str]], None]
"""Called with the config and the names of the changed directives. It refuses the change by raising ConfigError."""

HIDDEN_TEXT: Final = "(redacted)"
"""What CONFIG GET shows of a passphrase that is set."""


class Config:
    """The values of all directives. Attributes are read-only; `set`, `set_many` and `update` change them.

    Built by `Config()` (defaults), `Config.from_arguments` (a command line) or `Config.from_keywords`
    (Python values).
    """

    port: int
    bind: tuple[str, ...]
    tcp_backlog: int
    tcp_keepalive: int
    timeout: int
    maxclients: int
    client_query_buffer_limit: int
    maxmemory_clients: int | str
    proto_max_bulk_len: int
    client_output_buffer_limit: BufferLimits
    protected_mode: bool
    requirepass: str
    primaryauth: str
    primaryuser: str
    dir: str
    loglevel: str
    logfile: str
    pidfile: str
    daemonize: bool
    supervised: str
    enable_debug_command: str
    io_threads: int
    io_threads_always_active: bool
    cluster_enabled: bool
    cluster_config_file: str
    cluster_node_timeout: int
    cluster_port: int
    cluster_announce_ip: str
    cluster_announce_port: int
    cluster_announce_tls_port: int
    cluster_announce_bus_port: int
    cluster_announce_hostname: str
    cluster_announce_human_nodename: str
    cluster_announce_client_ipv4: str
    cluster_announce_client_ipv6: str
    cluster_announce_client_port: int
    cluster_announce_client_tls_port: int
    cluster_config_save_behavior: str
    cluster_message_gossip_perc: int
    cluster_ping_interval: int
    cluster_preferred_endpoint_type: str
    availability_zone: str
    cluster_link_sendbuf_limit: int
    cluster_max_nodes: int
    cluster_max_handshakes: int
    cluster_max_trial_nodes: int
    cluster_max_anonymous_links: int
    cluster_max_anonymous_bytes: int
    cluster_max_links: int
    cluster_max_tls_handshakes: int
    cluster_tls_handshake_timeout: int
    cluster_first_packet_timeout: int
    cluster_require_full_coverage: bool
    cluster_replica_validity_factor: int
    cluster_replica_no_failover: str
    cluster_allow_replica_migration: bool
    cluster_migration_barrier: int
    cluster_blacklist_ttl: int
    cluster_log_max_len: int
    cluster_log_file: str
    cluster_manual_failover_timeout: int
    cluster_bus_port_protected_mode: bool
    cluster_allow_node_ids: tuple[str, ...]
    cluster_allow_networks: tuple[str, ...]
    cluster_allow_certificate_names: tuple[str, ...]
    cluster_pin_certificates: str
    cluster_label: str
    cluster_observer: bool
    cluster_epoch_jump_max: int
    shutdown_on_sigterm: tuple[str, ...]
    shutdown_on_sigint: tuple[str, ...]
    shutdown_timeout: int
    auto_failover_on_shutdown: bool
    cluster_allow_reads_when_down: bool
    cluster_allow_pubsubshard_when_down: bool
    commandlog_execution_slower_than: int
    commandlog_slow_execution_max_len: int
    commandlog_request_larger_than: int
    commandlog_large_request_max_len: int
    commandlog_reply_larger_than: int
    commandlog_large_reply_max_len: int
    latency_monitor_threshold: int
    latency_tracking: bool
    latency_tracking_info_percentiles: tuple[str, ...]
    cluster_slot_stats_enabled: bool
    metrics_port: int
    metrics_bind: tuple[str, ...]
    metrics_tls: bool
    tls_port: int
    tls_cluster: bool
    tls_cert_file: str
    tls_key_file: str
    tls_key_file_pass: str
    tls_client_cert_file: str
    tls_client_key_file: str
    tls_client_key_file_pass: str
    tls_ca_cert_file: str
    tls_ca_cert_dir: str
    tls_auth_clients: str
    tls_auto_reload_interval: int
    tls_protocols: str
    tls_ciphers: str
    tls_ciphersuites: str

    config_file: str | None
    """Absolute path of the file that was read at the start, and that `rewrite` writes; None if there was none."""
    without_effect: tuple[str, ...]
    """Names of what was written in the file or on the command line and does nothing here, in its order."""
    renamed_commands: tuple[tuple[str, str], ...]
    """Old and new name of each `rename-command`; an empty new name takes the command away."""
    asks_for_free_port: bool
    """Neither `port` nor `tls-port` was given a port: the node takes a free one when it opens (`free_ports`). Such a
    configuration listens nowhere in Valkey, which refuses it."""

    def __init__(self) -> None:
        self._listeners: list[tuple[Listener, frozenset[str] | None]]
        object.__setattr__(self, "_listeners", [])
        object.__setattr__(self, "config_file", None)
        object.__setattr__(self, "without_effect", ())
        object.__setattr__(self, "renamed_commands", ())
        object.__setattr__(self, "asks_for_free_port", False)
        for directive in DIRECTIVES:
            self._store(directive, directive.kind.parse(_words(directive, directive.default)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Config.{name} is read-only: change it by update({name}=...) or set()")

    def _store(self, directive: Directive, value: Value) -> None:
        if directive.name == "dir":
            value = os.path.abspath(str(value))
        if isinstance(value, BufferLimits):
            value = value.over(getattr(self, directive.attribute, value))
        object.__setattr__(self, directive.attribute, value)

    # ---------------------------------------------------------------- building

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Config:
        """Builds a Config from a command line `[CONFIG_FILE] [-] [--directive value ...]`.

        As in valkey-server the order is the file, standard input, then the command line, and later values win. Raises
        ConfigError with one line of text: the directive, its value, the file and line, and for an unknown name the
        known name that is like it, if there is one.
        """
        command_line = parse_command_line(arguments)
        config = cls()
        lines: list[Line] = []
        if command_line.config_file is not None:
            path = command_line.config_file
            lines += read_text(read_file(path), path)
            object.__setattr__(config, "config_file", os.path.abspath(path))
        if command_line.reads_stdin:
            lines += read_text(read_stdin(), "standard input")
        config._load([*lines, *command_line.lines])
        return config

    @classmethod
    def from_keywords(cls, config_file: str | None = None, **keywords: object) -> Config:
        """Builds a Config from Python values (`cluster_node_timeout=2000`, `bind=["127.0.0.1"]`, `tls_cluster=True`).

        They override the values of `config_file`, if there is one. None leaves a directive as it is. Raises
        ConfigError.
        """
        config = cls()
        lines: list[Line] = []
        if config_file is not None:
            lines += read_text(read_file(config_file), config_file)
            object.__setattr__(config, "config_file", os.path.abspath(config_file))
        config._load([*lines, *_lines_of_keywords(keywords)])
        return config

    def _load(self, lines: Iterable[Line]) -> None:
        saves: list[str] = []
        ignored: dict[str, None] = {}
        renamed: list[tuple[str, str]] = []
        for line in lines:
            directive = BY_NAME.get(line.name)
            if directive is None:
                _check_statement(line)
                if line.name == RENAME_COMMAND:
                    renamed.append((line.arguments[0].lower(), line.arguments[1].lower()))
                else:
                    ignored[line.name] = None
                continue
            value = _parsed(directive, line)
            if directive.without_effect or (isinstance(directive.kind, AlwaysOn) and line.arguments[0].lower() == "no"):
                ignored[directive.name] = None
            if directive.name == "save":
                saves = [*saves, str(value)] if value else []
                value = " ".join(saves)
            self._store(directive, value)
        object.__setattr__(self, "without_effect", tuple(ignored))
        object.__setattr__(self, "renamed_commands", tuple(renamed))
        object.__setattr__(self, "asks_for_free_port", not self.port and not self.tls_port)
        self._check(reads_files=True)

    # ---------------------------------------------------------------- checks across directives

    def _check(self, *, reads_files: bool = False) -> None:
        _ = self.bus_port
        if self.port and self.port == self.tls_port:
            raise ConfigError(f"port and tls-port are both {self.port}")
        if self.bus_port in (self.port, self.tls_port):
            raise ConfigError(f"cluster-port {self.bus_port} is a client port already")
        self._check_guard()
        needs = [name for name, on in (("tls-cluster yes", self.tls_cluster), ("tls-port", self.tls_port)) if on]
        if not needs:
            return
        missing = [name for name in ("tls-cert-file", "tls-key-file") if not self.path(name)]
        if not self.path("tls-ca-cert-file") and not self.path("tls-ca-cert-dir"):
            missing.append("tls-ca-cert-file")
        if missing:
            raise ConfigError(f"{' and '.join(needs)} needs {', '.join(missing)}")
        if reads_files:
            self.tls_settings.read()

    @property
    def has_authenticated_bus(self) -> bool:
        """Whether every peer of the bus must show a certificate of an authority that we trust."""
        return self.tls_cluster and self.tls_auth_clients == "yes"

    def _check_guard(self) -> None:
        """What says who may join must be able to."""
        is_mutual = self.has_authenticated_bus
        if self.cluster_bus_port_protected_mode and not is_mutual:
            missing = "tls-cluster is disabled" if not self.tls_cluster else "tls-auth-clients is not 'yes'"
            raise ConfigError(
                f"cluster-bus-port-protected-mode is enabled but {missing}, so nobody authenticates the cluster bus:"
                " give 'tls-cluster yes' and 'tls-auth-clients yes', or 'cluster-bus-port-protected-mode no' if only"
                " trusted hosts reach the bus port"
            )
        for name in ("cluster-allow-certificate-names", "cluster-pin-certificates"):
            if self.text(name) not in ("", "no") and not is_mutual:
                raise ConfigError(f"{name} needs tls-cluster yes and tls-auth-clients yes")

    @property
    def base_port(self) -> int:
        """The client port that the bus port follows: `port`, or with `tls-cluster` the `tls-port`."""
        return self.tls_port if self.tls_cluster else self.port

    def take_port(self, port: int) -> None:
        """Makes a free port the `base_port`, for a configuration that asks for one. Nobody listens to that yet."""
        self._store(BY_NAME["tls-port" if self.tls_cluster else "port"], port)
        self._check()

    @property
    def bus_port(self) -> int:
        """The port of the bus: `cluster-port`, or else the client port (with `tls-cluster` the `tls-port`) + 10000."""
        if self.cluster_port:
            return self.cluster_port
        name, base = "tls-port" if self.tls_cluster else "port", self.base_port
        if base + BUS_PORT_OFFSET > PORT_MAX:
            raise ConfigError(
                f"{name} {base}: the cluster bus would listen on {base + BUS_PORT_OFFSET}, above {PORT_MAX}; "
                f"take a port up to {PORT_MAX - BUS_PORT_OFFSET} or give cluster-port"
            )
        return base + BUS_PORT_OFFSET

    @property
    def bind_addresses(self) -> tuple[BindAddress, ...]:
        """The addresses of `bind` for sockets, each once. Raises ConfigError for a host name that nobody knows."""
        return self._addresses("bind")

    @property
    def metrics_addresses(self) -> tuple[BindAddress, ...]:
        """Those of `metrics-bind`, likewise."""
        return self._addresses("metrics-bind")

    def _addresses(self, name: str) -> tuple[BindAddress, ...]:
        try:
            found = [resolve(text) for text in getattr(self, BY_NAME[name].attribute)]
        except ConfigError as error:
            raise ConfigError(f"{name} {self.text(name)}: {error}") from None
        return tuple({address.ip: address for address in reversed(found) if address is not None}.values())[::-1]

    def path(self, name: str) -> str:
        """The absolute path of a directive that names a file relative to `dir`; "" if it is not set."""
        text = BY_NAME[name].kind.format(getattr(self, BY_NAME[name].attribute))
        return os.path.join(self.dir, text) if text else ""

    @property
    def tls_settings(self) -> TlsSettings:
        """What the TLS directives say now, as a value of its own that other threads may have."""
        return TlsSettings(
            on_bus=self.tls_cluster,
            on_port=self.tls_port != 0 or (self.metrics_tls and self.metrics_port != 0),
            auth_clients=self.tls_auth_clients,
            files={name: self.path(name) for name in TLS_NAMES},
            protocols=self.tls_protocols,
            ciphers=self.tls_ciphers,
            ciphersuites=self.tls_ciphersuites,
            key_pass=self.tls_key_file_pass,
            client_key_pass=self.tls_client_key_file_pass,
        )

    # ---------------------------------------------------------------- reading and changing

    def get(self, *patterns: str) -> dict[str, str]:
        """CONFIG GET: name and text of every directive whose name or alias matches one of the glob patterns."""
        names = [pattern.lower().replace("[^", "[!") for pattern in patterns]
        return {
            spelling: self.shown(spelling)
            for spelling in BY_NAME
            if any(fnmatch.fnmatchcase(spelling, pattern) for pattern in names)
        }

    def shown(self, name: str) -> str:
        """The value of one directive as CONFIG GET shows it: "(redacted)" in place of a passphrase."""
        text = self.text(name)
        return HIDDEN_TEXT if text and BY_NAME[name].hidden else text

    def text(self, name: str) -> str:
        """The value of one directive as text, passphrases too: not for what others see."""
        directive = BY_NAME[name]
        return directive.kind.format(getattr(self, directive.attribute))

    def set(self, name: str, text: str) -> None:
        """As `set_many`, for one directive."""
        self.set_many([(name, text)])

    def set_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        """CONFIG SET: changes several directives, all or none.

        Raises ConfigError for an unknown, immutable or repeated directive, a wrong value, and a change that a listener
        refuses. Nothing has changed then. The text of the error is Valkey's (src/config.c).
        """
        wanted: dict[str, tuple[Directive, str, str]] = {}
        pairs = list(pairs)
        for spelling, _ in pairs:
            if spelling.lower() not in BY_NAME:
                raise ConfigError(f"Unknown option or number of arguments for CONFIG SET - '{spelling}'")
        for spelling, text in pairs:
            directive = BY_NAME[spelling.lower()]
            if not directive.mutable:
                raise _refusal(spelling, "can't set immutable config")
            if directive.name in wanted:
                raise _refusal(spelling, "duplicate parameter")
            wanted[directive.name] = (directive, spelling, text)
        parsed: dict[str, Value] = {}
        for name, (directive, _, text) in wanted.items():
            try:
                parsed[name] = directive.kind.parse(_words(directive, text))
            except ConfigError as error:
                raise _refusal(name, str(error)) from None
        self._apply(parsed)

    def update(self, **keywords: object) -> None:
        """As `set_many`, with Python values: `config.update(cluster_node_timeout=500)`."""
        self.set_many([(line.name, " ".join(line.arguments)) for line in _lines_of_keywords(keywords)])

    def on_change(self, listener: Listener, *names: str) -> Callable[[], None]:
        """Calls `listener` after each change of the named directives, or of any directive if none is named.

        Call the returned function to stop. The listener may refuse a change by raising ConfigError: then all values go
        back, and every listener that was called, the refusing one included, is called again with the old values.
        """
        unknown = [name for name in names if name not in BY_NAME]
        if unknown:
            raise ConfigError(f"unknown directive {unknown[0]!r}{_nearest(unknown[0])}")
        entry = (listener, frozenset(names) if names else None)
        self._listeners.append(entry)

        def stop() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        return stop

    def _apply(self, parsed: Mapping[str, Value]) -> None:
        old = {name: getattr(self, BY_NAME[name].attribute) for name in parsed}
        changed = frozenset(name for name in parsed if parsed[name] != old[name] or name in TLS_NAMES)
        for name, value in parsed.items():
            self._store(BY_NAME[name], value)
        called: list[Listener] = []
        try:
            self._check(reads_files=not changed.isdisjoint(TLS_DIRECTIVES))
            for listener, names in self._listeners:
                if changed if names is None else changed & names:
                    called.append(listener)
                    listener(self, changed)
        except ConfigError as error:
            for name, value in old.items():
                self._store(BY_NAME[name], value)
            for listener in called:
                with contextlib.suppress(ConfigError):  # one that cannot go back keeps what it has
                    listener(self, changed)
            raise _refusal(next(iter(parsed)), str(error)) from error

    def rewrite(self) -> None:
        """CONFIG REWRITE: writes the present values into the file that was read at the start.

        Comments and the order of lines stay, and each directive's line gets the present value. Directives that have no
        line and differ from their default are appended. Raises ConfigError if there is no such file, or if it cannot be
        written (the old one then stays).
        """
        if self.config_file is None:
            raise ConfigError("The server is running without a config file")
        try:
            with open(self.config_file, "rb") as file:
                old = file.read()
        except FileNotFoundError:
            old = b""
        except OSError as error:
            raise ConfigError(f"Rewriting config file: {error.strerror}") from error
        values = {directive.name: self.text(directive.name) for directive in DIRECTIVES}
        replace_file(self.config_file, rewritten(old, values))


def _parsed(directive: Directive, line: Line) -> Value:
    """The value that a line gives a directive. Raises ConfigError, which names place, directive and words."""
    arguments = line.arguments
    if directive.kind.several and len(arguments) == 1 and arguments[0]:
        arguments = tuple(arguments[0].split())
    try:
        return directive.kind.parse(arguments)
    except ConfigError as error:
        shown = "".join(f" {word!r}" for word in line.arguments) if not directive.secret else ""
        raise ConfigError(f"{line.where}: {directive.name}{shown}: {error}") from None


def _check_statement(line: Line) -> None:
    """Refuses a line whose name no server knows, and a statement with a wrong number of words."""
    if not is_statement(line.name):
        raise ConfigError(
            f"{line.where}: unknown directive {line.name!r}{_nearest(line.name, (*BY_NAME, *STATEMENTS))}"
        )
    try:
        check(line.name, line.arguments)
    except ConfigError as error:
        raise ConfigError(f"{line.where}: {line.name}: {error}") from None


def _words(directive: Directive, text: str) -> list[str]:
    """The arguments that a value consists of when it is given as one text."""
    return (text.split() or [""]) if directive.kind.several else [text]


def _refusal(name: str, reason: str) -> ConfigError:
    return ConfigError(f"CONFIG SET failed (possibly related to argument '{name}') - {reason}")


def _nearest(name: str, names: Iterable[str] = BY_NAME) -> str:
    """The known name that an unknown one most likely stands for; nothing if none is like it."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (nearest: {near[0]})" if near else ""


def _lines_of_keywords(keywords: Mapping[str, object]) -> list[Line]:
    """Python keywords as lines: a bool becomes yes or no, a sequence several arguments, and None no line."""
    attributes = {directive.attribute: directive.name for directive in DIRECTIVES}
    lines = []
    for keyword, value in keywords.items():
        if keyword not in attributes:
            raise ConfigError(f"unknown keyword {keyword!r}{_nearest(keyword, attributes)}")
        if value is None:
            continue
        if isinstance(value, bool):
            arguments = ["yes" if value else "no"]
        elif isinstance(value, int | str):
            arguments = [str(value)]
        elif isinstance(value, os.PathLike):
            arguments = [str(os.fspath(value))]
        elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            arguments = [str(part) for part in value] or [""]
        else:
            raise ConfigError(f"{keyword}: {type(value).__name__} is no value of a directive")
        lines.append(Line("keyword", attributes[keyword], tuple(arguments)))
    return lines
