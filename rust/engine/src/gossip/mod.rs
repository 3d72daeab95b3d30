//! Gossip off the main thread: the published view of the node table, the digest of heartbeats against it, and the
//! encoding of our own heartbeats from it (R33, R34).
//!
//! Holds no cluster state of its own: the main thread makes the view and alone acts on what a packet says. A digest
//! only ever answers one question: would applying this packet to the state behind this view change nothing?
//! Times are the exception, and are atomics with "the greatest wins".

mod digest;
mod heartbeat;
mod view;

pub(crate) use digest::{Quiet, digest};
pub(crate) use heartbeat::{GossipScratch, encode_heartbeat, heartbeat_len_bytes};
pub(crate) use view::IdBytes;
pub use view::{Expected, NodeTimes, Reports, View, ViewHeader, ViewNode};
