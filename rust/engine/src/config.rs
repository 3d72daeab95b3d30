//! The settings that an engine is made with. Plain values.
//!
//! Their defaults are the constants in `limits`, so that whoever makes an engine sets only what differs.

use std::time::Duration;

use crate::limits;
use crate::transport::tls::TlsSetup;

/// The settings of an engine. Limits have the defaults in [`limits`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Threads that do I/O, the main thread included; 1 means no workers.
    pub io_threads: usize,
    /// Uses the workers that all engines of this process share which say so. There are as many as the engine asks for
    /// that asks for most. Otherwise the engine has workers of its own.
    pub shares_workers: bool,
    /// Keeps every worker active whatever the load.
    pub io_threads_always_active: bool,
    /// How long a dial or a TLS handshake may take (H31).
    pub handshake_timeout: Duration,
    /// How long an inbound link may stay without a whole packet (H31).
    pub first_packet_timeout: Duration,
    /// How long the kernel waits for a peer's system to acknowledge or take bytes (P7).
    pub unacknowledged_timeout: Duration,
    /// For how long after a step of the main loop quiet heartbeats are answered without it; zero means never.
    pub lease: Duration,
    /// How many links there may be at once (H30).
    pub max_links: usize,
    /// How many inbound TLS handshakes there may be at once (H38).
    pub max_handshakes: usize,
    /// How many bytes of packets that are not whole yet the links of nobody known may hold together, each beyond
    /// [`limits::ANONYMOUS_FREE_BYTES`]; 0 means no limit (H30).
    pub max_anonymous_bytes: usize,
    /// A link with more unsent bytes than this is given up; 0 means no limit (R18).
    pub link_sendbuf_limit_bytes: usize,
    /// Jobs that each lane of the inbox holds; the lanes of shared workers hold [`limits::INBOX_JOBS`].
    pub inbox_jobs: usize,
    /// Completions that the outbox holds.
    pub outbox_completions: usize,
    /// Keys for TLS links; without them no TLS link can be made.
    pub tls: Option<TlsSetup>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            io_threads: limits::IO_THREADS,
            shares_workers: false,
            io_threads_always_active: false,
            handshake_timeout: Duration::from_millis(limits::TLS_HANDSHAKE_TIMEOUT_MS),
            first_packet_timeout: Duration::from_millis(limits::FIRST_PACKET_TIMEOUT_MS),
            unacknowledged_timeout: Duration::from_millis(limits::UNACKNOWLEDGED_TIMEOUT_MS),
            lease: Duration::from_millis(limits::LEASE_MS),
            max_links: limits::LINKS_MAX,
            max_handshakes: limits::TLS_HANDSHAKES_MAX,
            max_anonymous_bytes: limits::ANONYMOUS_BYTES_MAX,
            link_sendbuf_limit_bytes: 0,
            inbox_jobs: limits::INBOX_JOBS,
            outbox_completions: limits::OUTBOX_COMPLETIONS,
            tls: None,
        }
    }
}
