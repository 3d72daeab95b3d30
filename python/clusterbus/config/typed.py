"""The directives as types, for checkers and editors: the keywords of `Bus` and `BlockingBus`.

Made by `scripts/typed_directives.py` from the table in `directives`; `make format` makes it again, and `make lint`
fails if it is not what the table says. Must never be edited by hand. Pure types. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict


class Directives(TypedDict, total=False):
    """The keywords of `Bus` and `BlockingBus`: valkey.conf's directives with underscores, and their values in Python.

    None leaves a directive as it is. Those that do nothing here are missing; a configuration file may hold them.
    """

    port: int | None
    """TCP port for clients; 0 is none, or without tls-port any free one. (0-65535, default 6379)"""

    bind: str | Sequence[str] | None
    """Addresses to listen on, for clients and the bus; with a leading '-' an address the machine lacks is skipped.
    (default * -::*)"""

    tcp_backlog: int | None
    """Length of the queue of connections not yet accepted. (default 511)"""

    tcp_keepalive: int | None
    """Seconds between keepalive probes to clients; 0 is off. (default 300)"""

    timeout: int | None
    """Seconds after which an idle client is closed; 0 is never. (default 0)"""

    maxclients: int | None
    """Most clients that may be connected at once. (default 10000)"""

    client_output_buffer_limit: str | Sequence[str | int] | None
    """Unread output that closes a client of the class: HARD bytes at once (0 is 64mb), or SOFT bytes (0 is never) for
    more than SECONDS. (default normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60)"""

    client_query_buffer_limit: int | str | None
    """Bytes of one client's request, or of all that its transaction holds, which close the client. (default
    33554432)"""

    maxmemory_clients: int | str | None
    """Bytes that all clients together may hold in unfinished requests and unread output, or a percentage of maxmemory,
    before those that hold most are closed; 0 is no limit. (default 0)"""

    proto_max_bulk_len: int | str | None
    """Most bytes of one argument of a client's request. (default 16777216)"""

    protected_mode: bool | Literal["yes", "no"] | None
    """Without a password, serve only clients that connect over loopback. (default yes)"""

    requirepass: str | None
    """Password that clients give to AUTH; empty is none."""

    primaryauth: str | None
    """Password for the client ports of other nodes, where this node must give a command there."""

    primaryuser: str | None
    """The user whose password primaryauth is; empty is default."""

    dir: str | PathLike[str] | None
    """Folder that the relative file names of other directives start from. (default .)"""

    loglevel: Literal["debug", "verbose", "notice", "warning", "nothing"] | None
    """Least important line that is logged. (default notice)"""

    logfile: str | PathLike[str] | None
    """File the log is appended to; empty is standard output."""

    pidfile: str | PathLike[str] | None
    """File the process id is written to while the node runs."""

    shutdown_on_sigterm: (
        Literal["default", "save", "nosave", "now", "force", "safe", "failover"]
        | Sequence[Literal["default", "save", "nosave", "now", "force", "safe", "failover"]]
        | None
    )
    """How SIGTERM stops the node, in the words of SHUTDOWN; a second one stops it at once. (default default)"""

    shutdown_on_sigint: (
        Literal["default", "save", "nosave", "now", "force", "safe", "failover"]
        | Sequence[Literal["default", "save", "nosave", "now", "force", "safe", "failover"]]
        | None
    )
    """How SIGINT stops the node, in the words of SHUTDOWN; a second one stops it at once. (default default)"""

    shutdown_timeout: int | None
    """Seconds that a primary which goes waits for a replica to take over; 0 is not at all. (default 10)"""

    auto_failover_on_shutdown: bool | Literal["yes", "no"] | None
    """Whether a primary that goes asks a replica to take over first, as SHUTDOWN FAILOVER does. (default no)"""

    daemonize: bool | Literal["yes", "no"] | None
    """Run in the background: the program returns when the node serves, or with an error if it does not start. (default
    no)"""

    supervised: Literal["upstart", "systemd", "auto", "no"] | None
    """Who starts the node and is told that it serves: systemd over NOTIFY_SOCKET, upstart by SIGSTOP. The node then
    stays in the foreground. (default no)"""

    enable_debug_command: bool | Literal["no", "yes", "local"] | None
    """Whether DEBUG is answered: never, to all clients, or to those that connect over loopback. (default no)"""

    io_threads: int | None
    """Threads that do socket and TLS work, the main thread included; 1 turns offloading off. (1-256, default 2)"""

    io_threads_always_active: bool | Literal["yes", "no"] | None
    """Keep all I/O threads awake whatever the load; for tests and benchmarks. (default no)"""

    cluster_enabled: bool | Literal["yes", "no"] | None
    """A clusterbus node is a member of a cluster whatever is written here. (default yes)"""

    cluster_config_file: str | PathLike[str] | None
    """File in which the node keeps what it knows of the cluster; written by the node, not by hand. (default
    nodes.conf)"""

    cluster_node_timeout: int | None
    """Milliseconds without an answer after which a node is suspected to have failed (PFAIL). (default 15000)"""

    cluster_port: int | None
    """Port of the cluster bus; 0 is the client port + 10000. (0-65535, default 0)"""

    cluster_announce_ip: str | None
    """Address announced to the other nodes instead of the one they see."""

    cluster_announce_port: int | None
    """Client port announced to other nodes; 0 is the real one. (0-65535, default 0)"""

    cluster_announce_tls_port: int | None
    """TLS client port announced to other nodes; 0 is the real one. (0-65535, default 0)"""

    cluster_announce_bus_port: int | None
    """Bus port announced to other nodes; 0 is the real one. (0-65535, default 0)"""

    cluster_announce_hostname: str | None
    """Hostname announced to other nodes and to clients."""

    cluster_announce_human_nodename: str | None
    """Name of the node for people; appears in logs."""

    cluster_announce_client_ipv4: str | None
    """Address announced to clients that connect over IPv4, instead of the address of the bus."""

    cluster_announce_client_ipv6: str | None
    """Address announced to clients that connect over IPv6, instead of the address of the bus."""

    cluster_announce_client_port: int | None
    """Port announced to clients instead of the one announced to nodes; 0 is that one. (0-65535, default 0)"""

    cluster_announce_client_tls_port: int | None
    """TLS port announced to clients instead of the one announced to nodes; 0 is that one. (0-65535, default 0)"""

    cluster_config_save_behavior: Literal["sync", "best-effort"] | None
    """After a save of nodes.conf that failed: stop (sync), or try again, and until then promise nothing that is not on
    disk (best-effort). (default best-effort)"""

    cluster_message_gossip_perc: int | None
    """Of a hundred nodes a heartbeat mentions so many, but at least 3. (1-100, default 10)"""

    cluster_ping_interval: int | None
    """Milliseconds without an answer after which a node is pinged; 0 is half of cluster-node-timeout. (default 0)"""

    cluster_preferred_endpoint_type: Literal["ip", "hostname", "unknown-endpoint"] | None
    """What redirects, CLUSTER SLOTS and SHARDS name nodes by; 'unknown-endpoint': clients keep to the address that they
    use. (default ip)"""

    availability_zone: str | None
    """Availability zone of the node; announced to other nodes and to clients."""

    cluster_link_sendbuf_limit: int | str | None
    """Bytes that may wait in a bus link's send queue before the link is closed; 0 is no limit. (default 0)"""

    cluster_max_nodes: int | None
    """Nodes that are known at most; MEET and gossip add no more. (1-100000, default 10000)"""

    cluster_max_handshakes: int | None
    """Handshakes with new nodes under way at most. (1-100000, default 256)"""

    cluster_max_trial_nodes: int | None
    """Nodes at most that are known only from the gossip of a MEET and have not answered yet. (0-100000, default
    2048)"""

    cluster_max_anonymous_links: int | None
    """Inbound bus links at most whose node is not known. (1-100000, default 1024)"""

    cluster_max_anonymous_bytes: int | str | None
    """Bytes at most that packets which are not whole yet take on all bus links together whose node is not known, beyond
    64 KiB on each; 0 is no limit. A link with more than there is room for is closed. (default 67108864)"""

    cluster_max_links: int | None
    """Bus links at most, those being dialled and TLS handshakes among them; further connections are closed. (1-200000,
    default 10000)"""

    cluster_max_tls_handshakes: int | None
    """TLS handshakes of inbound bus connections under way at most; further connections are closed. (1-100000, default
    256)"""

    cluster_tls_handshake_timeout: int | None
    """Milliseconds that a dial or a TLS handshake of the bus may take. (default 5000)"""

    cluster_first_packet_timeout: int | None
    """Milliseconds within which the first whole packet must come on an inbound bus link. (default 15000)"""

    cluster_require_full_coverage: bool | Literal["yes", "no"] | None
    """The cluster is down when any slot has no owner. (default yes)"""

    cluster_replica_validity_factor: int | None
    """A replica cut off from its primary for more node timeouts than this is not elected; 0 is no limit. (default
    10)"""

    cluster_replica_no_failover: bool | Literal["no", "yes", "if-empty"] | None
    """Whether this node stands back when its primary fails: never, always, or while it has no data of its own. (default
    if-empty)"""

    cluster_allow_replica_migration: bool | Literal["yes", "no"] | None
    """Replicas may move to primaries without replicas; a primary that lost its last slot follows the new owner.
    (default yes)"""

    cluster_migration_barrier: int | None
    """Number of replicas that a primary must keep when a replica of it moves to another primary. (default 1)"""

    cluster_blacklist_ttl: int | None
    """Seconds for which a forgotten node stays out, here and at the peers that are told. (default 60)"""

    cluster_manual_failover_timeout: int | None
    """Milliseconds a manual failover may take before it is given up. (default 5000)"""

    cluster_allow_reads_when_down: bool | Literal["yes", "no"] | None
    """Whether a node serves reads while the cluster is down. (default no)"""

    cluster_allow_pubsubshard_when_down: bool | Literal["yes", "no"] | None
    """Whether shard channels are served while the cluster is down. (default yes)"""

    cluster_bus_port_protected_mode: bool | Literal["yes", "no"] | None
    """Refuse to run with a bus that does not ask each peer for a certificate: tls-cluster yes, and tls-auth-clients
    yes. (default no)"""

    cluster_allow_node_ids: str | Sequence[str] | None
    """Ids of the nodes that may be members; empty is all."""

    cluster_allow_networks: str | Sequence[str] | None
    """Networks (10.0.0.0/8, 2001:db8::/32, single addresses) from which members come and where they are dialled; empty
    is all."""

    cluster_allow_certificate_names: str | Sequence[str] | None
    """DNS and URI names, one of which a peer's certificate must have (subjectAltName; *.example.org is any one label);
    empty is any certificate."""

    cluster_pin_certificates: Literal["no", "key", "names"] | None
    """Keep to each node id the first certificate seen with it, by its public key or by its names (subjectAltName), and
    refuse another. (default no)"""

    cluster_label: str | None
    """Name of the cluster: clusterbus nodes with another one are not let in, and their gossip is refused; empty fits
    all."""

    cluster_observer: bool | Literal["yes", "no"] | None
    """Be a member that only watches: it owns no slots, has no vote, is no replica, and changes no epoch. (default
    no)"""

    cluster_epoch_jump_max: int | None
    """An epoch that lies further above all known ones is not believed of a single member; 0 is no limit. (default
    4294967296)"""

    cluster_log_max_len: int | None
    """How many changes of the cluster CLUSTERLOG and Bus.history() keep, the oldest going first; 0 keeps none.
    (0-65536, default 1024)"""

    cluster_log_file: str | PathLike[str] | None
    """File to which each change of the cluster is appended as a line of JSON; empty is none. It may be moved away at
    any time: the next line begins a new one."""

    commandlog_execution_slower_than: int | None
    """Microseconds from which on a command is in SLOWLOG; -1 turns the log off. (default 10000)"""

    commandlog_slow_execution_max_len: int | None
    """Length of SLOWLOG; 65536 at most. (default 128)"""

    commandlog_request_larger_than: int | None
    """Bytes from which on a request is in COMMANDLOG's large-request; -1 turns the log off. (default 1048576)"""

    commandlog_large_request_max_len: int | None
    """Length of that log. (default 128)"""

    commandlog_reply_larger_than: int | None
    """Bytes from which on a reply is in COMMANDLOG's large-reply; -1 turns the log off. (default 1048576)"""

    commandlog_large_reply_max_len: int | None
    """Length of that log. (default 128)"""

    latency_monitor_threshold: int | None
    """Milliseconds from which on a command is a spike that LATENCY tells of; 0 is off. (default 0)"""

    latency_tracking: bool | Literal["yes", "no"] | None
    """Keep the times of commands, for INFO and LATENCY HISTOGRAM. (default yes)"""

    latency_tracking_info_percentiles: str | Sequence[str | float] | None
    """Percentiles that INFO latencystats shows. (default 50 99 99.9)"""

    cluster_slot_stats_enabled: bool | Literal["yes", "no"] | None
    """CLUSTER SLOT-STATS shows time and bytes of each slot too. (default no)"""

    metrics_port: int | None
    """TCP port for HTTP: /metrics for Prometheus, /livez, /readyz; 0 is none. Needs the extra `metrics`. (0-65535,
    default 0)"""

    metrics_bind: str | Sequence[str] | None
    """Addresses on which metrics-port listens; with a leading '-' an address the machine lacks is skipped. (default
    127.0.0.1 -::1)"""

    metrics_tls: bool | Literal["yes", "no"] | None
    """Speak HTTPS on metrics-port, by the rules of tls-port. With requirepass, HTTP carries the password in clear.
    (default no)"""

    tls_port: int | None
    """TLS port for clients; 0 is none. (0-65535, default 0)"""

    tls_cluster: bool | Literal["yes", "no"] | None
    """Speak TLS on the cluster bus; links that are up stay as they are. (default no)"""

    tls_cert_file: str | PathLike[str] | None
    """This node's certificate, PEM."""

    tls_key_file: str | PathLike[str] | None
    """Private key of the certificate, PEM."""

    tls_key_file_pass: str | None
    """Passphrase of an encrypted key (PKCS#8); CONFIG GET does not show it."""

    tls_client_cert_file: str | PathLike[str] | None
    """Certificate that is shown to nodes that this one dials, PEM; empty, or without its key, is the other one."""

    tls_client_key_file: str | PathLike[str] | None
    """Private key of that certificate, PEM."""

    tls_client_key_file_pass: str | None
    """Passphrase of that key, if it is encrypted; CONFIG GET does not show it."""

    tls_ca_cert_file: str | PathLike[str] | None
    """Certificates of the authorities trusted, PEM."""

    tls_ca_cert_dir: str | PathLike[str] | None
    """Folder of further authorities trusted, one a file, named by hash as openssl rehash does."""

    tls_auto_reload_interval: int | None
    """Seconds between two looks whether the content of a TLS file has changed; 0 is never. (default 0)"""

    tls_protocols: str | None
    """Versions spoken: TLSv1.2, TLSv1.3 or both in one text; empty is both. Older ones are never spoken."""

    tls_ciphers: str | None
    """Ciphers of TLS 1.2 as OpenSSL names and lists them; the bus takes those that rustls has. Empty is all."""

    tls_ciphersuites: str | None
    """Ciphers of TLS 1.3 with colons between; for clients they are set from Python 3.15 on. Empty is all."""

    tls_auth_clients: bool | Literal["no", "yes", "optional"] | None
    """Whether a client or node that connects must show a certificate; optional: it is verified only if shown. (default
    yes)"""
