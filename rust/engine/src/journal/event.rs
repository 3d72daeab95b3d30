//! What the engine tells its owner: the events of a step, in the order they happened.
//!
//! Plain values, handed over by `Engine::poll`. Holds no link and no half; made on the main thread only.

use std::net::{IpAddr, SocketAddr};

use clusterbus_wire::{Packet, PacketError};

use crate::link_id::LinkId;
use crate::reason::{LossReason, RefusalReason};

/// What happened, in order.
#[derive(Debug)]
pub enum Event {
    /// A peer's connection is up, its TLS handshake done.
    Accepted {
        /// The new link.
        link: LinkId,
        /// Where it came in.
        listener: u64,
        /// Who dialled.
        peer: SocketAddr,
        /// The address it was dialled at.
        local_ip: Option<IpAddr>,
    },
    /// Our dial is up, its TLS handshake done.
    Connected {
        /// The link that `connect` gave.
        link: LinkId,
        /// What `connect` was given.
        owner: u64,
        /// Our address on it.
        local_ip: Option<IpAddr>,
    },
    /// Whole packets of one link, in order.
    Packets {
        /// Where they came in.
        link: LinkId,
        /// The packets, checked, uncopied.
        packets: Vec<Packet>,
        /// Refused ones among them, the first few of a job.
        dropped: Vec<PacketError>,
    },
    /// The link cannot go on; the owner answers with `close`.
    Lost {
        /// The link.
        link: LinkId,
        /// What `connect` was given; 0 for an inbound link.
        owner: u64,
        /// Why.
        reason: LossReason,
        /// For a person to read.
        detail: String,
    },
    /// PINGs and PONGs that say nothing new to the state of one version. If the state is still of that version, the
    /// owner answers the PINGs and is done; if not, each packet must be looked at in full.
    Quiet {
        /// The version of the view they were compared with.
        version: u64,
        /// In the order they came.
        heartbeats: Vec<QuietHeartbeat>,
    },
    /// A closed link's last job is home; the owner answers with `free`.
    Drained {
        /// The link.
        link: LinkId,
    },
    /// An inbound connection ended before it became a link.
    Refused {
        /// Where it came in.
        listener: u64,
        /// Who dialled.
        peer: SocketAddr,
        /// Why.
        reason: RefusalReason,
        /// For a person to read.
        detail: String,
    },
}

/// A heartbeat that says nothing new.
#[derive(Debug)]
pub struct QuietHeartbeat {
    /// Where it came in.
    pub link: LinkId,
    /// PONG, or else PING.
    pub is_pong: bool,
    /// The whole packet.
    pub packet: Packet,
}
