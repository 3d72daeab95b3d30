//! How bytes travel on a link: the socket, the halves of a plain link, the transport of a TLS link, and the framing
//! both share.
//!
//! Knows sockets and frames, but no thread, no queue and no table of links. What is here is owned by one job at a time.

pub(crate) mod plain;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod transfer;
