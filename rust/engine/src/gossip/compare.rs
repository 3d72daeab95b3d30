//! The comparison: does a heartbeat say anything that the state behind the view does not know?
//!
//! Property (R33): for any packet and any view, when the answer is "quiet", applying the whole packet to that state
//! would change nothing but times and the sender's replication offset. The times that gossip brings are noted here; the
//! rest is noted by the main thread, if it takes the packet as quiet. If in doubt, the packet is not quiet. Runs on
//! whatever thread reads. Source of the rules: `clusterProcessPacket`, `clusterProcessGossipSection`; `receive.py` applies whole
//! packets.

use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{
    FLAG_FAIL, FLAG_HANDSHAKE, FLAG_MYSELF, FLAG_PFAIL, GOSSIP_FUTURE_MAX_MS, GossipEntry,
    IP_LEN_BYTES, MFLAG_EXTENSIONS, MessageType, Packet, PacketRef,
};

use super::view::{ExpectedHeartbeat, IdBytes, NodeRow, View};

/// Flags that have a meaning only inside the node that sets them: gossip about another node must not carry them (H25).
const PRIVATE_FLAGS: u16 = FLAG_MYSELF | FLAG_HANDSHAKE;

/// The result for a heartbeat that says nothing new to the state of `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The version of the view that it was compared with.
    pub version: u64,
    /// The node that sent it.
    pub sender: IdBytes,
    /// True for a PONG, false for a PING.
    pub is_pong: bool,
}

impl View {
    /// Whether a heartbeat that came from `peer_ip` says nothing new at `now_ms`; if so its times are noted.
    #[must_use]
    pub fn is_quiet(&self, packet: &Packet, peer_ip: &[u8; IP_LEN_BYTES], now_ms: u64) -> bool {
        compare(self, packet, peer_ip, now_ms).is_some()
    }
}

/// Compares a heartbeat with the view; `peer_ip` is the address its link comes from, as the wire writes it.
pub(crate) fn compare(
    view: &View,
    packet: &Packet,
    peer_ip: &[u8; IP_LEN_BYTES],
    now_ms: u64,
) -> Option<Quiet> {
    let packet = packet.packet_ref();
    let is_pong = match packet.message_type()? {
        MessageType::Ping => false,
        MessageType::Pong => true,
        _ => return None,
    };
    let header = packet.header()?;
    let sender = view.node(&header.sender)?;
    let expected = sender.expected.as_ref()?;
    let is_quiet = header_is_expected(view, header, sender, expected, peer_ip, is_pong)
        && extensions_are_expected(&packet, header, expected)
        && gossip_is_known(view, packet.gossip(), sender, expected, now_ms);
    if !is_quiet {
        return None;
    }
    Some(Quiet { version: view.version, sender: header.sender, is_pong })
}

fn header_is_expected(
    view: &View,
    header: &HeaderLayout,
    sender: &NodeRow,
    expected: &ExpectedHeartbeat,
    peer_ip: &[u8; IP_LEN_BYTES],
    is_pong: bool,
) -> bool {
    let entry = &sender.entry;
    let ip = if header.myip[0] == 0 { peer_ip } else { &header.myip };
    // Only a PING can give a node a new address; a PONG comes from the address we dialled.
    let address_is_known = is_pong
        || (*ip == entry.ip
            && (header.port, header.pport, header.cport) == (entry.port, entry.pport, entry.cport));
    let myip_is_sound = header.myip[0] == 0 || header.myip == entry.ip;
    let mflags_are_known = match header.mflags {
        [0, 0, 0] => true,
        [MFLAG_EXTENSIONS, 0, 0] => sender.takes_extensions,
        _ => false,
    };
    let claims_are_known = expected.config_epoch.is_none_or(|config_epoch| {
        header.config_epoch.get() == config_epoch && header.myslots[..] == expected.myslots[..]
    });
    address_is_known
        && myip_is_sound
        && mflags_are_known
        && header.current_epoch.get() <= view.header.current_epoch
        && header.flags.get() & expected.flags_mask == expected.flags
        && header.replicaof == expected.replicaof
        && claims_are_known
}

fn extensions_are_expected(
    packet: &PacketRef<'_>,
    header: &HeaderLayout,
    expected: &ExpectedHeartbeat,
) -> bool {
    let flagged = header.mflags[0] & MFLAG_EXTENSIONS != 0;
    header.extensions.get() == expected.extensions_len
        && (flagged || expected.extensions_len == 0)
        && *packet.extension_bytes() == expected.extensions[..]
}

fn gossip_is_known(
    view: &View,
    entries: &[GossipLayout],
    sender: &NodeRow,
    expected: &ExpectedHeartbeat,
    now_ms: u64,
) -> bool {
    let mut repeated: Option<Repeated> = None;
    for entry in entries {
        let flags = entry.flags.get();
        if flags & PRIVATE_FLAGS != 0 {
            return false;
        }
        let Some(node) = view.node(&entry.node_id) else { return false };
        if std::ptr::eq(node, sender) {
            // No server mentions itself, so this is for the state to judge: the time given here would be overwritten by
            // that of the sender's own PONG.
            return false;
        }
        let same_address = entry.ip == node.entry.ip
            && (entry.port, entry.pport, entry.cport)
                == (node.entry.port, node.entry.pport, node.entry.cport);
        // A healthy node may have another address here, but it must be a valid one (H13).
        if !same_address && (node.is_failing() || GossipEntry::from_layout(entry).is_err()) {
            return false;
        }
        let report = || expected.reports.find(node);
        if flags & (FLAG_PFAIL | FLAG_FAIL) != 0 {
            if expected.votes && !is_myself(node) {
                let Some(report) = report() else { return false };
                repeated.get_or_insert_with(|| Repeated::new(expected)).note(report);
            }
        } else if node.has_reports {
            if expected.votes && report().is_some() {
                return false;
            }
        } else if !node.is_failing() {
            let pong_s = entry.pong_received_s.get();
            if u64::from(pong_s) * 1000 <= now_ms + GOSSIP_FUTURE_MAX_MS {
                node.times.note_gossiped_pong(pong_s);
            }
        }
    }
    match repeated {
        None => true,
        Some(repeated) if repeated.missing == 0 => {
            sender.times.repeat_reports(now_ms);
            true
        }
        // Some of the reports were renewed and others were not; only the state can record that.
        Some(_) => false,
    }
}

/// Which of the sender's reports a packet has repeated. A packet may mention a node twice.
struct Repeated {
    seen: Vec<bool>,
    missing: usize,
}

impl Repeated {
    fn new(expected: &ExpectedHeartbeat) -> Self {
        let missing = expected.reports.len();
        Self { seen: vec![false; missing], missing }
    }

    fn note(&mut self, report: usize) {
        if !std::mem::replace(&mut self.seen[report], true) {
            self.missing -= 1;
        }
    }
}

/// Our own row is the only one with one of these flags: no heartbeat is expected from it, and our gossip never mentions
/// it.
fn is_myself(node: &NodeRow) -> bool {
    node.entry.flags.get() & PRIVATE_FLAGS != 0
}
