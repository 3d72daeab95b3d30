//! What carries a link's bytes, and which of its halves are away with a job. Any thread, under the lock of the `Dock`.
//!
//! Invariant: a half is `Home`, `Away` with exactly one job, or `Gone` after that job panicked.

use std::net::SocketAddr;
use std::sync::Arc;

use clusterbus_wire::{IP_LEN_BYTES, IpText};
use rustls::Connection;

use crate::transport::anonymous::AnonymousBytes;
use crate::transport::plain::{RecvHalf, SendHalf};
use crate::transport::socket::Socket;
use crate::transport::times::LinkTimes;
use crate::transport::tls::TlsTransport;

/// What a job takes out of its link and brings back.
pub(crate) enum Half<T> {
    Home(T),
    Away,
    Gone,
}

impl<T> Half<T> {
    /// Takes the half for a job, if it is home.
    pub(crate) fn take(&mut self) -> Option<T> {
        match std::mem::replace(self, Self::Away) {
            Self::Home(half) => Some(half),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(crate) fn is_home(&self) -> bool {
        matches!(self, Self::Home(_))
    }

    fn is_away(&self) -> bool {
        matches!(self, Self::Away)
    }

    fn home(&self) -> Option<&T> {
        match self {
            Self::Home(half) => Some(half),
            _ => None,
        }
    }
}

/// What carries the bytes. A dial goes from `Connecting` to `Plain`, or through `Handshake` to `Tls`; an accepted
/// connection starts as `Plain` or `Handshake`.
#[expect(
    clippy::large_enum_variant,
    reason = "most links are plain, and each link is in a box anyway"
)]
pub(crate) enum Io {
    /// Still dialling: there is nothing to read from or write to (R12).
    Connecting { tls: bool },
    /// A TCP link that is open; its halves work at the same time.
    Plain { recv: Half<RecvHalf>, send: Half<SendHalf> },
    /// A TLS link in its handshake: its jobs get no messages (R12).
    Handshake(Half<Box<TlsTransport>>),
    /// A TLS link that is open.
    Tls(Half<Box<TlsTransport>>),
}

impl Io {
    pub(crate) fn plain(socket: Arc<dyn Socket>, times: Arc<LinkTimes>, peer: SocketAddr) -> Self {
        Self::Plain {
            recv: Half::Home(RecvHalf::new(socket.clone(), times.clone(), ip_field(peer))),
            send: Half::Home(SendHalf::new(socket, times)),
        }
    }

    pub(crate) fn handshake(
        socket: Arc<dyn Socket>,
        connection: Connection,
        times: Arc<LinkTimes>,
        peer: SocketAddr,
    ) -> Self {
        let transport = TlsTransport::new(socket, connection, times, ip_field(peer));
        Self::Handshake(Half::Home(transport))
    }

    /// What a new link holds while its node is not known counts against `all`.
    pub(crate) fn count_in(mut self, all: &Arc<AnonymousBytes>) -> Self {
        match &mut self {
            Self::Plain { recv: Half::Home(recv), .. } => recv.count_in(all),
            Self::Handshake(Half::Home(transport)) | Self::Tls(Half::Home(transport)) => {
                transport.count_in(all);
            }
            _ => {}
        }
        self
    }

    /// The link's node is known, so what a receiving half at home holds counts no more.
    pub(crate) fn node_is_known(&mut self) {
        match self {
            Self::Plain { recv: Half::Home(recv), .. } => recv.node_is_known(),
            Self::Handshake(Half::Home(transport)) | Self::Tls(Half::Home(transport)) => {
                transport.node_is_known();
            }
            _ => {}
        }
    }

    /// Whether messages can go in and out.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Plain { .. } | Self::Tls(_))
    }

    /// Whether one job serves both directions.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Tls(_))
    }

    pub(crate) fn has_job_away(&self) -> bool {
        match self {
            Self::Connecting { .. } => false,
            Self::Plain { recv, send } => recv.is_away() || send.is_away(),
            Self::Handshake(transport) | Self::Tls(transport) => transport.is_away(),
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn jobs_away(&self) -> usize {
        match self {
            Self::Connecting { .. } => 0,
            Self::Plain { recv, send } => usize::from(recv.is_away()) + usize::from(send.is_away()),
            Self::Handshake(transport) | Self::Tls(transport) => usize::from(transport.is_away()),
        }
    }

    /// Whether the sending half is home with messages that it has not sent yet.
    pub(crate) fn has_rest_to_send(&self) -> bool {
        match self {
            Self::Plain { send, .. } => send.home().is_some_and(|home| !home.batch.is_empty()),
            Self::Tls(transport) => transport.home().is_some_and(|home| !home.batch.is_empty()),
            Self::Connecting { .. } | Self::Handshake(_) => false,
        }
    }
}

/// An address as the wire writes it; empty if it does not fit into the field.
fn ip_field(peer: SocketAddr) -> [u8; IP_LEN_BYTES] {
    let text = peer.ip().to_string();
    IpText::new("peer", &text).map(|text| *text.as_field()).unwrap_or([0; IP_LEN_BYTES])
}
