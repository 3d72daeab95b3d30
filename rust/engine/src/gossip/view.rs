//! The node table as workers see it: immutable, and published whole by swapping one atomic pointer.
//!
//! Built by the main thread from one row per node, or from the view before it and the rows that changed since. Never
//! changed after it is published; the times, which change all the time, are atomics that views share (`node`).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clusterbus_wire::Packet;

use super::node::{IdBytes, NodeRow};
use super::rows::{IdIndex, QuickFinder, Rows};

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

    /// Finds most of the nodes, in few instructions.
    #[inline(always)]
    pub(crate) fn quick(&self) -> QuickFinder<'_> {
        self.index.quick(&self.rows)
    }

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
    row.traits.is_gossiped && row.is_pfail()
}

fn pfail_places(rows: &Rows) -> Arc<[u32]> {
    let pfail = rows.iter().zip(0u32..).filter(|(row, _)| is_pfail_gossip(row));
    pfail.map(|(_, place)| place).collect()
}
