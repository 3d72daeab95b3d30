"""The directives of Valkey 9.1's and Redis 7.0's stock files, and all names that either server knows: facts, no text.

Tests of the configuration read them.
"""

from __future__ import annotations

from typing import Final

VALKEY_ACTIVE: Final = """\
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize no
pidfile /var/run/valkey_6379.pid
loglevel notice
logfile ""
databases 16
always-show-logo no
hide-user-data-from-log yes
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
locale-collate ""
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
rdb-version-check strict
dbfilename dump.rdb
rdb-del-sync-files no
dir ./
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync yes
repl-diskless-sync-delay 5
repl-diskless-sync-max-replicas 0
repl-diskless-load disabled
dual-channel-replication-enabled no
repl-disable-tcp-nodelay no
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction yes
lazyfree-lazy-expire yes
lazyfree-lazy-server-del yes
replica-lazy-flush yes
lazyfree-lazy-user-del yes
lazyfree-lazy-user-flush yes
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appenddirname "appendonlydir"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
aof-timestamp-enabled no
commandlog-execution-slower-than 10000
commandlog-slow-execution-max-len 128
commandlog-request-larger-than 1048576
commandlog-large-request-max-len 128
commandlog-reply-larger-than 1048576
commandlog-large-reply-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
list-compress-depth 0
set-max-intset-entries 512
set-max-listpack-entries 128
set-max-listpack-value 64
zset-max-listpack-entries 128
zset-max-listpack-value 64
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"""
"""What is not commented out in Valkey 9.1's valkey.conf."""

REDIS_ACTIVE: Final = """\
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize yes
pidfile /run/redis/redis-server.pid
loglevel notice
logfile /var/log/redis/redis-server.log
databases 16
always-show-logo no
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
dbfilename dump.rdb
rdb-del-sync-files no
dir /var/lib/redis
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync yes
repl-diskless-sync-delay 5
repl-diskless-sync-max-replicas 0
repl-diskless-load disabled
repl-disable-tcp-nodelay no
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction no
lazyfree-lazy-expire no
lazyfree-lazy-server-del no
replica-lazy-flush no
lazyfree-lazy-user-del no
lazyfree-lazy-user-flush no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appenddirname "appendonlydir"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
aof-timestamp-enabled no
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
list-compress-depth 0
set-max-intset-entries 512
zset-max-listpack-entries 128
zset-max-listpack-value 64
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"""
"""What is not commented out in Debian's redis.conf of Redis 7.0; its folders are Debian's."""

OTHERS: Final = """\
rdbcompression no
save 3600 1 300 100 60 10000
bind 192.168.1.100 10.0.0.1
bind * -::*
bind-source-addr 10.0.0.1
enable-protected-configs no
enable-debug-command no
enable-module-command no
unixsocket /run/valkey.sock
unixsocketgroup wheel
unixsocketperm 700
rdma-port 6379
rdma-bind 192.168.1.100
rdma-rx-size 1048576
rdma-completion-vector 0
socket-mark-id 0
mptcp no
supervised auto
syslog-enabled no
syslog-ident valkey
syslog-facility local0
crash-log-enabled no
crash-memcheck-enabled no
sanitize-dump-payload no
primaryauth secret
primaryuser name
masterauth secret
masteruser name
repl-ping-replica-period 10
repl-timeout 60
repl-backlog-size 10mb
repl-backlog-ttl 3600
repl-mptcp no
propagation-error-behavior ignore
replica-ignore-disk-write-errors no
replica-announced yes
min-replicas-to-write 3
min-replicas-max-lag 10
replica-announce-ip 5.5.5.5
replica-announce-port 1234
tracking-table-max-keys 1000000
aclfile /etc/valkey/users.acl
requirepass foobared
acl-pubsub-default resetchannels
rename-command FLUSHALL ""
maxclients 10000
maxmemory 100mb
maxmemory-policy noeviction
maxmemory-samples 5
maxmemory-eviction-tenacity 10
maxmemory-clients 1g
maxmemory-clients 5%
replica-ignore-maxmemory yes
active-expire-effort 1
io-threads 4
io-threads-do-reads no
prefetch-batch-max-size 16
appendfsync always
shutdown-timeout 10
shutdown-on-sigint nosave force
shutdown-on-sigterm default
lua-time-limit 5000
busy-reply-threshold 5000
cluster-enabled yes
cluster-config-file nodes-6379.conf
cluster-node-timeout 15000
cluster-port 0
cluster-replica-validity-factor 10
cluster-migration-barrier 1
cluster-allow-replica-migration yes
cluster-require-full-coverage yes
cluster-replica-no-failover no
cluster-allow-reads-when-down no
cluster-allow-pubsubshard-when-down yes
cluster-link-sendbuf-limit 0
cluster-announce-hostname ""
cluster-announce-human-nodename ""
cluster-preferred-endpoint-type ip
cluster-blacklist-ttl 60
cluster-slot-stats-enabled no
cluster-slot-migration-log-max-len 1000
slot-migration-max-failover-repl-bytes -1
cluster-announce-ip 10.1.1.5
cluster-announce-client-ipv4 123.100.10.5
cluster-announce-client-ipv6 2001::1
cluster-announce-tls-port 6379
cluster-announce-port 0
cluster-announce-bus-port 6380
latency-tracking yes
latency-tracking-info-percentiles 50 99 99.9
notify-keyspace-events Ex
slot-migration-max-failover-repl-bytes 0
client-query-buffer-limit 1gb
proto-max-bulk-len 512mb
jemalloc-bg-thread yes
server-cpulist 0-7:2
bio-cpulist 1,3
aof-rewrite-cpulist 8-11
bgsave-cpulist 1,10-11
ignore-warnings ARM64-COW-BUG
availability-zone "zone-name"
activedefrag no
active-defrag-ignore-bytes 100mb
active-defrag-threshold-lower 10
active-defrag-max-scan-fields 1000
lfu-log-factor 10
lfu-decay-time 1
max-new-connections-per-cycle 10
tls-client-cert-file client.crt
tls-key-file-pass secret
tls-dh-params-file valkey.dh
tls-ca-cert-dir /etc/ssl/certs
tls-auth-clients optional
tls-auth-clients-user CN
tls-auth-clients-user off
tls-replication yes
tls-protocols "TLSv1.2 TLSv1.3"
tls-ciphers DEFAULT:!MEDIUM
tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256
tls-prefer-server-ciphers yes
tls-session-caching no
tls-session-cache-size 5000
tls-session-cache-timeout 60
log-format logfmt
log-timestamp-format iso8601
loadmodule /path/to/my_module.so
loadmodule /path/to/args_module.so first second
json.max-path-limit 128
user default on nopass sanitize-payload ~* &* +@all
user worker +@list +@connection ~jobs:* on >ffa9203c493aa99
replicaof 127.0.0.1 6380
slaveof no one
dynamic-hz yes
lua-replicate-commands yes
list-max-ziplist-entries 512
"""
"""More lines that real files have: each must be taken by itself."""

VALKEY_NAMES: Final = """
    acl-pubsub-default aclfile acllog-max-len active-defrag-cycle-max active-defrag-cycle-min
    active-defrag-cycle-us active-defrag-ignore-bytes active-defrag-max-scan-fields active-defrag-threshold-lower
    active-defrag-threshold-upper active-expire-effort activedefrag activerehashing always-show-logo
    aof-disable-auto-gc aof-load-truncated aof-rewrite-cpulist aof-rewrite-incremental-fsync aof-timestamp-enabled
    aof-use-rdb-preamble aof_rewrite_cpulist appenddirname appendfilename appendfsync appendonly
    auto-aof-rewrite-min-size auto-aof-rewrite-percentage availability-zone bgsave-cpulist bgsave_cpulist bind
    bind-source-addr bio-cpulist bio_cpulist busy-reply-threshold client-default-resp client-output-buffer-limit
    client-query-buffer-limit cluster-allow-pubsubshard-when-down cluster-allow-reads-when-down
    cluster-allow-replica-migration cluster-announce-bus-port cluster-announce-client-ipv4
    cluster-announce-client-ipv6 cluster-announce-client-port cluster-announce-client-tls-port
    cluster-announce-hostname cluster-announce-human-nodename cluster-announce-ip cluster-announce-port
    cluster-announce-tls-port cluster-blacklist-ttl cluster-config-file cluster-config-save-behavior
    cluster-databases cluster-enabled cluster-link-sendbuf-limit cluster-manual-failover-timeout
    cluster-message-gossip-perc cluster-migration-barrier cluster-node-timeout cluster-ping-interval cluster-port
    cluster-preferred-endpoint-type cluster-replica-no-failover cluster-replica-validity-factor
    cluster-require-full-coverage cluster-slave-no-failover cluster-slave-validity-factor
    cluster-slot-migration-log-max-len cluster-slot-stats-enabled commandlog-execution-slower-than
    commandlog-large-reply-max-len commandlog-large-request-max-len commandlog-reply-larger-than
    commandlog-request-larger-than commandlog-slow-execution-max-len crash-log-enabled crash-memcheck-enabled
    daemonize databases dbfilename debug-context dir disable-thp dual-channel-replication-enabled
    enable-debug-assert enable-debug-command enable-module-command enable-protected-configs
    extended-redis-compatibility hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries
    hash-max-ziplist-value hash-seed hide-user-data-from-log hll-sparse-max-bytes hz ignore-warnings import-mode
    io-threads io-threads-always-active jemalloc-bg-thread key-load-delay latency-monitor-threshold
    latency-tracking latency-tracking-info-percentiles lazyfree-lazy-eviction lazyfree-lazy-expire
    lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush lfu-decay-time lfu-log-factor
    list-compress-depth list-max-listpack-size list-max-ziplist-size loading-process-events-interval-bytes
    locale-collate log-format log-timestamp-format logfile loglevel lua-enable-deprecated-api
    lua-enable-insecure-api lua-time-limit masterauth masteruser max-new-connections-per-cycle
    max-new-tls-connections-per-cycle maxclients maxmemory maxmemory-clients maxmemory-eviction-tenacity
    maxmemory-policy maxmemory-samples min-io-threads-avoid-copy-reply min-replicas-max-lag min-replicas-to-write
    min-slaves-max-lag min-slaves-to-write min-string-size-avoid-copy-reply
    min-string-size-avoid-copy-reply-threaded mptcp no-appendfsync-on-rewrite notify-keyspace-events oom-score-adj
    oom-score-adj-values pidfile port prefetch-batch-max-size primaryauth primaryuser proc-title-template
    propagation-error-behavior protected-mode proto-max-bulk-len rdb-del-sync-files rdb-key-save-delay
    rdb-save-incremental-fsync rdb-version-check rdbchecksum rdbcompression rdma-bind rdma-completion-vector
    rdma-port rdma-rx-size repl-backlog-size repl-backlog-ttl repl-disable-tcp-nodelay repl-diskless-load
    repl-diskless-sync repl-diskless-sync-delay repl-diskless-sync-max-replicas repl-mptcp
    repl-ping-replica-period repl-ping-slave-period repl-timeout replica-announce-ip replica-announce-port
    replica-announced replica-ignore-disk-write-errors replica-ignore-maxmemory replica-lazy-flush
    replica-priority replica-read-only replica-serve-stale-data replicaof req-res-logfile requirepass
    sanitize-dump-payload save server-cpulist server_cpulist set-max-intset-entries set-max-listpack-entries
    set-max-listpack-value set-proc-title shutdown-on-sigint shutdown-on-sigterm shutdown-timeout
    slave-announce-ip slave-announce-port slave-ignore-maxmemory slave-lazy-flush slave-priority slave-read-only
    slave-serve-stale-data slaveof slot-migration-max-failover-repl-bytes slowlog-log-slower-than slowlog-max-len
    socket-mark-id stop-writes-on-bgsave-error stream-node-max-bytes stream-node-max-entries supervised
    syslog-enabled syslog-facility syslog-ident tcp-backlog tcp-keepalive timeout tls-auth-clients
    tls-auth-clients-user tls-auto-reload-interval tls-ca-cert-dir tls-ca-cert-file tls-cert-file tls-ciphers
    tls-ciphersuites tls-client-cert-file tls-client-key-file tls-client-key-file-pass tls-cluster
    tls-dh-params-file tls-key-file tls-key-file-pass tls-port tls-prefer-server-ciphers tls-protocols
    tls-replication tls-session-cache-size tls-session-cache-timeout tls-session-caching tracking-table-max-keys
    unixsocket unixsocketgroup unixsocketperm use-exit-on-panic watchdog-period zset-max-listpack-entries
    zset-max-listpack-value zset-max-ziplist-entries zset-max-ziplist-value
"""
"""Every name and alias in src/config.c of Valkey 9.1."""

REDIS_ONLY_NAMES: Final = """
    dynamic-hz io-threads-do-reads events-per-io-thread list-max-ziplist-entries list-max-ziplist-value
    lua-replicate-commands
"""
"""Names that only Redis 7.0 or other versions of Valkey know, or take without a look."""
