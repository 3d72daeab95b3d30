//! The code that the load generator and the floor server of `make bench-peers` share.
//!
//! Owns prepared packets, framing, sockets, latency counts, and the reading of a server's CPU time from outside. Must
//! never use the code that it measures: of clusterbus it uses only the wire crate, to build packets and to check
//! answers. Everything runs on one thread.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod churn;
pub mod framer;
pub mod histogram;
pub mod metronome;
pub mod observe;
pub mod packets;
pub mod record;
pub mod roster;
pub mod tls;
pub mod transport;

/// The error that ends a run; its text says what went wrong.
pub type Failure = Box<dyn std::error::Error>;

/// How many bytes one read asks for; larger than the largest heartbeat of the workloads.
pub const READ_LEN_BYTES: usize = 256 * 1024;
/// The most events that one `epoll_wait` takes.
pub const EVENTS_PER_WAIT: usize = 512;
/// The channel of the messages that the publish workload sends.
pub const PUBLISH_CHANNEL: &str = "bench";
/// The length of those messages.
pub const PUBLISH_MESSAGE_LEN_BYTES: usize = 1024;

/// The PUBLISH command as a client sends it.
pub fn publish_command() -> Vec<u8> {
    let message = "m".repeat(PUBLISH_MESSAGE_LEN_BYTES);
    let (channel_len, message_len) = (PUBLISH_CHANNEL.len(), message.len());
    format!(
        "*3\r\n$7\r\nPUBLISH\r\n${channel_len}\r\n{PUBLISH_CHANNEL}\r\n${message_len}\r\n{message}\r\n"
    )
    .into_bytes()
}
