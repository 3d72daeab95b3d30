"""Directives that are known and do nothing here, so that a real valkey.conf or redis.conf starts a node.

Names, kinds, ranges, defaults, aliases and whether CONFIG SET may change them are those of src/config.c of Valkey 9.1,
and of Redis 7.0 for the few that only it has. A row that gets an effect moves to `directives`, and its attribute gets
an annotation in `Config`. Pure data. Any thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from clusterbus.config.directive import Directive
from clusterbus.config.kinds import (
    INT_MAX,
    LONG_MAX,
    UINT_MAX,
    ULONG_MAX,
    Choice,
    Integer,
    Kind,
    Memory,
    Octal,
    Text,
    YesNo,
    base_name,
    event_classes,
)
from clusterbus.config.several_kinds import HostAndPort, Integers, SavePoints, Words
from clusterbus.wire import PORT_MAX

_SWITCH: Final = YesNo()
_TEXT: Final = Text()
_PORT: Final = Integer(0, PORT_MAX)
_COUNT: Final = Integer(0, INT_MAX)
_SIGNED: Final = Integer(-INT_MAX - 1, INT_MAX)
_LONG: Final = Integer(0, LONG_MAX)
_ALLOWED: Final = Choice("no", "yes", "local")
_EVICTION: Final = Choice(
    *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
    *("allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"),
)
_FACILITY: Final = Choice("user", *(f"local{number}" for number in range(8)))


def _live(name: str, kind: Kind, default: str, *aliases: str) -> Directive:
    """A row that CONFIG SET may change."""
    return Directive(name, kind, default, "", True, aliases, without_effect=True)


def _fixed(name: str, kind: Kind, default: str, *aliases: str) -> Directive:
    """A row that CONFIG SET may not change."""
    return Directive(name, kind, default, "", False, aliases, without_effect=True)


def _rows(reason: str, *directives: Directive) -> tuple[Directive, ...]:
    """Rows that have no effect for one and the same reason."""
    return tuple(replace(directive, doc=reason) for directive in directives)


WITHOUT_EFFECT: Final[tuple[Directive, ...]] = (
    *_rows(
        "There is no data set of its own that would be saved, limited or tuned.",
        _fixed("rdbchecksum", _SWITCH, "yes"),
        _live("rdbcompression", _SWITCH, "yes"),
        _live("rdb-del-sync-files", _SWITCH, "no"),
        _live("activerehashing", _SWITCH, "yes"),
        _live("stop-writes-on-bgsave-error", _SWITCH, "yes"),
        _live("lazyfree-lazy-eviction", _SWITCH, "yes"),
        _live("lazyfree-lazy-expire", _SWITCH, "yes"),
        _live("lazyfree-lazy-server-del", _SWITCH, "yes"),
        _live("lazyfree-lazy-user-del", _SWITCH, "yes"),
        _live("lazyfree-lazy-user-flush", _SWITCH, "yes"),
        _live("aof-rewrite-incremental-fsync", _SWITCH, "yes"),
        _live("no-appendfsync-on-rewrite", _SWITCH, "no"),
        _live("rdb-save-incremental-fsync", _SWITCH, "yes"),
        _live("aof-load-truncated", _SWITCH, "yes"),
        _live("aof-use-rdb-preamble", _SWITCH, "yes"),
        _live("aof-timestamp-enabled", _SWITCH, "no"),
        _live("jemalloc-bg-thread", _SWITCH, "yes"),
        _live("activedefrag", _SWITCH, "no"),
        _live("aof-disable-auto-gc", _SWITCH, "no"),
        _live("hide-user-data-from-log", _SWITCH, "yes"),
        _live("import-mode", _SWITCH, "no"),
        _live("dbfilename", Text(base_name("dbfilename")), "dump.rdb"),
        _fixed("appendfilename", Text(base_name("appendfilename")), "appendonly.aof"),
        _fixed("appenddirname", Text(base_name("appenddirname")), "appendonlydir"),
        _fixed("aof-rewrite-cpulist", _TEXT, "", "aof_rewrite_cpulist"),
        _live("locale-collate", _TEXT, ""),
        _fixed("hash-seed", _TEXT, ""),
        _live("maxmemory-policy", _EVICTION, "noeviction"),
        _live("appendfsync", Choice("everysec", "always", "no"), "everysec"),
        _live("sanitize-dump-payload", Choice("no", "yes", "clients"), "no"),
        _live("rdb-version-check", Choice("strict", "relaxed"), "strict"),
        _fixed("databases", Integer(1, INT_MAX), "16"),
        _fixed("cluster-databases", Integer(1, INT_MAX), "1"),
        _live("min-string-size-avoid-copy-reply", _COUNT, "16384"),
        _live("min-string-size-avoid-copy-reply-threaded", _COUNT, "65536"),
        _live("prefetch-batch-max-size", Integer(0, 128), "16"),
        _live("auto-aof-rewrite-percentage", _COUNT, "100"),
        _live("list-max-listpack-size", _SIGNED, "-2", "list-max-ziplist-size"),
        _live("active-defrag-cycle-min", Integer(1, 99), "1"),
        _live("active-defrag-cycle-max", Integer(1, 99), "25"),
        _live("active-defrag-threshold-lower", Integer(0, 1000), "10"),
        _live("active-defrag-threshold-upper", Integer(0, 1000), "100"),
        _live("active-defrag-cycle-us", Integer(0, 100000), "500"),
        _live("lfu-log-factor", _COUNT, "10"),
        _live("lfu-decay-time", _COUNT, "1"),
        _live("maxmemory-samples", Integer(1, 64), "5"),
        _live("maxmemory-eviction-tenacity", Integer(0, 100), "10"),
        _live("list-compress-depth", _COUNT, "0"),
        _live("rdb-key-save-delay", _SIGNED, "0"),
        _live("key-load-delay", _SIGNED, "0"),
        _live("active-expire-effort", Integer(1, 10), "1"),
        _live("hz", _COUNT, "10"),
        _live("active-defrag-max-scan-fields", Integer(1, LONG_MAX), "1000"),
        _live("stream-node-max-entries", _LONG, "100"),
        _live("maxmemory", Memory(0, ULONG_MAX), "0"),
        _live("hash-max-listpack-entries", _LONG, "512", "hash-max-ziplist-entries"),
        _live("set-max-intset-entries", _LONG, "512"),
        _live("set-max-listpack-entries", _LONG, "128"),
        _live("set-max-listpack-value", _LONG, "64"),
        _live("zset-max-listpack-entries", _LONG, "128", "zset-max-ziplist-entries"),
        _live("active-defrag-ignore-bytes", Memory(1, LONG_MAX), "104857600"),
        _live("hash-max-listpack-value", Memory(0, LONG_MAX), "64", "hash-max-ziplist-value"),
        _live("stream-node-max-bytes", Memory(0, LONG_MAX), "4096"),
        _live("zset-max-listpack-value", Memory(0, LONG_MAX), "64", "zset-max-ziplist-value"),
        _live("hll-sparse-max-bytes", Memory(0, LONG_MAX), "3000"),
        _live("auto-aof-rewrite-min-size", Memory(0, LONG_MAX), "67108864"),
        _live("loading-process-events-interval-bytes", Integer(1024, INT_MAX), "2097152"),
        _live("notify-keyspace-events", Text(event_classes), ""),
        _fixed("list-max-ziplist-entries", _COUNT, "512"),
        _fixed("list-max-ziplist-value", _COUNT, "64"),
        _live("dynamic-hz", _SWITCH, "yes"),
        _live("appendonly", _SWITCH, "no"),
        _live("save", SavePoints(), "3600 1 300 100 60 10000"),
    ),
    *_rows(
        "Nothing is replicated; CLUSTER REPLICATE names the primary.",
        _live("repl-disable-tcp-nodelay", _SWITCH, "no"),
        _fixed("repl-mptcp", _SWITCH, "no"),
        _live("repl-diskless-sync", _SWITCH, "yes"),
        _live("dual-channel-replication-enabled", _SWITCH, "no"),
        _live("replica-lazy-flush", _SWITCH, "yes", "slave-lazy-flush"),
        _live("replica-serve-stale-data", _SWITCH, "yes", "slave-serve-stale-data"),
        _live("replica-read-only", _SWITCH, "yes", "slave-read-only"),
        _live("replica-ignore-maxmemory", _SWITCH, "yes", "slave-ignore-maxmemory"),
        _live("replica-announced", _SWITCH, "yes"),
        _live("replica-ignore-disk-write-errors", _SWITCH, "no"),
        _live("replica-announce-ip", _TEXT, "", "slave-announce-ip"),
        _live("repl-diskless-load", Choice("disabled", "on-empty-db", "swapdb", "flush-before-load"), "disabled"),
        _live("propagation-error-behavior", Choice("ignore", "panic", "panic-on-replicas"), "ignore"),
        _live("replica-priority", _COUNT, "100", "slave-priority"),
        _live("repl-diskless-sync-delay", _COUNT, "5"),
        _live("replica-announce-port", _PORT, "0", "slave-announce-port"),
        _live("repl-timeout", Integer(1, INT_MAX), "60"),
        _live("repl-ping-replica-period", Integer(1, INT_MAX), "10", "repl-ping-slave-period"),
        _live("min-replicas-to-write", _COUNT, "0", "min-slaves-to-write"),
        _live("min-replicas-max-lag", _COUNT, "10", "min-slaves-max-lag"),
        _live("repl-diskless-sync-max-replicas", _COUNT, "0"),
        _live("repl-backlog-size", Memory(1, LONG_MAX), "10485760"),
        _live("repl-backlog-ttl", _LONG, "3600"),
        _fixed("replicaof", HostAndPort(), "", "slaveof"),
    ),
    *_rows(
        "There is one password, requirepass, and no users with rights of their own.",
        _fixed("aclfile", _TEXT, ""),
        _live("acl-pubsub-default", Choice("allchannels", "resetchannels"), "resetchannels"),
        _live("acllog-max-len", _LONG, "128"),
        _live("tls-auth-clients-user", Choice("CN", "URI", "off"), "off"),
    ),
    *_rows(
        "No scripts and no modules run here.",
        _live("lua-enable-insecure-api", _SWITCH, "no", "lua-enable-deprecated-api"),
        _fixed("enable-module-command", _ALLOWED, "no"),
        _live("busy-reply-threshold", _LONG, "5000", "lua-time-limit"),
        _fixed("lua-replicate-commands", _SWITCH, "yes"),
    ),
    *_rows(
        "The client port has no such limit, log or mode.",
        _live("extended-redis-compatibility", _SWITCH, "no"),
        _live("max-new-connections-per-cycle", Integer(1, 1000), "10"),
        _live("max-new-tls-connections-per-cycle", Integer(1, 1000), "1"),
        _fixed("client-default-resp", Integer(2, 3), "2"),
        _live("tracking-table-max-keys", _LONG, "1000000"),
    ),
    *_rows(
        "The bus does this in its own way.",
        _live("cluster-slot-migration-log-max-len", _LONG, "1000"),
        _live("slot-migration-max-failover-repl-bytes", Memory(0, LONG_MAX, minus_one=True), "0"),
    ),
    *_rows(
        "Clients and nodes connect over TCP to the addresses of bind.",
        _fixed("unixsocket", _TEXT, ""),
        _fixed("unixsocketgroup", _TEXT, ""),
        _live("bind-source-addr", _TEXT, ""),
        _fixed("mptcp", _SWITCH, "no"),
        _live("rdma-port", _PORT, "0"),
        _fixed("rdma-rx-size", Integer(65536, 16777216), "1048576"),
        _fixed("rdma-completion-vector", Integer(-1, 1024), "-1"),
        _fixed("unixsocketperm", Octal(0, 0o777), "0"),
        _fixed("socket-mark-id", Integer(0, UINT_MAX), "0"),
        _live("rdma-bind", Words(), ""),
    ),
    *_rows(
        "TLS sessions are not resumed, and rustls and OpenSSL choose what they agree on with a peer.",
        _live("tls-session-cache-size", _COUNT, "20480"),
        _live("tls-session-cache-timeout", _COUNT, "300"),
        _live("tls-replication", _SWITCH, "no"),
        _live("tls-prefer-server-ciphers", _SWITCH, "no"),
        _live("tls-session-caching", _SWITCH, "yes"),
        _live("tls-dh-params-file", _TEXT, ""),
    ),
    *_rows(
        "This is left to the operating system or to who runs the process.",
        _fixed("always-show-logo", _SWITCH, "no"),
        _fixed("set-proc-title", _SWITCH, "yes"),
        _fixed("syslog-enabled", _SWITCH, "no"),
        _live("crash-log-enabled", _SWITCH, "yes"),
        _live("crash-memcheck-enabled", _SWITCH, "yes"),
        _live("use-exit-on-panic", _SWITCH, "no"),
        _fixed("disable-thp", _SWITCH, "yes"),
        _fixed("enable-debug-assert", _SWITCH, "no"),
        _fixed("req-res-logfile", _TEXT, ""),
        _fixed("syslog-ident", _TEXT, "valkey"),
        _fixed("server-cpulist", _TEXT, "", "server_cpulist"),
        _fixed("bio-cpulist", _TEXT, "", "bio_cpulist"),
        _fixed("bgsave-cpulist", _TEXT, "", "bgsave_cpulist"),
        _live("ignore-warnings", _TEXT, ""),
        _live("proc-title-template", _TEXT, "{title} {listen-addr} {server-mode}"),
        _live("debug-context", _TEXT, ""),
        _fixed("syslog-facility", _FACILITY, "local0"),
        _live("oom-score-adj", Choice("no", "yes", "relative", "absolute"), "no"),
        _fixed("enable-protected-configs", _ALLOWED, "no"),
        _live("log-format", Choice("legacy", "logfmt", "json"), "legacy"),
        _live("log-timestamp-format", Choice("legacy", "iso8601", "milliseconds"), "legacy"),
        _live("min-io-threads-avoid-copy-reply", _COUNT, "7"),
        _live("watchdog-period", _COUNT, "0"),
        _live("oom-score-adj-values", Integers(3, -2000, 2000), "0 200 800"),
        _fixed("io-threads-do-reads", _SWITCH, "no"),
        _live("events-per-io-thread", _COUNT, "2"),
    ),
)
