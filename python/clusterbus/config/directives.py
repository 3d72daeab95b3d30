"""The table of directives: one declaration feeds the parser, CONFIG GET, SET and REWRITE, the help, and `typed`.

Names, ranges, defaults and spellings are valkey.conf's (src/config.c of Valkey 9.1). Two defaults differ: `io-threads`
is 2, because offloading I/O is the purpose of this package; `cluster-config-save-behavior` is `best-effort`, because a
node that cannot save withholds what would need it (H47). Rows that do nothing here are in `without_effect`. Pure
data: reads no file, holds no value. Any thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus._core import IO_THREADS_MAX
from clusterbus.config.directive import Directive
from clusterbus.config.guard_directives import GUARD
from clusterbus.config.kinds import (
    INT_MAX,
    LONG_MAX,
    UINT_MAX,
    ULONG_MAX,
    AlwaysOn,
    Choice,
    FileName,
    Integer,
    Memory,
    Text,
    YesNo,
    announced_address,
    announced_hostname,
    announced_nodename,
    announced_zone,
    client_address,
    existing_folder,
    not_empty,
)
from clusterbus.config.log_levels import LEVEL_NUMBERS
from clusterbus.config.several_kinds import Addresses, Choices, OutputBufferLimits, Percentiles
from clusterbus.config.tls_ciphers import ciphers_reason, ciphersuites_reason
from clusterbus.config.tls_settings import protocols_reason
from clusterbus.config.without_effect import WITHOUT_EFFECT
from clusterbus.wire import PORT_MAX

_PORT = Integer(0, PORT_MAX)
NODES_LIMIT: Final = 100_000
"""The greatest value of the limits on nodes and links. A cluster has a thousand nodes, seldom more."""
HISTORY_LEN_MAX: Final = 65_536
SHUTDOWN_WORDS: Final = Choices(
    *("default", "save", "nosave", "now", "force", "safe", "failover"),
    not_together=("save", "nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
)

WITH_EFFECT: Final[tuple[Directive, ...]] = (
    # ---- network
    Directive("port", _PORT, "6379", "TCP port for clients; 0 is none, or without tls-port any free one.", True),
    Directive(
        "bind",
        Addresses(),
        "* -::*",
        "Addresses to listen on, for clients and the bus; with a leading '-' an address the machine lacks is skipped.",
        True,
    ),
    Directive("tcp-backlog", Integer(0, INT_MAX), "511", "Length of the queue of connections not yet accepted."),
    Directive(
        "tcp-keepalive",
        Integer(0, INT_MAX),
        "300",
        "Seconds between keepalive probes to clients; 0 is off.",
        True,
    ),
    Directive("timeout", Integer(0, INT_MAX), "0", "Seconds after which an idle client is closed; 0 is never.", True),
    Directive("maxclients", Integer(1, UINT_MAX), "10000", "Most clients that may be connected at once.", True),
    Directive(
        "client-output-buffer-limit",
        OutputBufferLimits(),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        "Unread output that closes a client of the class: HARD bytes at once (0 is 64mb), or SOFT bytes (0 is never) "
        "for more than SECONDS.",
        True,
    ),
    Directive(
        "client-query-buffer-limit",
        Memory(1048576, LONG_MAX),
        "33554432",
        "Bytes of one client's request, or of all that its transaction holds, which close the client.",
        True,
    ),
    Directive(
        "maxmemory-clients",
        Memory(0, LONG_MAX, percent_most=100),
        "0",
        "Bytes that all clients together may hold in unfinished requests and unread output, or a percentage of "
        "maxmemory, before those that hold most are closed; 0 is no limit.",
        True,
    ),
    Directive(
        "proto-max-bulk-len",
        Memory(1048576, LONG_MAX),
        "16777216",
        "Most bytes of one argument of a client's request.",
        True,
    ),
    Directive(
        "protected-mode",
        YesNo(),
        "yes",
        "Without a password, serve only clients that connect over loopback.",
        True,
    ),
    Directive("requirepass", Text(), "", "Password that clients give to AUTH; empty is none.", True, secret=True),
    Directive(
        "primaryauth",
        Text(),
        "",
        "Password for the client ports of other nodes, where this node must give a command there.",
        True,
        ("masterauth",),
        secret=True,
    ),
    Directive(
        "primaryuser",
        Text(),
        "",
        "The user whose password primaryauth is; empty is default.",
        True,
        ("masteruser",),
        secret=True,
    ),
    # ---- process
    Directive(
        "dir",
        FileName(existing_folder),
        ".",
        "Folder that the relative file names of other directives start from.",
    ),
    Directive(
        "loglevel",
        Choice(*LEVEL_NUMBERS),
        "notice",
        "Least important line that is logged.",
        True,
    ),
    Directive("logfile", FileName(), "", "File the log is appended to; empty is standard output."),
    Directive("pidfile", FileName(), "", "File the process id is written to while the node runs."),
    Directive(
        "shutdown-on-sigterm",
        SHUTDOWN_WORDS,
        "default",
        "How SIGTERM stops the node, in the words of SHUTDOWN; a second one stops it at once.",
        True,
    ),
    Directive(
        "shutdown-on-sigint",
        SHUTDOWN_WORDS,
        "default",
        "How SIGINT stops the node, in the words of SHUTDOWN; a second one stops it at once.",
        True,
    ),
    Directive(
        "shutdown-timeout",
        Integer(0, INT_MAX),
        "10",
        "Seconds that a primary which goes waits for a replica to take over; 0 is not at all.",
        True,
    ),
    Directive(
        "auto-failover-on-shutdown",
        YesNo(),
        "no",
        "Whether a primary that goes asks a replica to take over first, as SHUTDOWN FAILOVER does.",
        True,
    ),
    Directive(
        "daemonize",
        YesNo(),
        "no",
        "Run in the background: the program returns when the node serves, or with an error if it does not start.",
    ),
    Directive(
        "supervised",
        Choice("upstart", "systemd", "auto", "no"),
        "no",
        "Who starts the node and is told that it serves: systemd over NOTIFY_SOCKET, upstart by SIGSTOP. The node then "
        "stays in the foreground.",
    ),
    Directive(
        "enable-debug-command",
        Choice("no", "yes", "local"),
        "no",
        "Whether DEBUG is answered: never, to all clients, or to those that connect over loopback.",
    ),
    # ---- I/O threads
    Directive(
        "io-threads",
        Integer(1, IO_THREADS_MAX),
        "2",
        "Threads that do socket and TLS work, the main thread included; 1 turns offloading off.",
        True,
    ),
    Directive(
        "io-threads-always-active",
        YesNo(),
        "no",
        "Keep all I/O threads awake whatever the load; for tests and benchmarks.",
        True,
    ),
    # ---- cluster
    Directive(
        "cluster-enabled",
        AlwaysOn(),
        "yes",
        "A clusterbus node is a member of a cluster whatever is written here.",
    ),
    Directive(
        "cluster-config-file",
        FileName(not_empty("cluster-config-file can't be empty")),
        "nodes.conf",
        "File in which the node keeps what it knows of the cluster; written by the node, not by hand.",
    ),
    Directive(
        "cluster-node-timeout",
        Integer(0, LONG_MAX),
        "15000",
        "Milliseconds without an answer after which a node is suspected to have failed (PFAIL).",
        True,
    ),
    Directive("cluster-port", _PORT, "0", "Port of the cluster bus; 0 is the client port + 10000."),
    Directive(
        "cluster-announce-ip",
        Text(announced_address("cluster-announce-ip")),
        "",
        "Address announced to the other nodes instead of the one they see.",
        True,
    ),
    Directive("cluster-announce-port", _PORT, "0", "Client port announced to other nodes; 0 is the real one.", True),
    Directive(
        "cluster-announce-tls-port",
        _PORT,
        "0",
        "TLS client port announced to other nodes; 0 is the real one.",
        True,
    ),
    Directive("cluster-announce-bus-port", _PORT, "0", "Bus port announced to other nodes; 0 is the real one.", True),
    Directive(
        "cluster-announce-hostname",
        Text(announced_hostname),
        "",
        "Hostname announced to other nodes and to clients.",
        True,
    ),
    Directive(
        "cluster-announce-human-nodename",
        Text(announced_nodename),
        "",
        "Name of the node for people; appears in logs.",
        True,
    ),
    Directive(
        "cluster-announce-client-ipv4",
        Text(client_address(4)),
        "",
        "Address announced to clients that connect over IPv4, instead of the address of the bus.",
        True,
    ),
    Directive(
        "cluster-announce-client-ipv6",
        Text(client_address(6)),
        "",
        "Address announced to clients that connect over IPv6, instead of the address of the bus.",
        True,
    ),
    Directive(
        "cluster-announce-client-port",
        _PORT,
        "0",
        "Port announced to clients instead of the one announced to nodes; 0 is that one.",
        True,
    ),
    Directive(
        "cluster-announce-client-tls-port",
        _PORT,
        "0",
        "TLS port announced to clients instead of the one announced to nodes; 0 is that one.",
        True,
    ),
    Directive(
        "cluster-config-save-behavior",
        Choice("sync", "best-effort"),
        "best-effort",
        "After a save of nodes.conf that failed: stop (sync), or try again, and until then promise nothing that is not "
        "on disk (best-effort).",
        True,
    ),
    Directive(
        "cluster-message-gossip-perc",
        Integer(1, 100),
        "10",
        "Of a hundred nodes a heartbeat mentions so many, but at least 3.",
        True,
    ),
    Directive(
        "cluster-ping-interval",
        Integer(0, LONG_MAX),
        "0",
        "Milliseconds without an answer after which a node is pinged; 0 is half of cluster-node-timeout.",
        True,
    ),
    Directive(
        "cluster-preferred-endpoint-type",
        Choice("ip", "hostname", "unknown-endpoint"),
        "ip",
        "What redirects, CLUSTER SLOTS and SHARDS name nodes by; 'unknown-endpoint': clients keep to the address that "
        "they use.",
        True,
    ),
    Directive(
        "availability-zone",
        Text(announced_zone),
        "",
        "Availability zone of the node; announced to other nodes and to clients.",
        True,
    ),
    Directive(
        "cluster-link-sendbuf-limit",
        Memory(),
        "0",
        "Bytes that may wait in a bus link's send queue before the link is closed; 0 is no limit.",
        True,
    ),
    Directive(
        "cluster-max-nodes",
        Integer(1, NODES_LIMIT),
        "10000",
        "Nodes that are known at most; MEET and gossip add no more.",
        True,
    ),
    Directive(
        "cluster-max-handshakes",
        Integer(1, NODES_LIMIT),
        "256",
        "Handshakes with new nodes under way at most.",
        True,
    ),
    Directive(
        "cluster-max-trial-nodes",
        Integer(0, NODES_LIMIT),
        "2048",
        "Nodes at most that are known only from the gossip of a MEET and have not answered yet.",
        True,
    ),
    Directive(
        "cluster-max-anonymous-links",
        Integer(1, NODES_LIMIT),
        "1024",
        "Inbound bus links at most whose node is not known.",
        True,
    ),
    Directive(
        "cluster-max-anonymous-bytes",
        Memory(),
        "67108864",
        "Bytes at most that packets which are not whole yet take on all bus links together whose node is not known, "
        "beyond 64 KiB on each; 0 is no limit. A link with more than there is room for is closed.",
    ),
    Directive(
        "cluster-max-links",
        Integer(1, 2 * NODES_LIMIT),
        "10000",
        "Bus links at most, those being dialled and TLS handshakes among them; further connections are closed.",
    ),
    Directive(
        "cluster-max-tls-handshakes",
        Integer(1, NODES_LIMIT),
        "256",
        "TLS handshakes of inbound bus connections under way at most; further connections are closed.",
    ),
    Directive(
        "cluster-tls-handshake-timeout",
        Integer(1, INT_MAX),
        "5000",
        "Milliseconds that a dial or a TLS handshake of the bus may take.",
    ),
    Directive(
        "cluster-first-packet-timeout",
        Integer(1, INT_MAX),
        "15000",
        "Milliseconds within which the first whole packet must come on an inbound bus link.",
    ),
    Directive(
        "cluster-require-full-coverage",
        YesNo(),
        "yes",
        "The cluster is down when any slot has no owner.",
        True,
    ),
    Directive(
        "cluster-replica-validity-factor",
        Integer(0, INT_MAX),
        "10",
        "A replica cut off from its primary for more node timeouts than this is not elected; 0 is no limit.",
        True,
        ("cluster-slave-validity-factor",),
    ),
    Directive(
        "cluster-replica-no-failover",
        Choice("no", "yes", "if-empty"),
        "if-empty",
        "Whether this node stands back when its primary fails: never, always, or while it has no data of its own.",
        True,
        ("cluster-slave-no-failover",),
    ),
    Directive(
        "cluster-allow-replica-migration",
        YesNo(),
        "yes",
        "Replicas may move to primaries without replicas; a primary that lost its last slot follows the new owner.",
        True,
    ),
    Directive(
        "cluster-migration-barrier",
        Integer(0, INT_MAX),
        "1",
        "Number of replicas that a primary must keep when a replica of it moves to another primary.",
        True,
    ),
    Directive(
        "cluster-blacklist-ttl",
        Integer(0, ULONG_MAX),
        "60",
        "Seconds for which a forgotten node stays out, here and at the peers that are told.",
        True,
    ),
    Directive(
        "cluster-manual-failover-timeout",
        Integer(1, INT_MAX),
        "5000",
        "Milliseconds a manual failover may take before it is given up.",
        True,
    ),
    Directive(
        "cluster-allow-reads-when-down",
        YesNo(),
        "no",
        "Whether a node serves reads while the cluster is down.",
        True,
    ),
    Directive(
        "cluster-allow-pubsubshard-when-down",
        YesNo(),
        "yes",
        "Whether shard channels are served while the cluster is down.",
        True,
    ),
    *GUARD,
    # ---- the history of changes
    Directive(
        "cluster-log-max-len",
        Integer(0, HISTORY_LEN_MAX),
        "1024",
        "How many changes of the cluster CLUSTERLOG and Bus.history() keep, the oldest going first; 0 keeps none.",
        True,
    ),
    Directive(
        "cluster-log-file",
        FileName(),
        "",
        "File to which each change of the cluster is appended as a line of JSON; empty is none. It may be moved away "
        "at any time: the next line begins a new one.",
    ),
    # ---- what the client port notes about commands
    Directive(
        "commandlog-execution-slower-than",
        Integer(-1, LONG_MAX),
        "10000",
        "Microseconds from which on a command is in SLOWLOG; -1 turns the log off.",
        True,
        ("slowlog-log-slower-than",),
    ),
    Directive(
        "commandlog-slow-execution-max-len",
        Integer(0, LONG_MAX),
        "128",
        "Length of SLOWLOG; 65536 at most.",
        True,
        ("slowlog-max-len",),
    ),
    Directive(
        "commandlog-request-larger-than",
        Integer(-1, LONG_MAX),
        "1048576",
        "Bytes from which on a request is in COMMANDLOG's large-request; -1 turns the log off.",
        True,
    ),
    Directive("commandlog-large-request-max-len", Integer(0, LONG_MAX), "128", "Length of that log.", True),
    Directive(
        "commandlog-reply-larger-than",
        Integer(-1, LONG_MAX),
        "1048576",
        "Bytes from which on a reply is in COMMANDLOG's large-reply; -1 turns the log off.",
        True,
    ),
    Directive("commandlog-large-reply-max-len", Integer(0, LONG_MAX), "128", "Length of that log.", True),
    Directive(
        "latency-monitor-threshold",
        Integer(0, LONG_MAX),
        "0",
        "Milliseconds from which on a command is a spike that LATENCY tells of; 0 is off.",
        True,
    ),
    Directive("latency-tracking", YesNo(), "yes", "Keep the times of commands, for INFO and LATENCY HISTOGRAM.", True),
    Directive(
        "latency-tracking-info-percentiles",
        Percentiles(),
        "50 99 99.9",
        "Percentiles that INFO latencystats shows.",
        True,
    ),
    Directive(
        "cluster-slot-stats-enabled",
        YesNo(),
        "no",
        "CLUSTER SLOT-STATS shows time and bytes of each slot too.",
        True,
    ),
    # ---- metrics
    Directive(
        "metrics-port",
        _PORT,
        "0",
        "TCP port for HTTP: /metrics for Prometheus, /livez, /readyz; 0 is none. Needs the extra `metrics`.",
    ),
    Directive(
        "metrics-bind",
        Addresses(),
        "127.0.0.1 -::1",
        "Addresses on which metrics-port listens; with a leading '-' an address the machine lacks is skipped.",
    ),
    Directive(
        "metrics-tls",
        YesNo(),
        "no",
        "Speak HTTPS on metrics-port, by the rules of tls-port. With requirepass, HTTP carries the password in clear.",
    ),
    # ---- TLS
    Directive("tls-port", _PORT, "0", "TLS port for clients; 0 is none.", True),
    Directive("tls-cluster", YesNo(), "no", "Speak TLS on the cluster bus; links that are up stay as they are.", True),
    Directive("tls-cert-file", FileName(), "", "This node's certificate, PEM.", True),
    Directive("tls-key-file", FileName(), "", "Private key of the certificate, PEM.", True),
    Directive(
        "tls-key-file-pass",
        Text(),
        "",
        "Passphrase of an encrypted key (PKCS#8); CONFIG GET does not show it.",
        True,
        secret=True,
        hidden=True,
    ),
    Directive(
        "tls-client-cert-file",
        FileName(),
        "",
        "Certificate that is shown to nodes that this one dials, PEM; empty, or without its key, is the other one.",
        True,
    ),
    Directive("tls-client-key-file", FileName(), "", "Private key of that certificate, PEM.", True),
    Directive(
        "tls-client-key-file-pass",
        Text(),
        "",
        "Passphrase of that key, if it is encrypted; CONFIG GET does not show it.",
        True,
        secret=True,
        hidden=True,
    ),
    Directive("tls-ca-cert-file", FileName(), "", "Certificates of the authorities trusted, PEM.", True),
    Directive(
        "tls-ca-cert-dir",
        FileName(),
        "",
        "Folder of further authorities trusted, one a file, named by hash as openssl rehash does.",
        True,
    ),
    Directive(
        "tls-auto-reload-interval",
        Integer(0, INT_MAX),
        "0",
        "Seconds between two looks whether the content of a TLS file has changed; 0 is never.",
        True,
    ),
    Directive(
        "tls-protocols",
        Text(protocols_reason),
        "",
        "Versions spoken: TLSv1.2, TLSv1.3 or both in one text; empty is both. Older ones are never spoken.",
        True,
    ),
    Directive(
        "tls-ciphers",
        Text(ciphers_reason),
        "",
        "Ciphers of TLS 1.2 as OpenSSL names and lists them; the bus takes those that rustls has. Empty is all.",
        True,
    ),
    Directive(
        "tls-ciphersuites",
        Text(ciphersuites_reason),
        "",
        "Ciphers of TLS 1.3 with colons between; for clients they are set from Python 3.15 on. Empty is all.",
        True,
    ),
    Directive(
        "tls-auth-clients",
        Choice("no", "yes", "optional"),
        "yes",
        "Whether a client or node that connects must show a certificate; optional: it is verified only if shown.",
        True,
    ),
)

DIRECTIVES: Final = (*WITH_EFFECT, *WITHOUT_EFFECT)

BY_NAME: Final[dict[str, Directive]] = {
    name: directive for directive in DIRECTIVES for name in (directive.name, *directive.aliases)
}
"""Every accepted spelling, aliases included."""
