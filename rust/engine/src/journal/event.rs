//! What the engine reports to the main loop: the events of a step, in the order in which they happened.
//!
//! Plain values, handed over by `Engine::poll`. Holds no link and no half; made on the main thread only.

use std::net::{IpAddr, SocketAddr};

use clusterbus_wire::PacketError;

use crate::link_id::LinkId;
use crate::reason::{LossReason, RefusalReason};
use crate::transport::tls::PeerIdentity;
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
        /// What the peer's certificate says, if it showed one.
        identity: Option<Box<PeerIdentity>>,
    },
    /// Our dial is up; if it is a TLS connection, its handshake is done.
    Connected {
        /// The link that `connect` returned.
        link: LinkId,
        /// The owner number that `connect` was given.
        owner: u64,
        /// Our address on the link.
        local_ip: Option<IpAddr>,
        /// What the peer's certificate says, if it showed one.
        identity: Option<Box<PeerIdentity>>,
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
    /// Heartbeats that said nothing new to the state were taken where they were read, since the last event of this
    /// kind. They wake nobody.
    Quiet {
        /// PINGs that were answered.
        answered: u64,
        /// PONGs that were noted.
        noted: u64,
        /// The links of these PONGs, each with the time of its last one, unix milliseconds.
        pongs: Vec<(LinkId, u64)>,
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
