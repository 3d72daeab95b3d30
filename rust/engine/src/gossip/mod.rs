//! Gossip off the main thread: the published view of the node table, the comparison of heartbeats with it, and the
//! encoding of our own heartbeats from it (R33, R34).
//!
//! Holds no cluster state of its own: the main thread makes the view, and only the main thread acts on what a packet
//! says. The comparison answers one question: would applying this packet leave the state behind this view unchanged?
//! Times and the replication offset are the exception; they are atomics beside the view.
//!
//! In reading order: `view` (what it says, and the times beside it), `rows` (where a node's row is), `compare` (a packet of a peer), `heartbeat` (a packet
//! of ours).

mod compare;
mod heartbeat;
mod rows;
mod view;

pub(crate) use compare::{Quiet, compare};
pub(crate) use heartbeat::{GossipScratch, encode_heartbeat, heartbeat_len_bytes};
pub(crate) use view::IdBytes;
pub use view::{ExpectedHeartbeat, NodeRow, NodeTimes, Reports, Version, View, ViewHeader};
