//! Links as the main thread holds them: a slot each, with the halves that are home. Main thread only.
//!
//! Invariants: a half is `Home`, `Away` with exactly one job, or `Gone` after that job panicked. A slot is freed only
//! when no half is away. An id carries its slot's generation, so a late event never meets a later link (R15).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use crate::gossip::IdBytes;
use crate::plain::{RecvHalf, SendHalf};
use crate::socket::{Socket, TcpSocket};
use crate::tls::TlsTransport;
use crate::transfer::{LastRead, OutMessage};

/// A link's name: slot number and generation. Never 0, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    fn new(index: usize, generation: u32) -> Self {
        Self((u64::from(generation) << 32) | index as u64)
    }

    /// The number that stands for the link outside this crate.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The link of a number; one that names no link is found nowhere.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(value)
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// A part of a link that a job takes along.
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

    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Away)
    }

    pub(crate) fn home(&self) -> Option<&T> {
        match self {
            Self::Home(half) => Some(half),
            _ => None,
        }
    }
}

/// What carries the bytes.
#[expect(
    clippy::large_enum_variant,
    reason = "most links are plain, and a link has a box of its own"
)]
pub(crate) enum Io {
    /// Still dialling: nothing to read from or write to (R12).
    Connecting {
        tls: bool,
    },
    Plain {
        recv: Half<RecvHalf>,
        send: Half<SendHalf>,
    },
    Tls {
        transport: Half<Box<TlsTransport>>,
        is_handshaking: bool,
    },
}

/// Whose a connection is, known before there is a link (R17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Dialled { owner: u64 },
    Accepted { listener: u64 },
}

/// How far a link's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Jobs are dispatched.
    Up,
    /// It cannot go on; the main loop has been told and will close it.
    Lost,
    /// Closed by the main loop; jobs in flight are awaited and their results dropped.
    Closing,
    /// Nothing is away any more; it waits to be freed.
    Drained,
}

pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) origin: Origin,
    pub(crate) peer: SocketAddr,
    /// Whose link it is, once the main loop has had proof.
    pub(crate) node: Option<IdBytes>,
    /// The TCP socket itself, for what only the main thread asks of it; none under test transports.
    pub(crate) tcp: Option<Arc<TcpSocket>>,
    pub(crate) socket: Arc<dyn Socket>,
    pub(crate) last_read: Arc<LastRead>,
    pub(crate) io: Io,
    pub(crate) life: Life,
    /// The main loop knows of the link. Until then the engine alone ends it.
    pub(crate) announced: bool,
    /// An edge, or a budget stop, says there may be something to read; set also while the half is away.
    pub(crate) read_wanted: bool,
    /// The last write met a full socket, and no writable edge came since.
    pub(crate) write_blocked: bool,
    /// A writable edge came while the writing half was away: the "full" it may bring home is old news.
    pub(crate) write_edge_while_away: bool,
    /// Why nothing can be written any more; told when the read at hand has brought what the peer sent before (R6, R14).
    pub(crate) write_error: Option<String>,
    /// The kernel said that the peer ended its stream.
    pub(crate) peer_ended: bool,
    /// Something waits for the job that is away: even a completion that is no news must be told at once.
    pub(crate) is_awaited: bool,
    /// In the engine's list of links to look at.
    pub(crate) is_ready: bool,
    pub(crate) first_packet_seen: bool,
    /// Refused packets so far (H4).
    pub(crate) dropped_len: u32,
    /// Messages waiting on the main thread (R9).
    pub(crate) queue: VecDeque<OutMessage>,
    /// Messages and bytes not wholly sent: the queue and what is with the writing half (R18).
    pub(crate) unsent_messages: usize,
    pub(crate) unsent_bytes: usize,
}

impl Link {
    pub(crate) fn owner(&self) -> u64 {
        match self.origin {
            Origin::Dialled { owner } => owner,
            Origin::Accepted { .. } => 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self.io {
            Io::Connecting { .. } => false,
            Io::Plain { .. } => true,
            Io::Tls { is_handshaking, .. } => !is_handshaking,
        }
    }

    /// A TLS handshake is under way.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.io, Io::Tls { is_handshaking: true, .. })
    }

    pub(crate) fn has_job_away(&self) -> bool {
        match &self.io {
            Io::Connecting { .. } => false,
            Io::Plain { recv, send } => recv.is_away() || send.is_away(),
            Io::Tls { transport, .. } => transport.is_away(),
        }
    }

    /// There are messages to send, and room for them as far as is known. Never in a handshake (R12).
    pub(crate) fn wants_write(&self) -> bool {
        if self.write_blocked || self.write_error.is_some() {
            return false;
        }
        let left_over = match &self.io {
            Io::Connecting { .. } => false,
            Io::Plain { send, .. } => send.home().is_some_and(|home| !home.batch.is_empty()),
            Io::Tls { is_handshaking: true, .. } => return false,
            Io::Tls { transport, .. } => transport.home().is_some_and(|t| !t.batch.is_empty()),
        };
        left_over || !self.queue.is_empty()
    }

    /// A look at the link would start a job, were its halves home.
    pub(crate) fn wants_job(&self) -> bool {
        self.read_wanted || self.wants_write()
    }

    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        let local = self.tcp.as_ref()?.0.local_addr().ok()?;
        Some(local.ip().to_canonical())
    }

    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        self.tcp.as_ref().map(|tcp| &tcp.0)
    }

    pub(crate) fn push(&mut self, message: OutMessage) {
        self.unsent_messages += 1;
        self.unsent_bytes += message.len_bytes();
        self.queue.push_back(message);
    }

    /// Drops what was not handed to a job.
    pub(crate) fn drop_queue(&mut self) {
        for message in self.queue.drain(..) {
            self.unsent_messages -= 1;
            self.unsent_bytes -= message.len_bytes();
        }
    }
}

enum Slot {
    Free { generation: u32 },
    Used(Box<Link>),
}

/// All links, by id.
#[derive(Default)]
pub(crate) struct LinkTable {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl LinkTable {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, make: impl FnOnce(LinkId) -> Link) -> LinkId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free { generation: 0 });
            self.slots.len() - 1
        });
        let generation = match &self.slots[index] {
            Slot::Free { generation } => generation.wrapping_add(1).max(1),
            Slot::Used(link) => unreachable!("slot of {:?} was in the free list", link.id),
        };
        let id = LinkId::new(index, generation);
        self.slots[index] = Slot::Used(Box::new(make(id)));
        id
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        match self.slots.get(id.index()) {
            Some(Slot::Used(link)) if link.id == id => Some(link),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match self.slots.get_mut(id.index()) {
            Some(Slot::Used(link)) if link.id == id => Some(link),
            _ => None,
        }
    }

    /// Frees the slot; the socket closes with the link.
    pub(crate) fn remove(&mut self, id: LinkId) {
        if self.get(id).is_some() {
            let generation = (id.as_u64() >> 32) as u32;
            self.slots[id.index()] = Slot::Free { generation };
            self.free.push(id.index());
        }
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        let used = self.slots.iter().filter_map(|slot| match slot {
            Slot::Used(link) => Some(link.id),
            Slot::Free { .. } => None,
        });
        used.collect()
    }
}
