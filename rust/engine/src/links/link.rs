//! One link as the main thread knows it: where it comes from, and how far its life has come. Only `Links` changes it.
//! Main thread only.
//!
//! Its halves, and what waits to be sent, are in its dock, which all threads reach.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::docks::{Dock, Io};
use crate::link_id::LinkId;
use crate::sync::Arc as SharedArc;
use crate::transport::socket::{Socket, TcpSocket};
use crate::transport::times::LinkTimes;

/// Where a connection comes from, which is known before there is a link (R17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Dialled { owner: u64 },
    Accepted { listener: u64 },
}

impl Origin {
    /// The owner number that `connect` was given; 0 for an inbound link.
    pub(super) fn owner(self) -> u64 {
        match self {
            Self::Dialled { owner } => owner,
            Self::Accepted { .. } => 0,
        }
    }
}

/// How far a link has come. It only moves down this list, and skips the states that do not apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// An inbound link in its TLS handshake. The main loop does not know it yet, so only the engine can end it.
    Arriving,
    /// The main loop knows the link. No whole packet has come yet; an inbound link must not stay in this state for long
    /// (H31).
    Silent,
    /// A whole packet has come.
    Heard,
    /// It cannot go on. The main loop has been told, and will close it.
    Lost,
    /// The main loop has closed it. Jobs that are away are awaited, and what they bring is dropped.
    Closing,
    /// Like `Closing`, for a link that the main loop never knew: once no half is away it is freed without an event.
    Discarded,
    /// No half is away any more. The main loop has been told, and will free it.
    Drained,
}

impl Life {
    /// Whether the main loop may send on the link, and will be told if it is lost.
    pub(super) fn takes_messages(self) -> bool {
        matches!(self, Self::Silent | Self::Heard)
    }

    /// Whether jobs are made from the link.
    pub(super) fn takes_jobs(self) -> bool {
        self == Self::Arriving || self.takes_messages()
    }
}

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) origin: Origin,
    pub(super) peer: SocketAddr,
    /// The TCP socket itself, for what only the main thread asks it; none for a transport that a test attached.
    pub(super) tcp: Option<Arc<TcpSocket>>,
    pub(super) socket: Arc<dyn Socket>,
    pub(super) times: Arc<LinkTimes>,
    pub(super) life: Life,
    /// Refused packets so far (H4).
    pub(super) dropped_len: u32,
    pub(super) dock: SharedArc<Dock>,
}

/// What a link is made of.
pub(crate) struct NewLink {
    pub(crate) origin: Origin,
    pub(crate) peer: SocketAddr,
    pub(crate) tcp: Option<Arc<TcpSocket>>,
    pub(crate) socket: Arc<dyn Socket>,
    pub(crate) times: Arc<LinkTimes>,
    pub(crate) io: Io,
}

impl Link {
    pub(super) fn new(id: LinkId, new: NewLink) -> Self {
        let NewLink { origin, peer, tcp, socket, times, io } = new;
        let is_inbound = matches!(origin, Origin::Accepted { .. });
        let is_arriving = is_inbound && matches!(io, Io::Handshake(_));
        Self {
            id,
            origin,
            peer,
            tcp,
            socket,
            times,
            life: if is_arriving { Life::Arriving } else { Life::Silent },
            dropped_len: 0,
            dock: SharedArc::new(Dock::new(id, is_inbound, io)),
        }
    }

    pub(super) fn is_inbound(&self) -> bool {
        self.dock.is_inbound
    }

    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        let local = self.tcp.as_ref()?.0.local_addr().ok()?;
        Some(local.ip().to_canonical())
    }
}
