//! Target `news`: a heartbeat against an arbitrary published view.
//!
//! Owns the slow comparison, entry by entry through a list, which the fast one of the engine must agree with: in its
//! verdict, and in the times that it notes beside the view. So must a view that was made step by step with one that
//! was made at once. That the news is enough for the state is a property of `tests/cluster/heartbeats/test_quiet.py`.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use clusterbus_engine::limits::NEWS_MAX;
use clusterbus_engine::{Verdict, View};
use clusterbus_wire::layout::GossipLayout;
use clusterbus_wire::{
    FLAG_FAIL, FLAG_HANDSHAKE, FLAG_MYSELF, FLAG_PFAIL, GOSSIP_FUTURE_MAX_MS, GossipEntry, Header,
    Heartbeat, HeartbeatKind, IP_LEN_BYTES, IpText, MFLAG_EXTENSIONS, Message, MessageType, NodeId,
    Packet, SlotBitmap,
};

use crate::messages::{gossip_entry, ip};
use crate::views::{Expected, NOW_MS, Row, World, extension_bytes, some_id};

const ENTRIES_MAX: u8 = 64;

/// See the module.
pub(crate) fn news(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(world) = World::arbitrary(&mut bytes) else { return };
    let Ok((packet, peer_ip)) = heartbeat(&mut bytes, &world) else { return };
    let whole = world.whole_view();
    let slow = Slow { world: &world, packet: &packet };
    let (verdict, noted, mut repeats) = slow.verdict(&peer_ip, world.view.version);
    for view in [&world.view, &whole] {
        let (said, at_once) = noting(&world, || view.compare(&packet, &peer_ip, NOW_MS));
        assert_eq!(said, verdict, "the fast comparison says otherwise");
        assert_times(&verdict, &at_once, &noted);
    }
    let (news, noted, repeats_news) = slow.gossip_news();
    for view in [&world.view, &whole] {
        let (said, at_once) = noting(&world, || news_of(view, &packet));
        assert_eq!(said, news, "the fast comparison of the entries says otherwise");
        if news.is_some() {
            assert_eq!(at_once, noted);
        }
    }
    repeats |= repeats_news;
    let Some(sender) = slow.sender().filter(|_| news.is_some()) else { return };
    let expected_ms = if repeats { NOW_MS } else { 0 };
    assert_eq!(sender.times.reports_repeated_ms(), expected_ms, "reports were repeated, or not");
}

fn news_of(view: &View, packet: &Packet) -> Option<Vec<u16>> {
    view.gossip_news(packet, NOW_MS)
}

/// The greatest PONG time that a comparison notes of each node, in the order of the list.
type Noted = Vec<u32>;

/// What was noted must be what the slow way notes; without a verdict it may be a part of that.
fn assert_times(verdict: &Option<Verdict>, said: &Noted, slow: &Noted) {
    if verdict.is_some() {
        assert_eq!(said, slow);
    } else {
        assert!(said.iter().zip(slow).all(|(said, slow)| said <= slow), "{said:?} {slow:?}");
    }
}

fn latest_pong_s() -> u32 {
    ((NOW_MS + GOSSIP_FUTURE_MAX_MS) / 1000) as u32
}

/// Runs a comparison, and says what it noted.
fn noting<T>(world: &World, compare: impl FnOnce() -> T) -> (T, Noted) {
    world.rows.iter().for_each(|row| row.times.forget_gossiped());
    let outcome = compare();
    (outcome, world.rows.iter().map(|row| row.times.gossiped_pong_s()).collect())
}

/// What the slow way finds, what it notes, and whether the sender has repeated all of its reports.
type Outcome<T> = (Option<T>, Noted, bool);

/// The comparison in the plainest words.
struct Slow<'a> {
    world: &'a World,
    packet: &'a Packet,
}

impl Slow<'_> {
    fn verdict(&self, peer_ip: &[u8; IP_LEN_BYTES], version: u64) -> Outcome<Verdict> {
        let nothing = vec![0; self.world.rows.len()];
        let packet = self.packet.packet_ref();
        let is_pong = match packet.message_type() {
            Some(MessageType::Ping) => false,
            Some(MessageType::Pong) => true,
            _ => return (None, nothing, false),
        };
        let header = packet.header().expect("heartbeats have a full header");
        let Some(sender) = self.sender() else { return (None, nothing, false) };
        let Some(expected) = &sender.expected else { return (None, nothing, false) };
        let announces_ip = header.myip[0] != 0;
        let is_flagged = header.mflags[0] & MFLAG_EXTENSIONS != 0;
        let is_sound = !announces_ip
            || header.myip == sender.entry.ip
            || IpText::from_field(&header.myip).is_some();
        let same_extensions = header.extensions.get() == expected.extensions_len
            && packet.extension_bytes() == expected.extensions
            && (is_flagged || expected.extensions.is_empty());
        if !is_sound || !same_extensions {
            return (None, nothing, false);
        }
        let ip = if announces_ip { &header.myip } else { peer_ip };
        let same_ports = header.port == sender.entry.port
            && header.pport == sender.entry.pport
            && header.cport == sender.entry.cport;
        let header_is_known = (is_pong || (*ip == sender.entry.ip && same_ports))
            && (!announces_ip || header.myip == sender.entry.ip)
            && header.mflags[1..] == [0, 0]
            && (header.mflags[0] == 0
                || (header.mflags[0] == MFLAG_EXTENSIONS && sender.traits.takes_extensions))
            && header.current_epoch.get() <= self.world.current_epoch
            && header.flags.get() & expected.flags_mask == expected.flags
            && header.replicaof == expected.replicaof
            && !expected.is_unsettled;
        let claims_are_known = match expected.config_epoch {
            None => true,
            Some(epoch) => {
                header.config_epoch.get() == epoch && header.myslots[..] == expected.myslots[..]
            }
        };
        let (news, noted, repeats) = self.news(sender, Some(expected));
        let sender = *sender.id();
        let verdict = news.map(|news| Verdict {
            version,
            sender,
            is_pong,
            header_is_known,
            claims_are_known,
            news,
        });
        (verdict, noted, repeats)
    }

    fn sender(&self) -> Option<&Row> {
        self.packet.packet_ref().header().and_then(|header| self.world.find(&header.sender))
    }

    fn gossip_news(&self) -> Outcome<Vec<u16>> {
        match self.sender() {
            Some(sender) => self.news(sender, sender.expected.as_ref()),
            None => (None, Vec::new(), false),
        }
    }

    fn news(&self, sender: &Row, expected: Option<&Expected>) -> Outcome<Vec<u16>> {
        let packet = self.packet.packet_ref();
        let mut noted = vec![0; self.world.rows.len()];
        let mut reports: Vec<_> =
            expected.map(|expected| expected.reports.clone()).unwrap_or_default();
        reports.retain(|id| self.world.find(id).is_some());
        let (mut news, mut again, mut is_invalid) = (Vec::new(), Vec::new(), false);
        for (place, entry) in (0..).zip(packet.gossip()) {
            match self.said(sender, expected.is_some(), &reports, entry) {
                Said::Known(node) => {
                    let pong_s = entry.pong_received_s.get();
                    if let Some(at) = node.filter(|_| pong_s <= latest_pong_s()) {
                        noted[at] = noted[at].max(pong_s);
                    }
                }
                Said::ReportAgain => again.push(place),
                Said::News => news.push(place),
                Said::Invalid => is_invalid = true,
            }
        }
        let about = |place: &u16| packet.gossip()[usize::from(*place)].node_id;
        let is_followed = |place: &u16| {
            packet.gossip()[usize::from(*place) + 1..].iter().any(|one| one.node_id == about(place))
        };
        let is_preceded = |place: &u16| {
            packet.gossip()[..usize::from(*place)].iter().any(|one| one.node_id == about(place))
        };
        // Entries about one node, of which one is news, are for the state to take in their order. What repeats a report
        // counts here only if another entry before it is about the node.
        let mut is_whole = is_invalid || news.iter().any(is_followed);
        let repeats = !again.is_empty()
            && reports.iter().all(|id| again.iter().any(|place| about(place) == *id));
        if !repeats {
            news.append(&mut again);
            news.sort_unstable();
        }
        is_whole |= news.len() > NEWS_MAX || news.iter().any(is_preceded);
        ((!is_whole).then_some(news), noted, repeats)
    }

    fn said(
        &self,
        sender: &Row,
        is_expected: bool,
        reports: &[[u8; 40]],
        entry: &GossipLayout,
    ) -> Said {
        let at = self.world.rows.iter().position(|row| *row.id() == entry.node_id);
        let node = at.map(|at| &self.world.rows[at]);
        let same_place = |node: &Row| {
            node.entry.ip == entry.ip
                && node.entry.port == entry.port
                && node.entry.cport == entry.cport
                && node.entry.pport == entry.pport
        };
        let is_known_place = entry.ip[0] != 0 && node.is_some_and(same_place);
        if !is_known_place && GossipEntry::from_layout(entry).is_err() {
            return Said::Invalid;
        }
        let Some(node) = node else { return Said::News };
        let flags = entry.flags.get();
        if flags & (FLAG_MYSELF | FLAG_HANDSHAKE) != 0 || node.id() == sender.id() {
            return Said::News;
        }
        if node.is_failing() && !is_known_place {
            return Said::News;
        }
        let is_me = node.entry.flags.get() & (FLAG_MYSELF | FLAG_HANDSHAKE) != 0;
        let is_reported = reports.contains(node.id());
        if flags & (FLAG_PFAIL | FLAG_FAIL) != 0 {
            return match (is_me, is_reported) {
                (true, _) => Said::Known(None),
                (false, true) => Said::ReportAgain,
                (false, false) => Said::News,
            };
        }
        if node.traits.has_reports {
            let matters = is_reported || !is_expected;
            return if matters { Said::News } else { Said::Known(None) };
        }
        Said::Known(at.filter(|_| !node.is_failing() && !is_me))
    }
}

enum Said {
    /// Nothing new; the place of the node whose PONG time counts.
    Known(Option<usize>),
    ReportAgain,
    News,
    Invalid,
}

/// A heartbeat that is quiet but for a few things, about nodes of the list and others; and where it comes from.
fn heartbeat(bytes: &mut Unstructured<'_>, world: &World) -> Result<(Packet, [u8; IP_LEN_BYTES])> {
    let kinds =
        [HeartbeatKind::Ping, HeartbeatKind::Pong, HeartbeatKind::Ping, HeartbeatKind::Meet];
    let kind = *bytes.choose(&kinds)?;
    let sender = if world.rows.is_empty() || bytes.ratio(1u8, 16u8)? {
        some_id(bytes)?
    } else {
        NodeId::new(bytes.choose(&world.rows)?.id()).expect("an id")
    };
    let mut header = Header::new(sender);
    let row = world.find(sender.as_bytes());
    let mut peer_ip = [0; IP_LEN_BYTES];
    let mut extensions = 0;
    if let Some(row) = row {
        header.port = row.entry.port.get();
        header.pport = row.entry.pport.get();
        header.cport = row.entry.cport.get();
        peer_ip = row.entry.ip;
        if let Some(expected) = &row.expected {
            header.config_epoch = expected.config_epoch.unwrap_or(7);
            header.flags = expected.flags;
            header.replicaof = NodeId::new(&expected.replicaof).ok();
            extensions = expected.extensions_len as u8;
            if expected.config_epoch.is_some() {
                header.myslots = SlotBitmap::new("slots", &expected.myslots).expect("a bitmap");
            }
        }
    }
    // Each bit of this changes one thing.
    let changes = bytes.arbitrary::<u16>()? & bytes.arbitrary::<u16>()?;
    let on = |bit: u16| changes & (1 << bit) != 0;
    if on(0) {
        header.current_epoch = bytes.arbitrary::<u8>()?.into();
    }
    if on(1) {
        header.config_epoch = bytes.arbitrary()?;
    }
    if on(2) {
        (header.port, header.flags) = bytes.arbitrary()?;
    }
    if on(3) {
        header.myip = ip(bytes)?;
    }
    if on(4) {
        header.replicaof = Some(some_id(bytes)?);
    }
    if on(5) {
        header.myslots = SlotBitmap::empty();
    }
    if on(6) {
        extensions = bytes.arbitrary::<u8>()? % 3;
    }
    if on(7) {
        peer_ip = *ip(bytes)?.as_field();
    }
    header.mflags = if on(8) { bytes.arbitrary()? } else { [MFLAG_EXTENSIONS, 0, 0] };
    let mut gossip = Vec::new();
    for _ in 0..bytes.arbitrary::<u8>()? % ENTRIES_MAX {
        gossip.push(entry(bytes, world)?);
    }
    let message = Message::Heartbeat(Heartbeat { kind, header, gossip, extensions: Vec::new() });
    let mut encoded = message.encode().expect("a short message");
    add_extensions(&mut encoded, extensions, on(9));
    if on(10) {
        // Bytes of an entry's address, or of anything else, that no encoder would write.
        let at = bytes.choose_index(encoded.len() - 16)? + 16;
        encoded[at] = bytes.arbitrary()?;
    }
    let packet =
        Packet::new(Bytes::from(encoded)).map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok((packet, peer_ip))
}

fn entry(bytes: &mut Unstructured<'_>, world: &World) -> Result<GossipEntry> {
    let mut entry = gossip_entry(bytes)?;
    let how = bytes.arbitrary::<u8>()?;
    if how < 16 || world.rows.is_empty() {
        entry.node_id = some_id(bytes)?;
        return Ok(entry);
    }
    let node = &bytes.choose(&world.rows)?.entry;
    let known = GossipEntry::from_layout(node).unwrap_or(entry);
    entry.node_id = known.node_id;
    if how >= 48 {
        (entry.ip, entry.port, entry.pport, entry.cport) =
            (known.ip, known.port, known.pport, known.cport);
    }
    if how >= 96 {
        entry.flags = known.flags & !(FLAG_MYSELF | FLAG_HANDSHAKE);
    }
    if how >= 200 {
        entry.flags |= FLAG_PFAIL;
    }
    entry.pong_received_s = latest_pong_s() - 100 + (entry.pong_received_s & 0x7f);
    Ok(entry)
}

/// Extensions of a type that the encoder has no need to know; `hides` leaves the flag out.
fn add_extensions(encoded: &mut Vec<u8>, count: u8, hides: bool) {
    encoded.extend(extension_bytes(count));
    let totlen = encoded.len() as u32;
    encoded[4..8].copy_from_slice(&totlen.to_be_bytes());
    encoded[2214..2216].copy_from_slice(&u16::from(count).to_be_bytes());
    if hides {
        encoded[2253] = 0;
    }
}
