//! Our heartbeats, encoded on whatever thread sends them, from the view published last (R34).
//!
//! Owns the choice of whom to mention; it is random, and the randomness is this thread's own. Decides nothing: that a
//! heartbeat goes out, and to whom, was the main thread's decision.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use bytes::Bytes;
use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES, MFLAG_EXTENSIONS};
use zerocopy::{FromBytes, IntoBytes};

use super::view::{IdBytes, View};

/// A tenth of the table is mentioned, and at least this many.
const MENTIONED_MIN: usize = 3;
const MENTIONED_PARTS: usize = 10;
/// Draws for each node wanted before the choice ends short of it.
const DRAWS_PER_NODE: usize = 3;
const ENTRIES_MAX: usize = u16::MAX as usize;

/// What a thread keeps between heartbeats.
pub(crate) struct GossipScratch {
    random: u64,
    /// A bit for each place of the view: mentioned already. All zero between calls.
    mentioned: Vec<u64>,
    places: Vec<u32>,
}

impl Default for GossipScratch {
    fn default() -> Self {
        // The standard library seeds its hashers from the system's randomness; an odd seed never gets stuck at 0.
        let random = RandomState::new().hash_one(0u8) | 1;
        Self { random, mentioned: Vec::new(), places: Vec::new() }
    }
}

impl GossipScratch {
    /// xorshift64*: whom to mention need not be unpredictable, only spread.
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

/// About how long a heartbeat of this view is: what it counts for in the link's account before it is encoded.
pub(crate) fn heartbeat_len_bytes(view: &View) -> usize {
    let entries = wanted(view) + view.pfail.len();
    HEADER_LEN_BYTES + entries * GOSSIP_ENTRY_LEN_BYTES + view.header.extensions.len()
}

fn wanted(view: &View) -> usize {
    let table_len = view.header.table_len;
    MENTIONED_MIN.max(table_len / MENTIONED_PARTS).min(table_len.saturating_sub(2))
}

/// A PING or PONG (`message_type`) to `receiver`.
pub(crate) fn encode_heartbeat(
    view: &View,
    message_type: u16,
    receiver: &IdBytes,
    scratch: &mut GossipScratch,
) -> Bytes {
    choose(view, receiver, scratch);
    let takes_extensions = view.node(receiver).is_some_and(|node| node.takes_extensions);
    let (extensions, extensions_len) = match takes_extensions {
        true => (&view.header.extensions[..], view.header.extensions_len),
        false => (&[][..], 0),
    };
    let gossip_len = scratch.places.len() * GOSSIP_ENTRY_LEN_BYTES;
    let totlen = HEADER_LEN_BYTES + gossip_len + extensions.len();
    let mut message = Vec::with_capacity(totlen);
    message.extend_from_slice(&view.header.template);
    for place in scratch.places.drain(..) {
        let node = &view.nodes[place as usize];
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

/// Fills `scratch.places` with whom to mention: a random tenth that may be told, and every PFAIL node on top.
fn choose(view: &View, receiver: &IdBytes, scratch: &mut GossipScratch) {
    scratch.places.clear();
    scratch.mentioned.clear();
    scratch.mentioned.resize(view.nodes.len().div_ceil(64), 0);
    if let Some(place) = view.place(receiver) {
        scratch.mention(place);
    }
    let wanted = wanted(view);
    for _ in 0..wanted * DRAWS_PER_NODE {
        if scratch.places.len() == wanted || view.nodes.is_empty() {
            break;
        }
        let place = scratch.below(view.nodes.len()) as u32;
        let node = &view.nodes[place as usize];
        if scratch.mention(place) && node.is_told && !node.is_pfail() {
            scratch.places.push(place);
        }
    }
    let room = ENTRIES_MAX - scratch.places.len();
    scratch.places.extend(view.pfail.iter().take(room));
}
