//! Bytes only: headers, gossip, extensions and framing of the cluster bus, protocol version 1.
//!
//! No thread, clock, socket or Python in here; nothing panics on peer input.
#![forbid(unsafe_code)]
