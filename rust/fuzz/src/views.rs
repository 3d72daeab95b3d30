//! Target `view`, and what `news` needs of it: a table of nodes, and the view that is published of it.
//!
//! Owns the model: plain rows in a list, changed one by one. A view that was made from the one before it must do what a
//! view of the whole list does; every heartbeat that is encoded from it must pass the check and say what the list says.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use clusterbus_engine::{
    ExpectedHeartbeat, NodeRow, NodeTimes, NodeTraits, Reports, Version, View, ViewHeader,
};
use clusterbus_wire::layout::GossipLayout;
use clusterbus_wire::{
    FLAG_FAIL, FLAG_MYSELF, FLAG_PFAIL, GOSSIP_ENTRIES_MAX, GOSSIP_MIN, GossipEntry,
    HEADER_LEN_BYTES, Header, Heartbeat, HeartbeatKind, MFLAG_EXTENSIONS, Message, MessageType,
    NODE_ID_LEN_BYTES, NodeId, Packet, SLOT_BITMAP_LEN_BYTES,
};
use zerocopy::IntoBytes;

use crate::messages::{gossip_entry, ip};

pub(crate) type IdBytes = [u8; NODE_ID_LEN_BYTES];

/// Time of the state in all inputs, unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
/// How many different ids an input can name: more than fit into a few pieces of a view's list.
const IDS: u8 = 96;
const CHANGES_MAX: usize = 12;
const NODES_MAX: u8 = 64;

/// One of few ids. A third of them differ only in digits that a view's index does not hash.
pub(crate) fn id_of(number: u8) -> NodeId {
    let number = number % IDS;
    let text = match number % 3 {
        0 => format!("{number:08x}{:032}", 0),
        _ => format!("{:032}{number:08x}", 0),
    };
    NodeId::new(text.as_bytes()).expect("hex digits")
}

pub(crate) fn some_id(bytes: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(id_of(bytes.arbitrary()?))
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) entry: GossipLayout,
    pub(crate) traits: NodeTraits,
    pub(crate) expected: Option<Expected>,
    /// Shared by all rows of the node, as in a view.
    pub(crate) times: Arc<NodeTimes>,
}

/// The quiet heartbeat of one node.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) config_epoch: Option<u64>,
    pub(crate) myslots: Vec<u8>,
    pub(crate) replicaof: IdBytes,
    pub(crate) flags: u16,
    pub(crate) flags_mask: u16,
    pub(crate) extensions: Vec<u8>,
    pub(crate) extensions_len: u16,
    /// The ids of those that it reports.
    pub(crate) reports: Vec<IdBytes>,
    pub(crate) is_unsettled: bool,
}

impl Row {
    pub(crate) fn id(&self) -> &IdBytes {
        &self.entry.node_id
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.entry.flags.get() & (FLAG_PFAIL | FLAG_FAIL) != 0
    }
}

/// The list, and the view of it.
pub(crate) struct World {
    pub(crate) rows: Vec<Row>,
    pub(crate) current_epoch: u64,
    table_len: usize,
    gossip_percent: usize,
    version: Arc<Version>,
    pub(crate) view: Arc<View>,
}

impl World {
    /// A view of some nodes, and then of some changes.
    pub(crate) fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let current_epoch = bytes.arbitrary::<u8>()?.into();
        let (beyond, gossip_percent): (u8, u8) = bytes.arbitrary()?;
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..bytes.arbitrary::<u8>()? % NODES_MAX {
            put(&mut rows, row(bytes)?);
        }
        let version = Arc::new(Version::default());
        let (table_len, gossip_percent) = (usize::from(beyond), usize::from(gossip_percent % 101));
        let header = view_header(current_epoch, rows.len() + table_len, gossip_percent);
        let view = View::new(version.clone(), NOW_MS, header, made(&rows, &rows));
        let mut world = Self { rows, current_epoch, table_len, gossip_percent, version, view };
        for _ in 0..bytes.arbitrary::<u8>()? as usize % CHANGES_MAX {
            world.change(bytes)?;
        }
        Ok(world)
    }

    fn header(&self) -> ViewHeader {
        view_header(self.current_epoch, self.rows.len() + self.table_len, self.gossip_percent)
    }

    /// Some rows go, some become others, some are added.
    fn change(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let mut gone = Vec::new();
        for _ in 0..bytes.arbitrary::<u8>()? % 4 {
            gone.push(*some_id(bytes)?.as_bytes());
        }
        self.rows.retain(|row| !gone.contains(row.id()));
        let mut changed: Vec<Row> = Vec::new();
        for _ in 0..bytes.arbitrary::<u8>()? % 8 {
            let row = row(bytes)?;
            put(&mut changed, put(&mut self.rows, row));
        }
        // What a node reports is kept with the nodes that it is about, so its row is another when these come or go.
        let moved = |id: &IdBytes| gone.contains(id) || changed.iter().any(|row| row.id() == id);
        let reports = |row: &&Row| {
            row.expected.as_ref().is_some_and(|expected| expected.reports.iter().any(&moved))
        };
        let reporters: Vec<Row> = self.rows.iter().filter(reports).cloned().collect();
        reporters.into_iter().for_each(|row| drop(put(&mut changed, row)));
        self.version.advance();
        assert!(!self.view.is_current());
        let made = made(&changed, &self.rows);
        self.view = self.view.changed(NOW_MS, self.header(), made, &gone);
        assert!(self.view.is_current());
        Ok(())
    }

    /// The view of the whole list, made at once.
    pub(crate) fn whole_view(&self) -> Arc<View> {
        View::new(self.version.clone(), NOW_MS, self.header(), made(&self.rows, &self.rows))
    }

    /// The slow way to a row.
    pub(crate) fn find(&self, id: &IdBytes) -> Option<&Row> {
        self.rows.iter().find(|row| row.id() == id)
    }
}

/// Puts a row in the place of the one of the same node, whose times it shares, or at the end; returns what stands there.
fn put(rows: &mut Vec<Row>, mut row: Row) -> Row {
    match rows.iter_mut().find(|old| old.id() == row.id()) {
        Some(old) => {
            row.times = old.times.clone();
            *old = row.clone();
        }
        None => rows.push(row.clone()),
    }
    row
}

/// Rows as a view takes them; `all` are those that reports can be about.
fn made(rows: &[Row], all: &[Row]) -> Vec<NodeRow> {
    let expected = |expected: &Expected| {
        let about = all.iter().filter(|row| expected.reports.contains(row.id()));
        Arc::new(ExpectedHeartbeat {
            config_epoch: expected.config_epoch,
            myslots: Bytes::from(expected.myslots.clone()),
            replicaof: expected.replicaof,
            flags: expected.flags,
            flags_mask: expected.flags_mask,
            extensions: Bytes::from(expected.extensions.clone()),
            extensions_len: expected.extensions_len,
            reports: Reports::new(about.map(|row| row.times.clone())),
            is_unsettled: expected.is_unsettled,
        })
    };
    let made = rows.iter().map(|row| {
        let quiet = row.expected.as_ref().map(expected);
        NodeRow::new(row.entry, row.traits, quiet, row.times.clone())
    });
    made.collect()
}

fn view_header(current_epoch: u64, table_len: usize, gossip_percent: usize) -> ViewHeader {
    let myself = Header::new(id_of(0));
    let (kind, gossip, extensions) = (HeartbeatKind::Ping, Vec::new(), Vec::new());
    let template = Message::Heartbeat(Heartbeat { kind, header: myself, gossip, extensions });
    ViewHeader {
        template: template.encode().expect("a short message").into(),
        extensions: extension_bytes(1).into(),
        extensions_len: 1,
        current_epoch,
        table_len,
        gossip_percent,
    }
}

/// That many extensions of a type that nobody knows.
pub(crate) fn extension_bytes(count: u8) -> Vec<u8> {
    (0..count)
        .flat_map(|number| [0, 0, 0, 16, 0xee, 0, 0, 0, number, 1, 2, 3, 4, 5, 6, 7])
        .collect()
}

fn row(bytes: &mut Unstructured<'_>) -> Result<Row> {
    let mut entry: GossipEntry = gossip_entry(bytes)?;
    entry.node_id = some_id(bytes)?;
    entry.ip = ip(bytes)?;
    if entry.node_id != id_of(0) {
        entry.flags &= !FLAG_MYSELF;
    }
    let [a, b, c, has_expected]: [bool; 4] = bytes.arbitrary()?;
    let traits = NodeTraits { is_gossiped: a, has_reports: b, takes_extensions: c };
    let expected = if has_expected { Some(expected(bytes)?) } else { None };
    Ok(Row { entry: entry.to_layout(), traits, expected, times: Arc::default() })
}

fn expected(bytes: &mut Unstructured<'_>) -> Result<Expected> {
    let is_primary: bool = bytes.arbitrary()?;
    let count = bytes.arbitrary::<u8>()? % 3;
    let mut reports = Vec::new();
    for _ in 0..bytes.arbitrary::<u8>()? % 4 {
        reports.push(*some_id(bytes)?.as_bytes());
    }
    let primary = if is_primary { [0; NODE_ID_LEN_BYTES] } else { *some_id(bytes)?.as_bytes() };
    let slots = vec![bytes.arbitrary::<bool>()?.into(); SLOT_BITMAP_LEN_BYTES];
    Ok(Expected {
        config_epoch: if is_primary { Some(bytes.arbitrary::<u8>()?.into()) } else { None },
        myslots: if is_primary { slots } else { Vec::new() },
        replicaof: primary,
        flags: u16::from(bytes.arbitrary::<u8>()?) & 0x13,
        flags_mask: 0x13,
        extensions: extension_bytes(count),
        extensions_len: count.into(),
        reports,
        is_unsettled: bytes.arbitrary::<u8>()? == 0,
    })
}

/// See the module.
pub(crate) fn view(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(world) = World::arbitrary(&mut bytes) else { return };
    let whole = world.whole_view();
    for number in 0..IDS {
        let id = *id_of(number).as_bytes();
        assert_eq!(world.view.knows(&id), world.find(&id).is_some(), "{number}");
        assert_eq!(whole.knows(&id), world.find(&id).is_some(), "{number}");
    }
    for _ in 0..4 {
        let Ok((receiver, seed, is_pong)) = bytes.arbitrary::<(u8, u64, bool)>() else { return };
        let kind = if is_pong { MessageType::Pong } else { MessageType::Ping };
        let receiver = id_of(receiver);
        let message = world.view.encode_heartbeat(kind.number(), receiver.as_bytes(), seed);
        let same = whole.encode_heartbeat(kind.number(), receiver.as_bytes(), seed);
        assert_eq!(message, same, "a view made step by step says something else");
        check_heartbeat(&world, message, kind, receiver.as_bytes());
    }
}

/// A heartbeat passes the check, mentions nobody twice whom it draws, never its receiver unless that is PFAIL, and says
/// what the list says.
fn check_heartbeat(world: &World, message: Bytes, kind: MessageType, receiver: &IdBytes) {
    let message_len = message.len();
    let packet = Packet::new(message).expect("a heartbeat of ours passes the check");
    let packet = packet.packet_ref();
    assert_eq!(packet.message_type(), Some(kind));
    let receiver = world.find(receiver);
    let header = packet.header().expect("heartbeats have a full header");
    let takes = receiver.is_some_and(|row| row.traits.takes_extensions);
    assert_eq!(
        (header.extensions.get(), packet.extension_bytes().len()),
        if takes { (1, 16) } else { (0, 0) }
    );
    assert_eq!(header.mflags[0], MFLAG_EXTENSIONS);
    assert_eq!(message_len, header.totlen.get() as usize);
    let is_pfail = |row: &Row| row.entry.flags.get() & FLAG_PFAIL != 0 && row.traits.is_gossiped;
    let table_len = world.rows.len() + world.table_len;
    let wanted =
        GOSSIP_MIN.max(table_len * world.gossip_percent / 100).min(table_len.saturating_sub(2));
    let pfail = world.rows.iter().filter(|row| is_pfail(row)).count();
    let mut mentioned = Vec::new();
    let mut sick = 0;
    for entry in packet.gossip() {
        let row = world.find(&entry.node_id).expect("a node of the list");
        assert!(row.traits.is_gossiped, "a node that gossip must not mention");
        assert!(!mentioned.contains(&entry.node_id), "mentioned twice");
        mentioned.push(entry.node_id);
        sick += usize::from(is_pfail(row));
        assert!(is_pfail(row) || receiver.is_none_or(|receiver| receiver.id() != row.id()));
        let mut said = row.entry;
        (said.ping_sent_s, said.pong_received_s) = (0.into(), 0.into());
        assert_eq!(entry.as_bytes(), said.as_bytes(), "it says something else");
    }
    assert_eq!(sick, pfail, "every PFAIL node is mentioned (R34)");
    assert!(mentioned.len() <= (wanted + pfail).min(GOSSIP_ENTRIES_MAX));
    let len = HEADER_LEN_BYTES + 104 * mentioned.len() + packet.extension_bytes().len();
    assert_eq!(message_len, len);
}
