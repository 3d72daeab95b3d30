//! The node table as workers see it: immutable, and published whole by swapping one atomic pointer.
//!
//! Built by the main thread from one row per node, or from the view before it and the rows that changed since. Never
//! changed after it is published; the times, which change all the time, are atomics that views share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clusterbus_wire::layout::GossipLayout;
use clusterbus_wire::{FLAG_FAIL, FLAG_PFAIL, NODE_ID_LEN_BYTES, Packet};

use super::rows::{IdIndex, Rows};

pub(crate) type IdBytes = [u8; NODE_ID_LEN_BYTES];

/// The version of the state, which the main thread moves the moment anything changes that decides what a heartbeat
/// changes. Workers read it to learn whether the view they look at is still true.
#[derive(Debug)]
pub struct Version(AtomicU64);

impl Default for Version {
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Version {
    /// The number of the present version.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// From now on the state has another version. Main thread only.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What changes about one node without a new view. All Relaxed: each value stands alone, and reading an old one has the
/// same effect as a packet that came a moment later.
#[derive(Debug, Default)]
pub struct NodeTimes {
    /// What our gossip says about the node, unix seconds; written by the main thread.
    ping_sent_s: AtomicU32,
    /// See `ping_sent_s`.
    pong_received_s: AtomicU32,
    /// The greatest PONG time that quiet gossip gave for the node, unix seconds; raised by workers, read and reset by
    /// the main thread.
    gossiped_pong_s: AtomicU32,
    /// When the node last repeated all of its failure reports, unix milliseconds; raised by workers.
    reports_repeated_ms: AtomicU64,
    /// The replication offset in the node's last heartbeat; written by the main thread.
    repl_offset: AtomicU64,
}

impl NodeTimes {
    /// Sets what our gossip says about the node from now on; 0 means never.
    pub fn set_own(&self, ping_sent_s: u32, pong_received_s: u32) {
        self.ping_sent_s.store(ping_sent_s, Ordering::Relaxed);
        self.pong_received_s.store(pong_received_s, Ordering::Relaxed);
    }

    pub(crate) fn own(&self) -> (u32, u32) {
        (self.ping_sent_s.load(Ordering::Relaxed), self.pong_received_s.load(Ordering::Relaxed))
    }

    /// A peer received a PONG from the node at `pong_s`.
    pub(crate) fn note_gossiped_pong(&self, pong_s: u32) {
        if self.gossiped_pong_s.load(Ordering::Relaxed) < pong_s {
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
    /// Whether its failure reports count.
    pub votes: bool,
    /// The nodes it reports as failing.
    pub reports: Reports,
}

/// One node of a view.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// What our gossip says about it; the two times are filled in when a heartbeat is encoded.
    pub entry: GossipLayout,
    /// Whether our gossip may mention it.
    pub is_gossiped: bool,
    /// Whether some node reports it as failing; if so, what others say about it matters.
    pub has_reports: bool,
    /// Whether it is known to take extensions.
    pub takes_extensions: bool,
    /// Its quiet heartbeat; none when each of its heartbeats must be looked at in full.
    pub expected: Option<Arc<ExpectedHeartbeat>>,
    /// Shared by all rows of the node, in all views.
    pub times: Arc<NodeTimes>,
}

impl NodeRow {
    pub(crate) fn is_pfail(&self) -> bool {
        self.entry.flags.get() & FLAG_PFAIL != 0
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.entry.flags.get() & (FLAG_PFAIL | FLAG_FAIL) != 0
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

/// What a view says of this node itself.
#[derive(Debug)]
pub struct ViewHeader {
    /// Our header: an encoded PING without gossip or extensions.
    pub template: Bytes,
    /// Our extensions, encoded; sent to peers that take extensions.
    pub extensions: Bytes,
    /// How many extensions those are.
    pub extensions_len: u16,
    /// The greatest epoch that we have seen.
    pub current_epoch: u64,
    /// Nodes in the table, including those in handshake and ourselves.
    pub table_len: usize,
    /// Of a hundred nodes in the table a heartbeat mentions this many.
    pub gossip_percent: usize,
}

/// The node table at one version of the state.
#[derive(Debug)]
pub struct View {
    /// The version of the state; a heartbeat that is quiet to this view is quiet only to a state of this version.
    pub version: u64,
    pub(crate) header: ViewHeader,
    pub(crate) rows: Rows,
    /// The places of PFAIL nodes, ascending: every heartbeat mentions them.
    pub(crate) pfail: Arc<[u32]>,
    index: IdIndex,
    /// The version that the state has now.
    present: Arc<Version>,
    /// Ties the state's timeline of unix milliseconds to this machine's monotonic clock.
    published: (Instant, u64),
}

impl View {
    /// A view of `nodes` at the present version of the state; `now_ms` is the state's time.
    #[must_use]
    pub fn new(
        present: Arc<Version>,
        now_ms: u64,
        header: ViewHeader,
        nodes: Vec<NodeRow>,
    ) -> Arc<Self> {
        let rows = Rows::new(nodes);
        let (index, pfail) = (IdIndex::new(&rows), pfail_places(&rows));
        let (version, published) = (present.number(), (Instant::now(), now_ms));
        Arc::new(Self { version, header, rows, pfail, index, present, published })
    }

    /// The view that follows this one: without the nodes in `gone`, and with `changed` in the place of the rows of the
    /// same nodes, or added. A view of some thousand nodes in which one row changed costs microseconds.
    #[must_use]
    pub fn changed(
        &self,
        now_ms: u64,
        header: ViewHeader,
        changed: Vec<NodeRow>,
        gone: &[IdBytes],
    ) -> Arc<Self> {
        let (mut rows, mut index) = (self.rows.clone(), self.index.clone());
        let gone: HashSet<_> = gone.iter().filter(|id| self.knows(id)).collect();
        let mut pfail_changed = !gone.is_empty();
        if !gone.is_empty() {
            let left = self.rows.iter().filter(|row| !gone.contains(&row.entry.node_id));
            rows = Rows::new(left.cloned().collect());
            index = index.anew(&rows);
        }
        for row in changed {
            pfail_changed |= is_pfail_gossip(&row);
            match index.find(&rows, &row.entry.node_id) {
                Some((place, before)) => {
                    pfail_changed |= is_pfail_gossip(before);
                    rows.set(place, row);
                }
                None => {
                    let id = row.entry.node_id;
                    rows.push(row);
                    index.push(&rows, &id);
                }
            }
        }
        let pfail = if pfail_changed { pfail_places(&rows) } else { self.pfail.clone() };
        let (present, published) = (self.present.clone(), (Instant::now(), now_ms));
        let version = present.number();
        Arc::new(Self { version, header, rows, pfail, index, present, published })
    }

    /// Whether the state still has the version that this is a view of.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.present.number() == self.version
    }

    pub(crate) fn place(&self, id: &IdBytes) -> Option<u32> {
        self.index.find(&self.rows, id).map(|(place, _)| place)
    }

    /// Whether the node has a row. Only to a node that has one can a heartbeat be encoded from the view.
    #[must_use]
    pub fn knows(&self, id: &IdBytes) -> bool {
        self.node(id).is_some()
    }

    #[inline]
    pub(crate) fn node(&self, id: &IdBytes) -> Option<&NodeRow> {
        self.index.find(&self.rows, id).map(|(_, row)| row)
    }

    /// Applies a quiet heartbeat: keeps its sender's replication offset. The comparison must not do this, because an
    /// earlier packet of the sender may still be waiting to be applied.
    pub fn note_offset(&self, packet: &Packet) {
        let packet = packet.packet_ref();
        let Some(header) = packet.header() else { return };
        if let Some(sender) = self.node(&header.sender) {
            sender.times.set_repl_offset(header.offset.get());
        }
    }

    /// The current time on the state's timeline, unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let (at, now_ms) = self.published;
        now_ms + at.elapsed().as_millis() as u64
    }
}

/// Whether every heartbeat mentions the node.
fn is_pfail_gossip(row: &NodeRow) -> bool {
    row.is_gossiped && row.is_pfail()
}

fn pfail_places(rows: &Rows) -> Arc<[u32]> {
    let pfail = rows.iter().zip(0u32..).filter(|(row, _)| is_pfail_gossip(row));
    pfail.map(|(_, place)| place).collect()
}
