//! What a view says of one node: its row, and the times beside it.
//!
//! A row is never changed. The times are atomics that all rows of the node share, in all views: some are written by the
//! main thread and read by workers, others raised by workers and read by the main thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clusterbus_wire::layout::GossipLayout;
use clusterbus_wire::{FLAG_FAIL, FLAG_HANDSHAKE, FLAG_MYSELF, FLAG_PFAIL, NODE_ID_LEN_BYTES};

use crate::gossip::round_trip::{RoundTrip, RoundTripTimes};

/// Flags that have a meaning only inside the node that sets them: gossip about another node must not carry them (H25).
pub(crate) const PRIVATE_FLAGS: u16 = FLAG_MYSELF | FLAG_HANDSHAKE;
pub(crate) const FAILING: u16 = FLAG_PFAIL | FLAG_FAIL;

pub(crate) type IdBytes = [u8; NODE_ID_LEN_BYTES];

/// What changes about one node without a new view. All Relaxed: each value stands alone, and reading an old one has the
/// same effect as a packet that came a moment later.
#[derive(Debug, Default)]
pub struct NodeTimes {
    /// When we pinged the node last and heard its last PONG, as our gossip says it: two numbers of unix seconds, as they
    /// lie in an entry. Written by the main thread.
    own: AtomicU64,
    /// The greatest PONG time that quiet gossip gave for the node, unix seconds; raised by workers, read and reset by
    /// the main thread.
    gossiped_pong_s: AtomicU32,
    /// When the node last repeated all of its failure reports, unix milliseconds; raised by workers.
    reports_repeated_ms: AtomicU64,
    /// The replication offset in the node's last heartbeat; written by the main thread.
    repl_offset: AtomicU64,
    /// How long our PINGs to the node take; written by the job that reads on our link to it.
    round_trip: RoundTrip,
}

impl NodeTimes {
    /// Sets what our gossip says about the node from now on; 0 means never.
    pub fn set_own(&self, ping_sent_s: u32, pong_received_s: u32) {
        let own = u64::from(ping_sent_s) << 32 | u64::from(pong_received_s);
        self.own.store(own.to_be(), Ordering::Relaxed);
    }

    /// The two times as they lie in an entry.
    #[inline(always)]
    pub(crate) fn own(&self) -> [u8; 8] {
        self.own.load(Ordering::Relaxed).to_ne_bytes()
    }

    /// A peer received a PONG from the node at `pong_s`; a time after `latest_s` is not believed.
    #[inline(always)]
    pub(crate) fn note_gossiped_pong(&self, pong_s: u32, latest_s: u64) {
        let is_later = self.gossiped_pong_s.load(Ordering::Relaxed) < pong_s;
        if is_later && u64::from(pong_s) <= latest_s {
            self.gossiped_pong_s.fetch_max(pong_s, Ordering::Relaxed);
        }
    }

    /// The greatest PONG time that gossip gave since `forget_gossiped`, unix seconds; 0 if none.
    pub fn gossiped_pong_s(&self) -> u32 {
        self.gossiped_pong_s.load(Ordering::Relaxed)
    }

    /// Forgets what gossip said so far, because we have heard the node ourselves.
    pub fn forget_gossiped(&self) {
        self.gossiped_pong_s.store(0, Ordering::Relaxed);
    }

    /// The replication offset in the node's last heartbeat.
    pub fn repl_offset(&self) -> u64 {
        self.repl_offset.load(Ordering::Relaxed)
    }

    /// Keeps the replication offset that a heartbeat of the node carried.
    pub fn set_repl_offset(&self, offset: u64) {
        self.repl_offset.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn round_trip(&self) -> &RoundTrip {
        &self.round_trip
    }

    /// How long our PINGs to the node take until their PONG is read; `None` before the first.
    #[must_use]
    pub fn round_trip_times(&self) -> Option<RoundTripTimes> {
        self.round_trip_times_at(Instant::now())
    }

    /// The same; for whoever asks for those of many nodes.
    #[must_use]
    pub fn round_trip_times_at(&self, now: Instant) -> Option<RoundTripTimes> {
        self.round_trip.times(now)
    }

    pub(crate) fn repeat_reports(&self, now_ms: u64) {
        self.reports_repeated_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// When the node last repeated all of its reports, unix milliseconds; 0 means never.
    pub fn reports_repeated_ms(&self) -> u64 {
        self.reports_repeated_ms.load(Ordering::Relaxed)
    }
}

/// What a heartbeat of a node looks like when it says nothing new in its header and extensions.
#[derive(Debug)]
pub struct ExpectedHeartbeat {
    /// The node's, if it is a primary. None for a replica, whose heartbeats carry its primary's epoch; that is not
    /// compared.
    pub config_epoch: Option<u64>,
    /// The slots that a primary claims, 2,048 bytes; empty for a replica, whose claims are not compared.
    pub myslots: Bytes,
    /// The id of its primary; all zero for a primary.
    pub replicaof: IdBytes,
    /// The values of the header's flags that the state keeps.
    pub flags: u16,
    /// The mask of the header's flags that the state keeps.
    pub flags_mask: u16,
    /// The bytes of its extensions as last applied.
    pub extensions: Bytes,
    /// How many extensions those are.
    pub extensions_len: u16,
    /// The nodes it reports as failing.
    pub reports: Reports,
    /// Each of its headers must be looked at, though its gossip and extensions may be known.
    pub is_unsettled: bool,
}

/// One node of a view.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// What our gossip says about it; the two times are filled in when a heartbeat is encoded.
    pub(crate) entry: GossipLayout,
    /// It is another node, nobody holds it failing, and it has an address: an entry that says the same of it, but for
    /// flags that do not matter, is no news.
    pub(crate) is_well: bool,
    /// Our gossip may mention it when it is drawn; PFAIL nodes are mentioned without that.
    pub(crate) is_drawn: bool,
    pub(crate) traits: NodeTraits,
    /// Its quiet heartbeat; none when each of its heartbeats must be looked at in full.
    pub(crate) expected: Option<Arc<ExpectedHeartbeat>>,
    /// Shared by all rows of the node, in all views.
    pub(crate) times: Arc<NodeTimes>,
}

/// What a view must know of a node besides what gossip says.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeTraits {
    /// Whether our gossip may mention it.
    pub is_gossiped: bool,
    /// Whether some node reports it as failing; if so, what others say about it matters.
    pub has_reports: bool,
    /// Whether it is known to take extensions.
    pub takes_extensions: bool,
}

impl NodeRow {
    /// The row of the node that `entry` is about. `expected` is its quiet heartbeat; none when each of its heartbeats
    /// must be looked at in full.
    #[must_use]
    pub fn new(
        entry: GossipLayout,
        traits: NodeTraits,
        expected: Option<Arc<ExpectedHeartbeat>>,
        times: Arc<NodeTimes>,
    ) -> Self {
        let flags = entry.flags.get();
        let is_well =
            flags & (PRIVATE_FLAGS | FAILING) == 0 && !traits.has_reports && entry.ip[0] != 0;
        let is_drawn = traits.is_gossiped && flags & FLAG_PFAIL == 0;
        Self { entry, is_well, is_drawn, traits, expected, times }
    }

    pub(crate) fn is_pfail(&self) -> bool {
        self.entry.flags.get() & FLAG_PFAIL != 0
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.entry.flags.get() & FAILING != 0
    }
}

/// The nodes that one node reports as failing. A node is recognised by the memory address of its `NodeTimes`, which no
/// other node can have as long as those times are alive.
#[derive(Debug, Default)]
pub struct Reports {
    sorted: Vec<usize>,
    /// Keeps the times alive, so that no other node can get one of the addresses.
    _times: Vec<Arc<NodeTimes>>,
}

impl Reports {
    /// Reports about the nodes that these times belong to.
    #[must_use]
    pub fn new(times: impl Iterator<Item = Arc<NodeTimes>>) -> Self {
        let times: Vec<_> = times.collect();
        let mut sorted: Vec<_> = times.iter().map(|times| Arc::as_ptr(times).addr()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted, _times: times }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The place among the reports of the one about this node.
    pub(crate) fn find(&self, node: &NodeRow) -> Option<usize> {
        self.sorted.binary_search(&Arc::as_ptr(&node.times).addr()).ok()
    }
}
