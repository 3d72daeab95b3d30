//! Every limit of the engine, by name. Owns numbers only.
//!
//! A limit that a user may set is the default of a field of `EngineConfig`.

/// Jobs the inbox holds, both lanes alike; a job past it runs on the main thread (R3).
pub const INBOX_JOBS: usize = 4_096;
/// Completions the outbox holds; past it a worker keeps its own in its backlog.
pub const OUTBOX_COMPLETIONS: usize = 16_384;
/// Bytes one read job takes at most before it lets others go first (R7).
pub const READ_BUDGET_BYTES: usize = 1024 * 1024;
/// Bytes one write job sends at most (R7).
pub const WRITE_BUDGET_BYTES: usize = 64 * 1024;
/// Buffers one vectored send takes at most.
pub const WRITE_BUFFERS: usize = 64;
/// The first read into an empty receive buffer asks for this much.
pub const READ_CHUNK_BYTES: usize = 16 * 1024;
/// A read asks for as much as the link's last job read, and for this much more: if as much comes again the read comes
/// back short, which proves that nothing more is there.
pub const READ_CHUNK_SPARE_BYTES: usize = 4 * 1024;
/// A read that filled its space asks for twice as much the next time, up to this.
pub const READ_CHUNK_MAX_BYTES: usize = 256 * 1024;
/// Bytes read from a TLS socket in one call.
pub const TLS_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes a peer may send before its TLS handshake is done (H37).
pub const HANDSHAKE_BYTES: usize = 64 * 1024;
/// A worker serves the handshake lane first once in this many jobs, so that the lane never starves.
pub const HANDSHAKE_TURN: u32 = 8;
/// Connections accepted from one listener before other work gets its turn.
pub const ACCEPTS_PER_POLL: usize = 64;
/// Readiness events taken from the kernel at once.
pub const READINESS_EVENTS: usize = 1_024;
/// The number of active workers falls by one when for this long not all of them were busy.
pub const WORKER_IDLE_MS: u64 = 1_000;
/// After the process ran out of file descriptors, accepting pauses for this long (H43).
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Threads that do I/O, the main thread included, unless configured.
pub const IO_THREADS: usize = 2;
/// Connections that the system may hold for a listener before they are accepted, unless configured.
pub const ACCEPT_BACKLOG: i32 = 511;
/// Threads `io-threads` may ask for, the main thread included (as in Valkey).
pub const IO_THREADS_MAX: usize = 256;
/// A dial or a TLS handshake may take this long, unless configured (H31).
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// An inbound link may be up for this long without a whole packet, unless configured (H31).
pub const FIRST_PACKET_TIMEOUT_MS: u64 = 15_000;
/// Links, inbound and outbound, connecting ones included (H30).
pub const LINKS_MAX: usize = 10_000;
/// TLS handshakes of inbound connections under way at once (H38).
pub const HANDSHAKES_MAX: usize = 256;
/// Silence after which the kernel probes a peer (H32).
pub const KEEPALIVE_S: u64 = 15;
/// Refused packets listed one by one for the main loop in one batch; the rest is only counted.
pub const DROPPED_LISTED: usize = 16;
/// Refused packets after which a link is closed (H4).
pub const DROPPED_CLOSES: u32 = 8;
