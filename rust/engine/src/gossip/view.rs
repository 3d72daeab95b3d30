//! The node table as workers see it: immutable, published whole by one atomic pointer swap.
//!
//! Built by the main thread from rows it keeps per node, so that a change of one node costs one new row. Never
//! changed after it is published; what must change all the time (times) is in atomics that views share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clusterbus_wire::layout::GossipLayout;
use clusterbus_wire::{FLAG_FAIL, FLAG_PFAIL, NODE_ID_LEN_BYTES, Packet};

pub(crate) type IdBytes = [u8; NODE_ID_LEN_BYTES];

/// Times about one node that change without a new view. Single values without companions, all Relaxed: a reader
/// that is late by one value is as good as a packet that came a moment later.
#[derive(Debug, Default)]
pub struct NodeTimes {
    /// Unix seconds; written by the main thread, and what our gossip says of the node.
    ping_sent_s: AtomicU32,
    /// See `ping_sent_s`.
    pong_received_s: AtomicU32,
    /// Greatest PONG time that quiet gossip gave of the node, unix seconds; raised by workers, read and forgotten by
    /// the main thread.
    gossiped_pong_s: AtomicU32,
    /// When this node last repeated every failure report it stands by, unix milliseconds; raised by workers.
    reports_repeated_ms: AtomicU64,
    /// The replication offset in the node's last heartbeat; written by the main thread.
    repl_offset: AtomicU64,
}

impl NodeTimes {
    /// What our gossip says of the node from now on; 0 is never.
    pub fn set_own(&self, ping_sent_s: u32, pong_received_s: u32) {
        self.ping_sent_s.store(ping_sent_s, Ordering::Relaxed);
        self.pong_received_s.store(pong_received_s, Ordering::Relaxed);
    }

    pub(crate) fn own(&self) -> (u32, u32) {
        (self.ping_sent_s.load(Ordering::Relaxed), self.pong_received_s.load(Ordering::Relaxed))
    }

    /// A peer had a PONG of the node at `pong_s`.
    pub(crate) fn note_gossiped_pong(&self, pong_s: u32) {
        if self.gossiped_pong_s.load(Ordering::Relaxed) < pong_s {
            self.gossiped_pong_s.fetch_max(pong_s, Ordering::Relaxed);
        }
    }

    /// The greatest PONG time that gossip gave since `forget_gossiped`, unix seconds; 0 for none.
    pub fn gossiped_pong_s(&self) -> u32 {
        self.gossiped_pong_s.load(Ordering::Relaxed)
    }

    /// We have heard the node ourselves: that is better than anything gossip said so far.
    pub fn forget_gossiped(&self) {
        self.gossiped_pong_s.store(0, Ordering::Relaxed);
    }

    /// The replication offset in the node's last heartbeat.
    pub fn repl_offset(&self) -> u64 {
        self.repl_offset.load(Ordering::Relaxed)
    }

    /// A heartbeat of the node carries this replication offset.
    pub fn set_repl_offset(&self, offset: u64) {
        self.repl_offset.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn repeat_reports(&self, now_ms: u64) {
        self.reports_repeated_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// When the node last repeated all its reports, unix milliseconds; 0 for never.
    pub fn reports_repeated_ms(&self) -> u64 {
        self.reports_repeated_ms.load(Ordering::Relaxed)
    }
}

/// What a heartbeat of a node looks like when it says nothing new in its header and extensions.
#[derive(Debug)]
pub struct ExpectedHeartbeat {
    /// A primary's. None for a replica: what its heartbeats say here is its primary's, and is not looked at.
    pub config_epoch: Option<u64>,
    /// The slots a primary claims, 2,048 bytes; empty for a replica, whose claims are not looked at.
    pub myslots: Bytes,
    /// All zero for a primary.
    pub replicaof: IdBytes,
    /// The header's flags that the state keeps, as they were.
    pub flags: u16,
    /// Which of the header's flags the state keeps.
    pub flags_mask: u16,
    /// Its extensions, byte for byte, when last applied, and how many there were.
    pub extensions: Bytes,
    /// See `extensions`.
    pub extensions_len: u16,
    /// Its failure reports count.
    pub votes: bool,
    /// The nodes it reports as failing.
    pub reports: Reports,
}

/// One node of a view.
#[derive(Debug)]
pub struct NodeRow {
    /// What our gossip says of it; the two times are filled in when a heartbeat is encoded.
    pub entry: GossipLayout,
    /// Whether our gossip may mention it.
    pub is_gossiped: bool,
    /// Somebody reports it as failing: what others say of it matters.
    pub has_reports: bool,
    /// It is known to take extensions.
    pub takes_extensions: bool,
    /// None when every heartbeat of it must be looked at in full.
    pub expected: Option<Arc<ExpectedHeartbeat>>,
    /// Shared by all rows of the node.
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

/// Nodes that one node reports as failing. A node is recognised by the memory address of its `NodeTimes`: no other
/// node's can have the same while they are alive.
#[derive(Debug, Default)]
pub struct Reports {
    sorted: Vec<usize>,
    /// Keeps them alive, and so their addresses theirs.
    _times: Vec<Arc<NodeTimes>>,
}

impl Reports {
    /// Reports about the nodes of these times.
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

    /// Which of the reports is about this node.
    pub(crate) fn find(&self, node: &NodeRow) -> Option<usize> {
        self.sorted.binary_search(&Arc::as_ptr(&node.times).addr()).ok()
    }
}

/// The node's own part of a view.
#[derive(Debug)]
pub struct ViewHeader {
    /// Our header as an encoded PING without gossip and extensions.
    pub template: Bytes,
    /// Our extensions, encoded, and how many they are; sent to peers that take them.
    pub extensions: Bytes,
    /// See `extensions`.
    pub extensions_len: u16,
    /// The greatest epoch seen.
    pub current_epoch: u64,
    /// Nodes in the table, those in handshake and ourselves included. A heartbeat mentions a tenth of this number.
    pub table_len: usize,
}

/// The node table at one version of the state.
#[derive(Debug)]
pub struct View {
    /// The state's version; what is quiet, is quiet to a state of that version alone.
    pub version: u64,
    pub(crate) header: ViewHeader,
    pub(crate) nodes: Vec<Arc<NodeRow>>,
    /// Places in `nodes` of those held PFAIL: every heartbeat mentions them.
    pub(crate) pfail: Vec<u32>,
    index: HashMap<IdBytes, u32, foldhash::fast::RandomState>,
    /// Ties the state's timeline of unix milliseconds to this machine's monotonic clock.
    published: (Instant, u64),
}

impl View {
    /// A view of `nodes` at `version`; `now_ms` is the state's time.
    #[must_use]
    pub fn new(
        version: u64,
        now_ms: u64,
        header: ViewHeader,
        nodes: Vec<Arc<NodeRow>>,
    ) -> Arc<Self> {
        let places = || nodes.iter().zip(0u32..);
        let index = places().map(|(node, place)| (node.entry.node_id, place)).collect();
        let pfail = places().filter(|(node, _)| node.is_gossiped && node.is_pfail());
        let pfail = pfail.map(|(_, place)| place).collect();
        Arc::new(Self { version, header, pfail, index, published: (Instant::now(), now_ms), nodes })
    }

    pub(crate) fn place(&self, id: &IdBytes) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// Whether the node has a row: only to such a one can a heartbeat be encoded from the view.
    #[must_use]
    pub fn knows(&self, id: &IdBytes) -> bool {
        self.index.contains_key(id)
    }

    pub(crate) fn node(&self, id: &IdBytes) -> Option<&NodeRow> {
        self.nodes.get(self.place(id)? as usize).map(|node| &**node)
    }

    /// A quiet heartbeat takes effect: what it says of its sender's replication is kept. Not done when it is compared,
    /// for a packet that was read before may still wait to be applied.
    pub fn note_offset(&self, packet: &Packet) {
        let packet = packet.packet_ref();
        let Some(header) = packet.header() else { return };
        if let Some(sender) = self.node(&header.sender) {
            sender.times.set_repl_offset(header.offset.get());
        }
    }

    /// The state's time now.
    pub(crate) fn now_ms(&self) -> u64 {
        let (at, now_ms) = self.published;
        now_ms + at.elapsed().as_millis() as u64
    }
}
