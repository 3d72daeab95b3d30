//! Every limit of the engine as a named constant. Owns numbers only.
//!
//! Where a user may set a limit, the constant is the default of a field of `EngineConfig`.

/// Jobs that each lane of the inbox holds; when the lane is full, the next job runs on the main thread (R3).
pub const INBOX_JOBS: usize = 4_096;
/// Completions that the outbox holds; what has no room goes into the overflow.
pub const OUTBOX_COMPLETIONS: usize = 16_384;
/// Bytes after which a read job stops and lets other jobs go first (R7).
pub const READ_BUDGET_BYTES: usize = 1024 * 1024;
/// Bytes that one write job sends at most (R7).
pub const WRITE_BUDGET_BYTES: usize = 64 * 1024;
/// Links that one job sends to, at most; another worker may take the rest.
pub const SENDS_TOGETHER: usize = 64;
/// Buffers in one vectored send, at most.
pub const WRITE_BUFFERS: usize = 64;
/// Bytes that the first read into an empty receive buffer asks for.
pub const READ_CHUNK_BYTES: usize = 16 * 1024;
/// A read asks for as many bytes as the link's last job read in whole frames, plus these. If the same amount comes
/// again, the read comes back short, which proves that nothing more is there.
pub const READ_CHUNK_SPARE_BYTES: usize = 4 * 1024;
/// After a read that filled its space the next one asks for twice as much, up to these bytes.
pub const READ_CHUNK_MAX_BYTES: usize = 256 * 1024;
/// Bytes read from a TLS socket in one call.
pub const TLS_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes a peer may send before its TLS handshake is done (H37).
pub const HANDSHAKE_BYTES: usize = 64 * 1024;
/// Once in this many jobs a worker looks at the handshake lane first, so that the lane never starves.
pub const HANDSHAKE_TURN: u32 = 8;
/// Connections accepted from one listener in a row before other work gets its turn.
pub const ACCEPTS_PER_POLL: usize = 64;
/// Readiness events taken from the kernel at once.
pub const READINESS_EVENTS: usize = 1_024;
/// Readiness events that a worker takes from the kernel at once; others may take the rest.
pub const WORKER_READINESS_EVENTS: usize = 64;
/// With more bytes unsent than this on a link, its PINGs are left to the main loop, which accounts for what a peer does
/// not read.
pub const ANSWERS_UNSENT_MAX_BYTES: usize = 256 * 1024;
/// Workers answer for this long after the main loop's last step, unless configured otherwise.
pub const LEASE_MS: u64 = 250;
/// When the active workers have not all been busy for this long, their number falls by one.
pub const WORKER_IDLE_MS: u64 = 1_000;
/// When the process runs out of file descriptors, accepting pauses for this long (H43).
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Threads that do I/O, the main thread included, unless configured otherwise.
pub const IO_THREADS: usize = 2;
/// Connections that the system holds for a listener until they are accepted, unless configured otherwise.
pub const ACCEPT_BACKLOG: i32 = 511;
/// The most threads that `io-threads` may ask for, the main thread included (as in Valkey).
pub const IO_THREADS_MAX: usize = 256;
/// A dial or a TLS handshake may take this long, unless configured otherwise (H31).
pub const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// An inbound link may be up for this long without a whole packet, unless configured otherwise (H31).
pub const FIRST_PACKET_TIMEOUT_MS: u64 = 15_000;
/// Links at once, inbound and outbound, including those that are still connecting (H30).
pub const LINKS_MAX: usize = 10_000;
/// Iterations of PBKDF2 in an encrypted key, at most: some tenths of a second. openssl writes 2,048 unless told otherwise.
pub const KEY_ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes that scrypt goes over for an encrypted key, at most. openssl writes 16 MiB unless told otherwise.
pub const KEY_SCRYPT_LEN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A link whose node is not known may hold so many bytes of a packet that is not whole yet; what goes beyond counts
/// against `ANONYMOUS_BYTES_MAX`. Honest first packets are heartbeats: this is one with 600 gossip entries, a tenth of
/// 6,000 nodes, so what others hold keeps no such peer out (H30).
pub const ANONYMOUS_FREE_BYTES: usize = 64 * 1024;
/// Bytes of packets that are not whole yet, on all links together whose node is not known, each beyond
/// `ANONYMOUS_FREE_BYTES`, unless configured otherwise.
pub const ANONYMOUS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Inbound TLS handshakes at once (H38).
pub const TLS_HANDSHAKES_MAX: usize = 256;
/// Silence after which the kernel probes a peer (H32).
pub const KEEPALIVE_S: u64 = 15;
/// The time between two such probes. Without an answer the link ends by `UNACKNOWLEDGED_TIMEOUT_MS`.
pub const KEEPALIVE_INTERVAL_S: u64 = 5;
/// The kernel ends a link whose peer's system leaves bytes or probes without acknowledgement, or takes no more bytes,
/// for this long, unless configured otherwise (P7).
pub const UNACKNOWLEDGED_TIMEOUT_MS: u64 = 15_000;
/// Refused packets of one job that are listed one by one for the main loop; any more are only counted.
pub const DROPPED_LISTED: usize = 16;
/// Entries of one heartbeat that are handed over as news; with more, the main loop looks at all of it.
pub const NEWS_MAX: usize = 32;
/// Refused packets after which a link is closed (H4).
pub const DROPPED_CLOSES: u32 = 8;
/// Of so many names of a peer's certificate the main loop is told, each up to `CERTIFICATE_NAME_LEN_BYTES` long.
pub(crate) const CERTIFICATE_NAMES: usize = 64;
/// See `CERTIFICATE_NAMES`.
pub(crate) const CERTIFICATE_NAME_LEN_BYTES: usize = 255;
