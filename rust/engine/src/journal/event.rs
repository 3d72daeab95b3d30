//! What the engine reports to the main loop: the events of a step, in the order in which they happened.
//!
//! Plain values, handed over by `Engine::poll`. Holds no link and no half; made on the main thread only.

use std::net::{IpAddr, SocketAddr};

use clusterbus_wire::{Packet, PacketError};

use crate::link_id::LinkId;
use crate::reason::{LossReason, RefusalReason};
use crate::transport::transfer::Received;

/// Something that happened, for the main loop to act on.
#[derive(Debug)]
pub enum Event {
    /// A peer's connection is up; if it is a TLS connection, its handshake is done.
    Accepted {
        /// The new link.
        link: LinkId,
        /// The listener that the connection came in through.
        listener: u64,
        /// The address of the peer that dialled.
        peer: SocketAddr,
        /// Our address that the peer dialled.
        local_ip: Option<IpAddr>,
    },
    /// Our dial is up; if it is a TLS connection, its handshake is done.
    Connected {
        /// The link that `connect` returned.
        link: LinkId,
        /// The owner number that `connect` was given.
        owner: u64,
        /// Our address on the link.
        local_ip: Option<IpAddr>,
    },
    /// Packets of one link, in the order in which they came.
    Packets {
        /// The link they came in on.
        link: LinkId,
        /// Whole packets that passed the checks, as slices of the receive buffer, and what of each is news.
        packets: Vec<Received>,
        /// Why packets were refused: the first few refusals of a job.
        dropped: Vec<PacketError>,
    },
    /// The link cannot go on; the main loop answers with `close`.
    Lost {
        /// The link that is lost.
        link: LinkId,
        /// The owner number that `connect` was given; 0 for an inbound link.
        owner: u64,
        /// Why it was lost.
        reason: LossReason,
        /// The circumstances, in words for a person to read.
        detail: String,
    },
    /// PINGs and PONGs that say nothing new to the state of one version. If the state still has that version, the owner
    /// only answers the PINGs; if not, it must look at each packet in full.
    Quiet {
        /// The version of the view that they were compared with.
        version: u64,
        /// The heartbeats, in the order in which they came.
        heartbeats: Vec<QuietHeartbeat>,
    },
    /// The last job of a closed link has ended; the main loop answers with `free`.
    Drained {
        /// The link that can be freed.
        link: LinkId,
    },
    /// An inbound connection ended before it became a link.
    Refused {
        /// The listener that the connection came in through.
        listener: u64,
        /// The address of the peer that dialled.
        peer: SocketAddr,
        /// Why it was refused.
        reason: RefusalReason,
        /// The circumstances, in words for a person to read.
        detail: String,
    },
}

/// A heartbeat that says nothing new.
#[derive(Debug)]
pub struct QuietHeartbeat {
    /// The link it came in on.
    pub link: LinkId,
    /// True for a PONG, false for a PING.
    pub is_pong: bool,
    /// The whole packet.
    pub packet: Packet,
}
