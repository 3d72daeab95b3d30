//! Encodes our heartbeats from the last published view, on the thread that sends them (R34).
//!
//! Owns the choice of which nodes to mention; it is random, from a seed of the thread's own or the caller's. Decides
//! nothing else: the main thread has decided that a heartbeat goes out, and to whom.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use bytes::Bytes;
use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{
    GOSSIP_ENTRIES_MAX, GOSSIP_ENTRY_LEN_BYTES, GOSSIP_MIN, GOSSIP_TRIES, HEADER_LEN_BYTES,
    MFLAG_EXTENSIONS,
};
use zerocopy::{FromBytes, IntoBytes};

use super::node::IdBytes;
use super::view::{View, ViewHeader};

/// Memory that a thread keeps between heartbeats.
pub(crate) struct GossipScratch {
    random: u64,
    /// One bit for each place in the view, set when its node was drawn. Cleared for each heartbeat.
    mentioned: Vec<u64>,
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
        // Seeds that differ in few bits would begin with similar draws, so the bits are mixed first (splitmix64);
        // an odd state never gets stuck at 0.
        let mut random = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        random = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self { random: (random ^ (random >> 31)) | 1, mentioned: Vec::new(), places: Vec::new() }
    }

    /// xorshift64*: the draws need not be hard to guess, only even.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        ((high * limit as u64) >> 32) as usize
    }

    fn mention(&mut self, place: u32) -> bool {
        let (word, bit) = (place as usize / 64, 1 << (place % 64));
        let is_new = self.mentioned[word] & bit == 0;
        self.mentioned[word] |= bit;
        is_new
    }
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
    let receiver_place = view.place(receiver);
    choose(view, receiver_place, scratch);
    let takes_extensions = receiver_place
        .and_then(|place| view.rows.get(place))
        .is_some_and(|row| row.takes_extensions);
    let (extensions, extensions_len) = match takes_extensions {
        true => (&view.header.extensions[..], view.header.extensions_len),
        false => (&[][..], 0),
    };
    let gossip_len = scratch.places.len() * GOSSIP_ENTRY_LEN_BYTES;
    let totlen = HEADER_LEN_BYTES + gossip_len + extensions.len();
    let mut message = Vec::with_capacity(totlen);
    message.extend_from_slice(&view.header.template);
    for place in scratch.places.drain(..) {
        let Some(node) = view.rows.get(place) else { continue };
        let (ping_sent_s, pong_received_s) = node.times.own();
        let start = message.len();
        message.extend_from_slice(node.entry.as_bytes());
        if let Ok((entry, _)) = GossipLayout::mut_from_prefix(&mut message[start..]) {
            entry.ping_sent_s = ping_sent_s.into();
            entry.pong_received_s = pong_received_s.into();
        }
    }
    message.extend_from_slice(extensions);
    if let Ok((header, _)) = HeaderLayout::mut_from_prefix(&mut message) {
        header.totlen = (totlen as u32).into();
        header.message_type = message_type.into();
        header.count = ((gossip_len / GOSSIP_ENTRY_LEN_BYTES) as u16).into();
        header.extensions = extensions_len.into();
        header.mflags[0] |= MFLAG_EXTENSIONS;
    }
    message.into()
}

/// Fills `scratch.places` with the nodes to mention: some of the table, drawn at random, and all PFAIL nodes.
// Kept out of line so that the loop of draws has all registers to itself.
#[inline(never)]
fn choose(view: &View, receiver_place: Option<u32>, scratch: &mut GossipScratch) {
    scratch.places.clear();
    scratch.mentioned.clear();
    scratch.mentioned.resize(view.rows.len().div_ceil(64), 0);
    if let Some(place) = receiver_place {
        scratch.mention(place);
    }
    let wanted = wanted(view);
    for _ in 0..wanted * GOSSIP_TRIES {
        if scratch.places.len() == wanted || view.rows.len() == 0 {
            break;
        }
        let place = scratch.below(view.rows.len()) as u32;
        let Some(node) = view.rows.get(place) else { break };
        if scratch.mention(place) && node.is_gossiped && !node.is_pfail() {
            scratch.places.push(place);
        }
    }
    let room = GOSSIP_ENTRIES_MAX - scratch.places.len();
    scratch.places.extend(view.pfail.iter().take(room));
}
