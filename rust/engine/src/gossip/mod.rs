//! Gossip off the main thread: the published view of the node table, the comparison of heartbeats with it, and the
//! encoding of our own heartbeats from it (R33, R34).
//!
//! Holds no cluster state of its own: the main thread makes the view and alone acts on what a packet says. The
//! comparison answers one question only: would applying this packet to the state behind this view change nothing? Times
//! are the exception, and are atomics with "the greatest wins".

mod compare;
mod heartbeat;
mod view;

pub(crate) use compare::{Quiet, compare};
pub(crate) use heartbeat::{GossipScratch, encode_heartbeat, heartbeat_len_bytes};
pub(crate) use view::IdBytes;
pub use view::{ExpectedHeartbeat, NodeRow, NodeTimes, Reports, View, ViewHeader};
