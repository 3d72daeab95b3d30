//! Gossip off the main thread: the published view of the node table, the comparison of heartbeats with it, and the
//! encoding of our own heartbeats from it (R33, R34).
//!
//! Holds no cluster state of its own: the main thread makes the view, and only the main thread acts on what a packet
//! says. The comparison answers one question: what in this packet would change the state behind this view? Times and
//! the replication offset are the exception; they are atomics beside the view.
//!
//! In reading order: `node` (what is said of one), `round_trip` (how long its PONGs take), `rows` (where a node's row
//! is), `view`, `compare` (a packet of a peer), `heartbeat` (a packet of ours).

mod compare;
mod heartbeat;
mod node;
mod round_trip;
mod rows;
mod view;

pub use compare::Verdict;
pub(crate) use compare::compare;
pub(crate) use heartbeat::{GossipScratch, encode_heartbeat, heartbeat_len_bytes};
pub(crate) use node::IdBytes;
pub use node::{ExpectedHeartbeat, NodeRow, NodeTimes, NodeTraits, Reports};
pub use round_trip::RoundTripTimes;
pub use view::{Version, View, ViewHeader};
