//! How bytes travel on a link: the socket, the halves of a plain link, the transport of a TLS link, and the framing
//! that both use.
//!
//! Knows sockets and frames, but no thread, no queue and no table of links. One job at a time owns a half or a
//! transport.
//!
//! In reading order: `socket` (one non-blocking connection), `times` (when it read last, how long PINGs take),
//! `anonymous` (what strangers may leave unfinished), `transfer` (what a job brings home, and the framing), `plain` (the
//! two halves of a plain link), `tls` (the transport of a TLS link).

pub(crate) mod anonymous;
pub(crate) mod plain;
pub(crate) mod socket;
pub(crate) mod times;
pub(crate) mod tls;
pub(crate) mod transfer;
