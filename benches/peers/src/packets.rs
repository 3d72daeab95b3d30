//! Heartbeats that are prepared before a run: a header for each node, and one ring of gossip entries for all of them.
//!
//! Sending a heartbeat gathers two or three slices and encodes nothing. Only the times in the entries are updated, once
//! a second. A node never mentions itself, and no node mentions the server.

use clusterbus_wire::{
    GOSSIP_ENTRY_LEN_BYTES, GossipEntry, HEADER_LEN_BYTES, Heartbeat, HeartbeatKind, IpText,
    Message, MessageType,
};

use crate::roster::{FLAG_PRIMARY, Node, Roster, slots_of};
use crate::{Failure, PUBLISH_CHANNEL, PUBLISH_MESSAGE_LEN_BYTES};

const FLAG_PFAIL: u16 = 4;
const TOTLEN_AT: usize = 4;
const TYPE_AT: usize = 12;
const COUNT_AT: usize = 14;
const CURRENT_EPOCH_AT: usize = 16;
const SLOTS_AT: usize = 80;
const PONG_RECEIVED_AT: usize = 44;
/// In a gossip entry: the address's client port and the flags.
const ENTRY_PORT_AT: usize = 94;
const ENTRY_FLAGS_AT: usize = 98;
/// Multiplier and increment of Knuth's MMIX generator, which is fast, and good enough to choose the mentioned nodes.
const RANDOM_MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const RANDOM_INCREMENT: u64 = 1_442_695_040_888_963_407;

/// Everything that is sent, prepared.
pub struct Packets {
    pings: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    /// The healthy nodes twice over, so that a window never wraps.
    ring: Vec<u8>,
    /// The place of each node in the ring; `None` for a node that is marked as failing.
    position: Vec<Option<usize>>,
    healthy: usize,
    gossip_count: usize,
    /// The entries that mark nodes PFAIL, which are part of every PING.
    failing: Vec<u8>,
    random: u64,
}

impl Packets {
    /// Prepares the heartbeats of all peers; the last `failing` of them are marked PFAIL in every PING.
    ///
    /// # Errors
    /// The cluster has fewer nodes than are to fail.
    pub fn prepare(roster: &Roster, failing: usize) -> Result<Packets, Failure> {
        let healthy = roster.peers.len().checked_sub(failing).ok_or("more failing than known")?;
        let gossip_count = roster.gossip_count().min(healthy.saturating_sub(1));
        let headers = |kind, count| {
            let header = |node| heartbeat_header(roster, node, kind, count as u16);
            roster.peers.iter().map(header).collect::<Result<Vec<_>, Failure>>()
        };
        let mut random = 1;
        let mut order: Vec<usize> = (0..healthy).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, draw(&mut random, index + 1));
        }
        let mut position = vec![None; roster.peers.len()];
        for (place, &peer) in order.iter().enumerate() {
            position[peer] = Some(place);
        }
        let in_order = order.iter().map(|&peer| &roster.peers[peer]);
        let mut ring = gossip_section(roster, in_order, FLAG_PRIMARY)?;
        ring.extend_from_within(..);
        let marked = roster.peers[healthy..].iter();
        Ok(Packets {
            pings: headers(HeartbeatKind::Ping, gossip_count + failing)?,
            pongs: headers(HeartbeatKind::Pong, gossip_count)?,
            ring,
            position,
            healthy,
            gossip_count,
            failing: gossip_section(roster, marked, FLAG_PRIMARY | FLAG_PFAIL)?,
            random,
        })
    }

    /// Makes the PINGs of each peer claim a slot of the next one too, which has it under a greater epoch, as a node does
    /// that was away while its slot was given to another. The last peer has no next one.
    pub fn claim_foreign_slots(&mut self, roster: &Roster) {
        for (ping, next) in self.pings.iter_mut().zip(roster.peers.iter().skip(1)) {
            if let Some(slot) = slots_of(&next.slots).next() {
                ping[SLOTS_AT + usize::from(slot / 8)] |= 1 << (slot % 8);
            }
        }
    }

    /// Has the heartbeats say what the roster now says: of `changed` in their own headers and in the gossip of all, and
    /// the current epoch in every header.
    ///
    /// # Errors
    /// A roster that cannot be encoded.
    pub fn renew(&mut self, roster: &Roster, changed: &[usize]) -> Result<(), Failure> {
        for &peer in changed {
            let node = &roster.peers[peer];
            let count = self.entries() as u16;
            self.pings[peer] = heartbeat_header(roster, node, HeartbeatKind::Ping, count)?;
            let count = self.gossip_count as u16;
            self.pongs[peer] = heartbeat_header(roster, node, HeartbeatKind::Pong, count)?;
            let Some(place) = self.position[peer] else { continue };
            for place in [place, place + self.healthy] {
                let entry = &mut self.ring[place * GOSSIP_ENTRY_LEN_BYTES..];
                entry[ENTRY_PORT_AT..ENTRY_PORT_AT + 2].copy_from_slice(&node.port.to_be_bytes());
                entry[ENTRY_FLAGS_AT..ENTRY_FLAGS_AT + 2]
                    .copy_from_slice(&node.role_flag().to_be_bytes());
            }
        }
        let epoch = roster.current_epoch.to_be_bytes();
        for header in self.pings.iter_mut().chain(&mut self.pongs) {
            header[CURRENT_EPOCH_AT..CURRENT_EPOCH_AT + 8].copy_from_slice(&epoch);
        }
        Ok(())
    }

    /// The slices of a PING from this peer.
    pub fn ping_of(&mut self, peer: usize) -> [&[u8]; 3] {
        let window = self.window_of(peer);
        [&self.pings[peer], &self.ring[window], &self.failing]
    }

    /// The slices of a PONG from this peer. It marks no node as failing, so that only the PINGs make a storm.
    pub fn pong_of(&mut self, peer: usize) -> [&[u8]; 2] {
        let window = self.window_of(peer);
        [&self.pongs[peer], &self.ring[window]]
    }

    /// Number of gossip entries in every PING.
    pub fn entries(&self) -> usize {
        self.gossip_count + self.failing.len() / GOSSIP_ENTRY_LEN_BYTES
    }

    /// Sets the PONG time of every healthy node (unix seconds).
    pub fn patch_pong_received(&mut self, now_s: u32) {
        for entry in self.ring.chunks_exact_mut(GOSSIP_ENTRY_LEN_BYTES) {
            entry[PONG_RECEIVED_AT..PONG_RECEIVED_AT + 4].copy_from_slice(&now_s.to_be_bytes());
        }
    }

    /// A window of the ring without `peer`.
    fn window_of(&mut self, peer: usize) -> std::ops::Range<usize> {
        let (first, choices) = match self.position[peer] {
            Some(place) => (place + 1, self.healthy - self.gossip_count),
            None => (0, self.healthy),
        };
        let start = (first + draw(&mut self.random, choices.max(1))) % self.healthy.max(1);
        let from = start * GOSSIP_ENTRY_LEN_BYTES;
        from..from + self.gossip_count * GOSSIP_ENTRY_LEN_BYTES
    }
}

/// A number below `bound`.
fn draw(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(RANDOM_MULTIPLIER).wrapping_add(RANDOM_INCREMENT);
    ((*state >> 33) as usize) % bound
}

/// A whole PONG from the server, which the floor sends as its answer.
///
/// # Errors
/// A roster that cannot be encoded.
pub fn ready_made_pong(roster: &Roster) -> Result<Vec<u8>, Failure> {
    let count = roster.gossip_count();
    let mut packet = heartbeat_header(roster, &roster.server, HeartbeatKind::Pong, count as u16)?;
    packet.extend(gossip_section(roster, roster.peers[..count].iter(), FLAG_PRIMARY)?);
    Ok(packet)
}

/// A whole PUBLISH from the server, which the floor sends to every link. It has a full header, which every peer takes.
///
/// # Errors
/// A roster that cannot be encoded.
pub fn ready_made_publish(roster: &Roster) -> Result<Vec<u8>, Failure> {
    let mut packet = heartbeat_header(roster, &roster.server, HeartbeatKind::Ping, 0)?;
    let channel = PUBLISH_CHANNEL.as_bytes();
    packet.extend((channel.len() as u32).to_be_bytes());
    packet.extend((PUBLISH_MESSAGE_LEN_BYTES as u32).to_be_bytes());
    packet.extend(channel);
    packet.resize(packet.len() + PUBLISH_MESSAGE_LEN_BYTES, b'm');
    let totlen = packet.len() as u32;
    packet[TOTLEN_AT..TOTLEN_AT + 4].copy_from_slice(&totlen.to_be_bytes());
    packet[TYPE_AT..TYPE_AT + 2].copy_from_slice(&MessageType::Publish.number().to_be_bytes());
    Ok(packet)
}

/// A header that announces `count` gossip entries, which are added later.
fn heartbeat_header(
    roster: &Roster,
    node: &Node,
    kind: HeartbeatKind,
    count: u16,
) -> Result<Vec<u8>, Failure> {
    let heartbeat = Heartbeat::new(kind, roster.header_of(node)?, Vec::new(), Vec::new());
    let mut packet = Message::Heartbeat(heartbeat).encode()?;
    let totlen = HEADER_LEN_BYTES + usize::from(count) * GOSSIP_ENTRY_LEN_BYTES;
    packet[TOTLEN_AT..TOTLEN_AT + 4].copy_from_slice(&(totlen as u32).to_be_bytes());
    packet[COUNT_AT..COUNT_AT + 2].copy_from_slice(&count.to_be_bytes());
    Ok(packet)
}

/// The gossip section that mentions these nodes, in order.
fn gossip_section<'a>(
    roster: &Roster,
    nodes: impl Iterator<Item = &'a Node>,
    flags: u16,
) -> Result<Vec<u8>, Failure> {
    let entry = |node: &Node| {
        let mut entry = GossipEntry::new(node.id);
        entry.ip = IpText::new("ip", &node.ip.to_string())?;
        entry.port = node.port;
        entry.cport = node.cport;
        entry.flags = flags;
        Ok(entry)
    };
    let gossip = nodes.map(entry).collect::<Result<Vec<_>, Failure>>()?;
    let header = roster.header_of(&roster.server)?;
    let heartbeat = Heartbeat::new(HeartbeatKind::Ping, header, gossip, Vec::new());
    Ok(Message::Heartbeat(heartbeat).encode()?.split_off(HEADER_LEN_BYTES))
}

#[cfg(test)]
mod tests {
    use clusterbus_wire::{Message, check_packet, decode};

    use super::*;
    use crate::roster::tests::roster;

    fn heartbeat<const N: usize>(slices: [&[u8]; N]) -> Heartbeat {
        let packet = slices.concat();
        assert!(check_packet(&packet).is_ok());
        match decode(&packet) {
            Ok(Message::Heartbeat(heartbeat)) => heartbeat,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_ping_is_sound_and_mentions_neither_its_sender_nor_the_server() {
        for count in [4, 201, 1000] {
            let roster = roster(count);
            let mut packets = Packets::prepare(&roster, 0).expect("valid");
            packets.patch_pong_received(1_700_000_000);
            for peer in 0..roster.peers.len() {
                let ping = heartbeat(packets.ping_of(peer));
                assert_eq!(ping.kind, HeartbeatKind::Ping);
                assert_eq!(ping.header.sender, roster.peers[peer].id);
                assert_eq!(ping.header.myslots, roster.peers[peer].slots);
                assert_eq!(ping.gossip.len(), roster.gossip_count());
                for entry in &ping.gossip {
                    assert!(entry.node_id != ping.header.sender);
                    assert!(entry.node_id != roster.server.id);
                    assert_eq!(entry.pong_received_s, 1_700_000_000);
                }
            }
            assert_eq!(heartbeat(packets.pong_of(0)).kind, HeartbeatKind::Pong);
        }
    }

    #[test]
    fn a_storm_of_failures_marks_the_last_nodes_in_every_ping() {
        let roster = roster(2000);
        let mut packets = Packets::prepare(&roster, 500).expect("valid");
        assert_eq!(packets.entries(), 700);
        for peer in [0, 199, 1999 - 500 - 1] {
            let ping = heartbeat(packets.ping_of(peer));
            let marked = ping.gossip.iter().filter(|entry| entry.flags & FLAG_PFAIL != 0);
            assert_eq!((ping.gossip.len(), marked.count()), (700, 500));
            assert_eq!(heartbeat(packets.pong_of(peer)).gossip.len(), 200);
        }
        assert!(Packets::prepare(&roster, 2000).is_err());
    }

    #[test]
    fn an_outdated_claim_is_to_one_slot_of_a_node_with_a_greater_epoch_in_pings_alone() {
        let roster = roster(201);
        let mut packets = Packets::prepare(&roster, 0).expect("valid");
        packets.claim_foreign_slots(&roster);
        for peer in 0..roster.peers.len() - 1 {
            let ping = heartbeat(packets.ping_of(peer));
            let own = &roster.peers[peer].slots;
            let claimed = slots_of(&ping.header.myslots).filter(|&slot| !own.contains(slot));
            let [slot] = claimed.collect::<Vec<_>>()[..] else { panic!("not one slot") };
            let owner = roster.peers.iter().find(|node| node.slots.contains(slot));
            assert!(owner.is_some_and(|owner| owner.config_epoch > ping.header.config_epoch));
            assert_eq!(&heartbeat(packets.pong_of(peer)).header.myslots, own);
        }
        assert_eq!(heartbeat(packets.ping_of(199)).header.myslots, roster.peers[199].slots);
    }

    #[test]
    fn renewed_packets_say_what_changed_in_headers_and_gossip() {
        let mut roster = roster(20);
        let mut packets = Packets::prepare(&roster, 0).expect("valid");
        roster.current_epoch = 99;
        roster.peers[3].port = 7001;
        roster.peers[4].primary = Some(3);
        packets.renew(&roster, &[3, 4]).expect("valid");
        let replica = heartbeat(packets.ping_of(4));
        assert_eq!(replica.header.replicaof, Some(roster.peers[3].id));
        assert_eq!(replica.header.myslots, roster.peers[3].slots);
        assert_eq!(replica.header.config_epoch, roster.peers[3].config_epoch);
        assert_eq!(heartbeat(packets.pong_of(3)).header.port, 7001);
        let mut seen = 0;
        for _ in 0..200 {
            let ping = heartbeat(packets.ping_of(9));
            assert_eq!(ping.header.current_epoch, 99);
            for entry in &ping.gossip {
                let node = roster.peers.iter().find(|node| node.id == entry.node_id);
                assert_eq!(
                    node.map(|node| (node.port, node.role_flag())),
                    Some((entry.port, entry.flags))
                );
                seen += usize::from(entry.port == 7001) + usize::from(entry.flags != FLAG_PRIMARY);
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn the_ready_made_publish_carries_channel_and_message() {
        let publish = ready_made_publish(&roster(4)).expect("valid");
        assert!(check_packet(&publish).is_ok());
        let Ok(Message::Publish(publish)) = decode(&publish) else { panic!("no PUBLISH") };
        assert_eq!(&publish.channel[..], PUBLISH_CHANNEL.as_bytes());
        assert_eq!(publish.message.len(), PUBLISH_MESSAGE_LEN_BYTES);
    }

    #[test]
    fn the_ready_made_pong_is_the_servers() {
        let roster = roster(201);
        let pong = ready_made_pong(&roster).expect("valid");
        let pong = heartbeat([&pong]);
        assert_eq!((pong.kind, pong.gossip.len()), (HeartbeatKind::Pong, 20));
        assert_eq!(pong.header.sender, roster.server.id);
    }
}
