//! Encodes our heartbeats from the last published view, on the thread that sends them (R34).
//!
//! Owns the choice of which nodes to mention; it is random, from a seed of the thread's own or the caller's. Decides
//! nothing else: the main thread has decided that a heartbeat goes out, and to whom.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem::offset_of;
use std::ptr;

use bytes::Bytes;
use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{
    GOSSIP_ENTRIES_MAX, GOSSIP_ENTRY_LEN_BYTES, GOSSIP_MIN, GOSSIP_TRIES, HEADER_LEN_BYTES,
    MFLAG_EXTENSIONS,
};
use zerocopy::{FromBytes, transmute_ref};

use super::node::{IdBytes, NodeRow};
use super::view::{View, ViewHeader};

/// From here to the end of an entry; the two times come first.
const END_LEN_BYTES: usize = GOSSIP_ENTRY_LEN_BYTES - offset_of!(GossipLayout, ping_sent_s);

/// Memory that a thread keeps between heartbeats.
pub(crate) struct GossipScratch {
    random: u64,
    /// The places in the view, in some order. A draw takes one of those that were not drawn yet to their end, so no place
    /// is drawn twice and nothing has to be cleared for the next heartbeat.
    places: Vec<u32>,
}

impl Default for GossipScratch {
    fn default() -> Self {
        // The standard library seeds its hashers from the system's randomness.
        Self::seeded(RandomState::new().hash_one(0u8))
    }
}

impl GossipScratch {
    /// The same seed makes the same choices.
    fn seeded(seed: u64) -> Self {
        Self { random: seed, places: Vec::new() }
    }

    /// Makes the places those of a view with `len` rows.
    fn fit(&mut self, len: usize) {
        if self.places.len() != len {
            self.places = (0..len as u32).collect();
        }
    }
}

/// Any number below `limit`, which must be below 2^32, each as likely. A counter whose bits are mixed by a wide product (wyrand): the
/// draws need not be hard to guess.
#[inline(always)]
fn below(random: &mut u64, limit: usize) -> usize {
    *random = random.wrapping_add(0xA076_1D64_78BD_642F);
    let wide = u128::from(*random) * u128::from(*random ^ 0xE703_7ED1_A0B4_28DB);
    let mixed = (wide >> 64) as u64 ^ wide as u64;
    (((mixed >> 32) * limit as u64) >> 32) as usize
}

/// About how long a heartbeat from this view will be, in bytes; what it counts as unsent on its link.
pub(crate) fn heartbeat_len_bytes(view: &View) -> usize {
    let entries = wanted(view) + view.pfail.len();
    HEADER_LEN_BYTES + entries * GOSSIP_ENTRY_LEN_BYTES + view.header.extensions.len()
}

fn wanted(view: &View) -> usize {
    let ViewHeader { table_len, gossip_percent, .. } = view.header;
    GOSSIP_MIN.max(table_len * gossip_percent / 100).min(table_len.saturating_sub(2))
}

impl View {
    /// A heartbeat to `receiver`, as a worker encodes it; `seed` alone decides which nodes it mentions.
    #[must_use]
    pub fn encode_heartbeat(&self, message_type: u16, receiver: &IdBytes, seed: u64) -> Bytes {
        encode_heartbeat(self, message_type, receiver, &mut GossipScratch::seeded(seed))
    }
}

/// A PING or PONG (`message_type`) to `receiver`.
pub(crate) fn encode_heartbeat(
    view: &View,
    message_type: u16,
    receiver: &IdBytes,
    scratch: &mut GossipScratch,
) -> Bytes {
    let receiver = view.node(receiver);
    let takes_extensions = receiver.is_some_and(|row| row.traits.takes_extensions);
    let (extensions, extensions_len) = match takes_extensions {
        true => (&view.header.extensions[..], view.header.extensions_len),
        false => (&[][..], 0),
    };
    let entries_max = (wanted(view) + view.pfail.len()).min(GOSSIP_ENTRIES_MAX);
    let len_max = HEADER_LEN_BYTES + entries_max * GOSSIP_ENTRY_LEN_BYTES + extensions.len();
    let mut message = Vec::with_capacity(len_max);
    message.extend_from_slice(&view.header.template);
    mention_some(view, receiver, scratch, &mut message);
    let gossip_len = message.len() - HEADER_LEN_BYTES;
    message.extend_from_slice(extensions);
    let totlen = message.len();
    if let Ok((header, _)) = HeaderLayout::mut_from_prefix(&mut message) {
        header.totlen = (totlen as u32).into();
        header.message_type = message_type.into();
        header.count = ((gossip_len / GOSSIP_ENTRY_LEN_BYTES) as u16).into();
        header.extensions = extensions_len.into();
        header.mflags[0] |= MFLAG_EXTENSIONS;
    }
    message.into()
}

/// Adds entries about some of the table, drawn at random, and about all PFAIL nodes.
// Kept out of line so that the loop of draws has all registers to itself.
#[inline(never)]
fn mention_some(
    view: &View,
    receiver: Option<&NodeRow>,
    scratch: &mut GossipScratch,
    message: &mut Vec<u8>,
) {
    scratch.fit(view.rows.len());
    let wanted = wanted(view).min(GOSSIP_ENTRIES_MAX);
    let receiver = receiver.map_or(ptr::null(), ptr::from_ref);
    let (mut random, places) = (scratch.random, &mut scratch.places[..]);
    let (mut left, mut mentioned) = (&mut places[..], 0);
    let mut tries = wanted * GOSSIP_TRIES;
    while mentioned < wanted && tries > 0 {
        tries -= 1;
        let drawn = below(&mut random, left.len());
        let Some((last, rest)) = left.split_last_mut() else { break };
        if let Some(drawn) = rest.get_mut(drawn) {
            std::mem::swap(last, drawn);
        }
        let Some(node) = view.rows.get(*last) else { break };
        if node.is_drawn && !ptr::eq(node, receiver) {
            add_entry(message, node);
            mentioned += 1;
        }
        left = rest;
    }
    scratch.random = random;
    for &place in view.pfail.iter().take(GOSSIP_ENTRIES_MAX - mentioned) {
        view.rows.get(place).into_iter().for_each(|node| add_entry(message, node));
    }
}

#[inline(always)]
fn add_entry(message: &mut Vec<u8>, node: &NodeRow) {
    let words: &[[u8; 8]; 13] = transmute_ref!(&node.entry);
    message.extend_from_slice(words.as_flattened());
    if let Some((_, end)) = message.split_last_chunk_mut::<END_LEN_BYTES>() {
        end[..8].copy_from_slice(&node.times.own());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clusterbus_wire::{GOSSIP_PERCENT, GossipEntry, NodeId, Packet};

    use super::super::node::NodeTraits;
    use super::*;

    const NODES: usize = 300;
    const HEARTBEATS: usize = 2000;

    fn id(number: usize) -> NodeId {
        NodeId::new(format!("{number:040x}").as_bytes()).expect("forty hex characters")
    }

    fn view() -> Arc<View> {
        let rows = (1..=NODES).map(|number| {
            let mut entry = GossipEntry::new(id(number));
            entry.port = number as u16;
            let traits = NodeTraits { is_gossiped: true, ..NodeTraits::default() };
            NodeRow::new(entry.to_layout(), traits, None, Arc::default())
        });
        let header = ViewHeader {
            template: vec![0; HEADER_LEN_BYTES].into(),
            extensions: Bytes::new(),
            extensions_len: 0,
            current_epoch: 0,
            table_len: NODES + 1,
            gossip_percent: GOSSIP_PERCENT,
        };
        View::new(Arc::default(), 0, header, rows.collect())
    }

    /// R34: heartbeats of one thread mention no node twice, never the receiver, and all others about as often.
    #[test]
    fn r34_every_node_is_mentioned_about_as_often() {
        let (view, receiver) = (view(), id(1));
        let mut scratch = GossipScratch::seeded(7);
        let mut times = vec![0usize; NODES + 1];
        for _ in 0..HEARTBEATS {
            let message = encode_heartbeat(&view, 0, receiver.as_bytes(), &mut scratch);
            let packet = Packet::from_checked(message);
            let mut mentioned: Vec<_> = packet.packet_ref().gossip().to_vec();
            assert_eq!(mentioned.len(), wanted(&view));
            mentioned.sort_by_key(|entry| entry.port.get());
            mentioned.dedup_by_key(|entry| entry.port.get());
            assert_eq!(mentioned.len(), wanted(&view), "twice the same");
            mentioned.iter().for_each(|entry| times[usize::from(entry.port.get())] += 1);
        }
        assert_eq!(times[1], 0, "the receiver");
        let expected = HEARTBEATS * wanted(&view) / (NODES - 1);
        for (node, &times) in times.iter().enumerate().skip(2) {
            // Six standard deviations.
            assert!(
                times.abs_diff(expected) < 6 * expected.isqrt(),
                "{node}: {times} of {expected}"
            );
        }
    }

    #[test]
    fn r34_an_entry_has_the_times_of_now() {
        let view = view();
        for number in 1..=NODES {
            let row = view.node(id(number).as_bytes()).expect("it has a row");
            row.times.set_own(1000 + number as u32, 2000 + number as u32);
        }
        let message = view.encode_heartbeat(0, id(1).as_bytes(), 7);
        for entry in Packet::from_checked(message).packet_ref().gossip() {
            let number = u32::from(entry.port.get());
            let times = (entry.ping_sent_s.get(), entry.pong_received_s.get());
            assert_eq!(times, (1000 + number, 2000 + number));
        }
    }
}
