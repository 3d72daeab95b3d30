//! Packets and node tables for the cases: a cluster of primaries that know each other and have nothing new to say.

use std::sync::Arc;

use bytes::Bytes;
use clusterbus_engine::{ExpectedHeartbeat, NodeRow, NodeTraits, Reports, View, ViewHeader};
use clusterbus_wire::{
    FLAG_PRIMARY, GOSSIP_PERCENT, GossipEntry, HEADER_LEN_BYTES, Header, Heartbeat, HeartbeatKind,
    IpText, Message, NodeId, SlotBitmap,
};

/// The time at which everything happens, unix milliseconds.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// Id of the node with this number; ours is number 0.
pub fn id(number: usize) -> NodeId {
    // The first digits vary, as in real ids.
    let text =
        format!("{:016x}{number:024x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    NodeId::new(text.as_bytes()).expect("forty hex characters")
}

fn ip(number: usize) -> IpText {
    let text = format!("10.0.{}.{}", number / 250, number % 250 + 1);
    IpText::new("ip", &text).expect("an address")
}

fn slots_of(number: usize) -> SlotBitmap {
    let mut bitmap = [0; 2048];
    bitmap[number % 2048] = 0xff;
    SlotBitmap::from(&bitmap)
}

fn header(number: usize) -> Header {
    let mut header = Header::new(id(number));
    header.port = 7000;
    header.cport = 17000;
    header.current_epoch = 9;
    header.config_epoch = number as u64 + 1;
    header.myslots = slots_of(number);
    header.myip = ip(number);
    header.flags = FLAG_PRIMARY;
    header
}

fn entry(number: usize) -> GossipEntry {
    let mut entry = GossipEntry::new(id(number));
    entry.pong_received_s = (NOW_MS / 1000) as u32 - 1;
    entry.ip = ip(number);
    entry.port = 7000;
    entry.cport = 17000;
    entry.flags = FLAG_PRIMARY;
    entry
}

/// A heartbeat of node `sender` that mentions `entries` other nodes, out of `nodes`.
pub fn heartbeat(kind: HeartbeatKind, sender: usize, entries: usize, nodes: usize) -> Message {
    let mentioned = (1..=entries).map(|step| 1 + (sender + step * 7) % (nodes - 1));
    let gossip = mentioned.map(entry).collect();
    Message::Heartbeat(Heartbeat::new(kind, header(sender), gossip, Vec::new()))
}

/// The same as bytes.
pub fn encoded(kind: HeartbeatKind, sender: usize, entries: usize, nodes: usize) -> Vec<u8> {
    heartbeat(kind, sender, entries, nodes).encode().expect("a valid message")
}

/// Our view of that cluster, in which every heartbeat of its members is quiet.
pub fn view(nodes: usize) -> Arc<View> {
    let rows = (1..nodes).map(|number| {
        let header = header(number);
        let expected = ExpectedHeartbeat {
            config_epoch: Some(header.config_epoch),
            myslots: Bytes::copy_from_slice(header.myslots.as_bytes()),
            replicaof: [0; 40],
            flags: FLAG_PRIMARY,
            flags_mask: FLAG_PRIMARY,
            extensions: Bytes::new(),
            extensions_len: 0,
            reports: Reports::default(),
            is_unsettled: false,
        };
        let traits = NodeTraits { is_gossiped: true, ..NodeTraits::default() };
        NodeRow::new(entry(number).to_layout(), traits, Some(Arc::new(expected)), Arc::default())
    });
    let template = encoded(HeartbeatKind::Ping, 0, 0, nodes);
    debug_assert_eq!(template.len(), HEADER_LEN_BYTES);
    let header = ViewHeader {
        template: template.into(),
        extensions: Bytes::new(),
        extensions_len: 0,
        current_epoch: 9,
        table_len: nodes,
        gossip_percent: GOSSIP_PERCENT,
    };
    View::new(Arc::default(), NOW_MS, header, rows.collect())
}
