//! The comparison: what does a heartbeat say that the state behind the view does not know?
//!
//! Property (R33): for any packet and any view, applying the news to that state leaves what applying the whole packet
//! would leave, but for times and the sender's replication offset. The times that gossip brings are noted here; the rest
//! is noted by the main thread, if it goes by the verdict. If in doubt, an entry is news, or there is no verdict. Runs
//! on whatever thread reads. Source of the rules: `clusterProcessPacket`, `clusterProcessGossipSection`; `receive.py`
//! applies packets.

use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{
    GOSSIP_FUTURE_MAX_MS, GossipEntry, IP_LEN_BYTES, IpText, MFLAG_EXTENSIONS, MessageType, Packet,
    PacketRef,
};
use zerocopy::transmute_ref;

use super::node::{ExpectedHeartbeat, FAILING, IdBytes, NodeRow, PRIVATE_FLAGS};
use super::view::View;
use crate::limits::NEWS_MAX;

/// What is news in a heartbeat to the state of one version. A state of another version has to look at all of it.
///
/// The entries' part holds also after the header was applied, as long as that did not move the version: it rests on the
/// rows of the nodes, and none of these changes without the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The version of the view that it was compared with.
    pub version: u64,
    /// The node that sent it.
    pub sender: IdBytes,
    /// True for a PONG, false for a PING.
    pub is_pong: bool,
    /// Whether the header says nothing new, but perhaps for the claims.
    pub header_is_known: bool,
    /// Whether the slots that a primary claims are known, and the config epoch under which it does.
    pub claims_are_known: bool,
    /// The places of the gossip entries that say something new, ascending.
    pub news: Vec<u16>,
}

impl Verdict {
    /// Whether the heartbeat says nothing new at all.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.header_is_known && self.claims_are_known && self.news.is_empty()
    }
}

impl View {
    /// What is news in a heartbeat that came from `peer_ip`, at `now_ms`; the times that its gossip brings are noted.
    /// None if all of it must be looked at.
    #[must_use]
    pub fn compare(
        &self,
        packet: &Packet,
        peer_ip: &[u8; IP_LEN_BYTES],
        now_ms: u64,
    ) -> Option<Verdict> {
        compare(self, packet, peer_ip, now_ms)
    }

    /// The places of the gossip entries that are news, whatever the header says; the times that the others bring are
    /// noted. For the main loop, which has applied the header, so that the view is of the version after it. None if all
    /// of the section must be looked at.
    #[must_use]
    pub fn gossip_news(&self, packet: &Packet, now_ms: u64) -> Option<Vec<u16>> {
        let packet = packet.packet_ref();
        let sender = self.node(&packet.header()?.sender)?;
        let expected = sender.expected.as_deref();
        let gossip = Gossip { view: self, sender, expected, now_ms };
        gossip.news(packet.gossip())
    }
}

/// Compares a heartbeat with the view; `peer_ip` is the address its link comes from, as the wire writes it.
pub(crate) fn compare(
    view: &View,
    packet: &Packet,
    peer_ip: &[u8; IP_LEN_BYTES],
    now_ms: u64,
) -> Option<Verdict> {
    let packet = packet.packet_ref();
    let is_pong = match packet.message_type()? {
        MessageType::Ping => false,
        MessageType::Pong => true,
        _ => return None,
    };
    let header = packet.header()?;
    let sender = view.node(&header.sender)?;
    let expected = sender.expected.as_ref()?;
    // The state takes extensions last, and news there may be about any node.
    if !myip_is_sound(header, sender) || !extensions_are_expected(&packet, header, expected) {
        return None;
    }
    let header_is_known = header_is_expected(view, header, sender, expected, peer_ip, is_pong);
    let claims_are_known = expected.config_epoch.is_none_or(|config_epoch| {
        header.config_epoch.get() == config_epoch && header.myslots[..] == expected.myslots[..]
    });
    let gossip = Gossip { view, sender, expected: Some(expected), now_ms };
    let news = gossip.news(packet.gossip())?;
    let (version, sender) = (view.version, header.sender);
    Some(Verdict { version, sender, is_pong, header_is_known, claims_are_known, news })
}

/// Whether the announced address is one, or there is none. The state refuses others and counts them (H13).
fn myip_is_sound(header: &HeaderLayout, sender: &NodeRow) -> bool {
    header.myip[0] == 0
        || header.myip == sender.entry.ip
        || IpText::from_field(&header.myip).is_some()
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
    let myip_is_known = header.myip[0] == 0 || header.myip == entry.ip;
    let mflags_are_known = match header.mflags {
        [0, 0, 0] => true,
        [MFLAG_EXTENSIONS, 0, 0] => sender.traits.takes_extensions,
        _ => false,
    };
    !expected.is_unsettled
        && address_is_known
        && myip_is_known
        && mflags_are_known
        && header.current_epoch.get() <= view.header.current_epoch
        && header.flags.get() & expected.flags_mask == expected.flags
        && header.replicaof == expected.replicaof
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

/// A gossip entry in words: eight bytes are compared at once.
type Words = [[u8; 8]; 13];
const ALL: u64 = u64::MAX;
/// The bits of an entry that make a difference for a node that is well: all but the two times and some of the flags.
const MATTERS: [u64; 13] = [ALL, ALL, ALL, ALL, ALL, 0, ALL, ALL, ALL, ALL, ALL, ALL, LAST_WORD];
/// The last word: bus port, flags, the other client port, unused.
const LAST_WORD: u64 = {
    let flags = (PRIVATE_FLAGS | FAILING).to_be_bytes();
    u64::from_ne_bytes([0xff, 0xff, flags[0], flags[1], 0xff, 0xff, 0, 0])
};

/// Whether an entry is about this node and says what our own gossip says of it, as far as it matters.
#[inline(always)]
fn says_the_same(entry: &GossipLayout, node: &NodeRow) -> bool {
    let (said, known): (&Words, &Words) = (transmute_ref!(entry), transmute_ref!(&node.entry));
    let mut difference = 0;
    for word in 0..MATTERS.len() {
        difference |=
            (u64::from_ne_bytes(said[word]) ^ u64::from_ne_bytes(known[word])) & MATTERS[word];
    }
    difference == 0
}

/// What one entry says.
enum Said {
    /// Nothing new.
    Known,
    /// Again that a node is failing, which the sender has reported already: the place of that report.
    ReportAgain(usize),
    News,
    /// What the state refuses and counts (H13).
    Invalid,
}

/// The gossip section of one heartbeat, to be compared.
struct Gossip<'a> {
    view: &'a View,
    sender: &'a NodeRow,
    /// None if each heartbeat of the sender must be applied in full: then whatever may be a report is news.
    expected: Option<&'a ExpectedHeartbeat>,
    now_ms: u64,
}

impl Gossip<'_> {
    /// The places of the entries that are news; None if the whole section must be looked at.
    fn news(&self, entries: &[GossipLayout]) -> Option<Vec<u16>> {
        let (nodes, mut news) = (self.view.quick(), Vec::new());
        let mut again: Option<Repeated> = None;
        // Later PONG times than this are not believed.
        let latest_pong_s = (self.now_ms + GOSSIP_FUTURE_MAX_MS) / 1000;
        for (place, entry) in entries.iter().enumerate() {
            if !news.is_empty() && must_be_whole(entries, &news, entry) {
                return None;
            }
            if let Some(node) = nodes.first(&entry.node_id)
                && says_the_same(entry, node)
                && node.is_well
                && !std::ptr::eq(node, self.sender)
            {
                node.times.note_gossiped_pong(entry.pong_received_s.get(), latest_pong_s);
                continue;
            }
            match self.said(entry, latest_pong_s) {
                Said::Known => {}
                Said::ReportAgain(report) => {
                    again.get_or_insert_with(|| self.repeated()).note(report, place);
                }
                Said::News => news.push(place as u16),
                Said::Invalid => return None,
            }
        }
        if let Some(again) = again {
            if again.missing == 0 {
                self.sender.times.repeat_reports(self.now_ms);
            } else {
                // Some of the reports were renewed and others were not: only the state can record that.
                news.extend(again.places);
                news.sort_unstable();
            }
        }
        let is_whole = news.len() > NEWS_MAX || are_mentioned_before(entries, &news);
        (!is_whole).then_some(news)
    }

    /// What any entry says. A PONG time that the state would take is noted.
    #[inline(never)]
    fn said(&self, entry: &GossipLayout, latest_pong_s: u64) -> Said {
        let node = self.view.node(&entry.node_id);
        let flags = entry.flags.get();
        let same_address = |node: &NodeRow| {
            entry.ip == node.entry.ip
                && (entry.port, entry.pport, entry.cport)
                    == (node.entry.port, node.entry.pport, node.entry.cport)
        };
        let is_where_known = node.is_some_and(|node| same_address(node) && entry.ip[0] != 0);
        if !is_where_known && GossipEntry::from_layout(entry).is_err() {
            return Said::Invalid;
        }
        let Some(node) = node else { return Said::News };
        // No server mentions itself, so this is for the state to judge: the time given here would be overwritten by
        // that of the sender's own PONG. A healthy node may have another address here.
        if flags & PRIVATE_FLAGS != 0
            || std::ptr::eq(node, self.sender)
            || (!is_where_known && node.is_failing())
        {
            return Said::News;
        }
        let report = || self.expected.and_then(|expected| expected.reports.find(node));
        if flags & FAILING != 0 {
            if !is_myself(node) {
                return report().map_or(Said::News, Said::ReportAgain);
            }
        } else if node.traits.has_reports {
            if report().is_some() || self.expected.is_none() {
                return Said::News;
            }
        } else if !node.is_failing() && !is_myself(node) {
            node.times.note_gossiped_pong(entry.pong_received_s.get(), latest_pong_s);
        }
        Said::Known
    }

    fn repeated(&self) -> Repeated {
        Repeated::new(self.expected.map_or(0, |expected| expected.reports.len()))
    }
}

/// Whether there is too much news, or an entry is about a node of whom there is some already.
// Kept out of line, so that a loop without news is short.
#[inline(never)]
fn must_be_whole(entries: &[GossipLayout], news: &[u16], entry: &GossipLayout) -> bool {
    let mut of_news = news.iter().map(|&place| entries[usize::from(place)].node_id);
    news.len() > NEWS_MAX || of_news.any(|id| id == entry.node_id)
}

/// Whether an entry is about a node that an earlier one is about too, without being news: then their order matters.
fn are_mentioned_before(entries: &[GossipLayout], news: &[u16]) -> bool {
    news.iter().any(|&place| {
        let (earlier, rest) = entries.split_at(usize::from(place));
        earlier.iter().any(|entry| entry.node_id == rest[0].node_id)
    })
}

/// Which of the sender's reports a packet has repeated. A packet may mention a node twice.
struct Repeated {
    seen: Vec<bool>,
    missing: usize,
    /// The entries that repeat them.
    places: Vec<u16>,
}

impl Repeated {
    fn new(missing: usize) -> Self {
        Self { seen: vec![false; missing], missing, places: Vec::new() }
    }

    fn note(&mut self, report: usize, place: usize) {
        self.places.push(place as u16);
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
