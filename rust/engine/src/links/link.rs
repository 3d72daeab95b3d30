//! One link: its states, what it wants, and the jobs made from it. Only `Links` changes it. Main thread only.
//!
//! It has three states, each an enum: how far its life has come (`Life`), what carries its bytes (`Io`), and whether
//! its socket takes more (`WriteSide`). The comment on each flag says why the flag is not part of one of these.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::io::{Half, Io};
use crate::gossip::IdBytes;
use crate::job::{Job, JobKind};
use crate::link_id::LinkId;
use crate::pool::Lane;
use crate::transport::socket::{Socket, TcpSocket};
use crate::transport::transfer::{LastRead, OutMessage, WriteReport};

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

/// What the last finished write job found out about the socket.
#[derive(Debug)]
pub(super) enum WriteSide {
    /// The socket takes bytes, as far as is known.
    Open,
    /// The socket was full, and no writable edge has come since.
    Blocked,
    /// Nothing can be written any more. This is reported after one more read, which brings what the peer sent before
    /// (R6, R14).
    Failed(String),
}

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) origin: Origin,
    pub(super) peer: SocketAddr,
    /// The node that the link is bound to, once the main loop has said so.
    pub(super) node: Option<IdBytes>,
    /// The TCP socket itself, for what only the main thread asks it; none for a transport that a test attached.
    pub(super) tcp: Option<Arc<TcpSocket>>,
    pub(super) socket: Arc<dyn Socket>,
    pub(super) last_read: Arc<LastRead>,
    pub(super) io: Io,
    pub(super) life: Life,
    pub(super) write: WriteSide,
    /// There may be something to read, because a readable edge came or a job used up its budget. Independent of where
    /// the half is: an edge that comes while it is away is remembered here.
    pub(super) read_wanted: bool,
    /// A writable edge has come since the sending half left, so if its job reports a full socket, that may be out of
    /// date. Independent of `write`, which says what was found before the half left.
    pub(super) write_edge_while_away: bool,
    /// The kernel said that the peer ended its stream. Independent of everything else: it can come at any time, and it
    /// stays true.
    pub(super) peer_ended: bool,
    /// The link is awaited: something waits for a half that is away, so its completion must wake the main thread even
    /// if it is not urgent. Independent of the halves: not every half that is away is waited for. `Links` counts these.
    pub(super) is_awaited: bool,
    /// The link is in the ready list of `Links`, which holds it at most once. Independent of what the link wants, which
    /// may change before its turn comes.
    pub(super) is_ready: bool,
    /// Refused packets so far (H4).
    pub(super) dropped_len: u32,
    /// Messages that no job has taken yet (R9).
    queue: VecDeque<OutMessage>,
    /// Messages and bytes that are not wholly sent: in the queue or with the sending half (R18).
    pub(super) unsent_messages: usize,
    pub(super) unsent_bytes: usize,
}

/// What a link is made of.
pub(crate) struct NewLink {
    pub(crate) origin: Origin,
    pub(crate) peer: SocketAddr,
    pub(crate) tcp: Option<Arc<TcpSocket>>,
    pub(crate) socket: Arc<dyn Socket>,
    pub(crate) last_read: Arc<LastRead>,
    pub(crate) io: Io,
}

impl Link {
    pub(super) fn new(id: LinkId, new: NewLink) -> Self {
        let NewLink { origin, peer, tcp, socket, last_read, io } = new;
        let is_arriving = matches!((origin, &io), (Origin::Accepted { .. }, Io::Handshake(_)));
        Self {
            id,
            origin,
            peer,
            node: None,
            tcp,
            socket,
            last_read,
            io,
            life: if is_arriving { Life::Arriving } else { Life::Silent },
            write: WriteSide::Open,
            read_wanted: false,
            write_edge_while_away: false,
            peer_ended: false,
            is_awaited: false,
            is_ready: false,
            dropped_len: 0,
            queue: VecDeque::new(),
            unsent_messages: 0,
            unsent_bytes: 0,
        }
    }

    pub(super) fn is_inbound(&self) -> bool {
        matches!(self.origin, Origin::Accepted { .. })
    }

    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        let local = self.tcp.as_ref()?.0.local_addr().ok()?;
        Some(local.ip().to_canonical())
    }

    // ---- what it wants

    /// Whether there are messages to send and, as far as is known, room for them. Never before the link is open (R12).
    fn wants_write(&self) -> bool {
        matches!(self.write, WriteSide::Open)
            && self.io.is_open()
            && (!self.queue.is_empty() || self.io.has_rest_to_send())
    }

    /// Whether the link would start a job if its halves were home.
    pub(super) fn wants_job(&self) -> bool {
        self.read_wanted || self.wants_write()
    }

    // ---- edges

    pub(super) fn note_edge(&mut self, is_readable: bool, is_writable: bool) {
        self.read_wanted |= is_readable;
        if !is_writable {
            return;
        }
        self.write_edge_while_away = true;
        if matches!(self.write, WriteSide::Blocked) {
            self.write = WriteSide::Open;
            // One TLS job serves both directions, so asking for a read also gets the writing done.
            self.read_wanted |= self.io.is_tls();
        }
    }

    // ---- jobs

    /// The lane that the link's jobs wait in.
    pub(super) fn lane(&self) -> Lane {
        if matches!(self.io, Io::Handshake(_)) { Lane::Handshake } else { Lane::Established }
    }

    /// The read job of a plain link or the TLS job, if it is wanted and can start.
    pub(super) fn take_read_job(&mut self) -> Option<Job> {
        let is_wanted = self.wants_job();
        let is_open = self.io.is_open();
        match &mut self.io {
            Io::Connecting { .. } => None,
            Io::Plain { recv, .. } => {
                if !self.read_wanted {
                    return None;
                }
                let mut half = recv.take()?;
                self.read_wanted = false;
                half.expect_eof = self.peer_ended;
                half.node = self.node;
                Some(Job::Read(self.id, half))
            }
            Io::Handshake(transport) | Io::Tls(transport) => {
                if !is_wanted {
                    return None;
                }
                let mut transport = transport.take()?;
                self.read_wanted = false;
                self.write_edge_while_away = false;
                transport.expect_eof = self.peer_ended;
                transport.node = self.node;
                if is_open {
                    transport.batch.fill(&mut self.queue);
                }
                Some(Job::Tls(self.id, transport))
            }
        }
    }

    /// The write job of a plain link, if it is wanted and can start.
    pub(super) fn take_write_job(&mut self) -> Option<Job> {
        if !self.wants_write() {
            return None;
        }
        let Io::Plain { send, .. } = &mut self.io else { return None };
        let mut half = send.take()?;
        self.write_edge_while_away = false;
        half.batch.fill(&mut self.queue);
        Some(Job::Write(self.id, half))
    }

    /// A job panicked, and its half is gone with it.
    pub(super) fn lose_half(&mut self, kind: JobKind) {
        match (&mut self.io, kind) {
            (Io::Plain { recv, .. }, JobKind::Read) => *recv = Half::Gone,
            (Io::Plain { send, .. }, JobKind::Write) => *send = Half::Gone,
            (Io::Handshake(transport) | Io::Tls(transport), JobKind::Tls) => {
                *transport = Half::Gone;
            }
            _ => {}
        }
    }

    // ---- what is unsent

    pub(super) fn push(&mut self, message: OutMessage) {
        self.unsent_messages += 1;
        self.unsent_bytes += message.len_bytes();
        self.queue.push_back(message);
    }

    /// Drops the messages that no job has taken.
    pub(super) fn drop_queue(&mut self) {
        for message in self.queue.drain(..) {
            self.unsent_messages -= 1;
            self.unsent_bytes -= message.len_bytes();
        }
    }

    /// Counts off what a write has sent, and notes whether the socket takes more.
    pub(super) fn settle_write(&mut self, report: &WriteReport) {
        self.unsent_bytes -= report.released_bytes;
        self.unsent_messages -= report.released_messages;
        // A writable edge that came since the half left may be newer than the full socket it met, so try again.
        let is_blocked = report.blocked && !self.write_edge_while_away;
        match (&report.error, &self.write) {
            (Some(detail), _) => {
                self.write = WriteSide::Failed(detail.clone());
                // One last read brings what the peer sent before; then the link is lost.
                self.read_wanted = true;
            }
            (None, WriteSide::Failed(_)) => {}
            (None, _) if is_blocked => self.write = WriteSide::Blocked,
            (None, _) => {
                self.write = WriteSide::Open;
                // A TLS link tries again by asking for a read.
                self.read_wanted |= report.blocked && self.io.is_tls();
            }
        }
    }
}
