//! Where the halves of a link are at home: the part of a link that every thread can reach.
//!
//! Owns the halves, what the link wants, and the messages that wait to be sent. Whoever finds a half at home may take
//! it, and owns it until it brings it back; an edge that meets an empty place is remembered here. Each method holds the
//! lock for a moment, never during I/O. Knows nothing of how a link comes up or ends: that is the main thread's
//! (`links`).

use std::collections::VecDeque;

use super::io::{Half, Io};
use crate::gossip::{IdBytes, View};
use crate::lease::Lease;
use crate::limits::ANSWERS_UNSENT_MAX_BYTES;
use crate::link_id::LinkId;
use crate::pool::Lane;
use crate::sync::Mutex;
use crate::transport::plain::{RecvHalf, SendHalf};
use crate::transport::tls::TlsTransport;
use crate::transport::transfer::{Batch, OutMessage, ReadReport, ReadStop, Received, WriteReport};

/// The readiness of a link, as the kernel reports it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edge {
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// The peer ended its stream, or the connection broke.
    pub(crate) is_ended: bool,
}

/// Which half of a link a job works on. The transport of a TLS link is its receiving half, and does both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receive,
    Send,
}

pub(crate) const SIDES: [Side; 2] = [Side::Receive, Side::Send];

/// A half that was taken, with what its job needs to know.
pub(crate) enum Work {
    Read(RecvHalf),
    Write(SendHalf),
    Tls {
        transport: Box<TlsTransport>,
        /// What came in before has been applied, so more may be read.
        reads: bool,
    },
}

/// What the last finished write found out about the socket.
#[derive(Debug)]
enum WriteSide {
    /// The socket takes bytes, as far as is known.
    Open,
    /// The socket was full, and no writable edge has come since.
    Blocked,
    /// Nothing can be written any more. This is told after one more read, which brings what the peer sent before
    /// (R6, R14).
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Halves can be taken.
    Open,
    /// No half is taken any more.
    Ended,
    /// As `Ended`, and whoever brings the last half home says so.
    Closing,
}

/// What a heartbeat that says nothing new needs, to be taken where it was read.
#[derive(Clone, Copy)]
pub(crate) struct Answering<'a> {
    pub(crate) view: &'a View,
    pub(crate) lease: &'a Lease,
}

/// What follows from a half that came home.
#[derive(Debug, Default)]
pub(crate) struct After {
    /// PINGs that were answered here.
    pub(crate) answered: u64,
    /// PONGs that were noted here.
    pub(crate) noted: u64,
    /// The link has noted a PONG, for the first time since `take_pong`.
    pub(crate) is_first_pong: bool,
    /// The main loop must hear of what was read. Nothing more is read until it has applied that (`news_applied`).
    pub(crate) is_news: bool,
    /// Why nothing can be written any more, if so.
    pub(crate) write_error: Option<String>,
    /// The link is closing and this was its last half: the main loop must hear of it.
    pub(crate) is_drained: bool,
}

/// The part of a link that every thread can reach.
pub(crate) struct Dock {
    pub(crate) id: LinkId,
    pub(crate) is_inbound: bool,
    state: Mutex<State>,
}

struct State {
    io: Io,
    phase: Phase,
    write: WriteSide,
    /// There may be something to read, because a readable edge came or a job used up its budget. Independent of where
    /// the half is: an edge that comes while it is away is remembered here.
    read_wanted: bool,
    /// The main loop has yet to apply what was read last, so that packets of one link stay in order.
    news_waits: bool,
    /// A writable edge has come since the sending half left, so if its job reports a full socket, that may be out of
    /// date. Independent of `write`, which says what was found before the half left.
    write_edge_while_away: bool,
    /// The kernel said that the peer ended its stream. It can come at any time, and it stays true.
    peer_ended: bool,
    /// A job for this side waits in the inbox or on its way there.
    is_queued: [bool; 2],
    /// The node that the link is bound to, once the main loop has said so.
    node: Option<IdBytes>,
    /// When the last PONG came that `take_pong` has not taken yet, unix milliseconds; 0 when there is none.
    pong_at_ms: u64,
    /// Messages that no job has taken yet (R9).
    queue: VecDeque<OutMessage>,
    /// Messages and bytes that are not wholly sent: in the queue or with the sending half (R18).
    unsent_messages: usize,
    unsent_bytes: usize,
}

impl State {
    /// Whether there are messages to send and, as far as is known, room for them. Never before the link is open (R12).
    fn wants_write(&self) -> bool {
        matches!(self.write, WriteSide::Open)
            && self.io.is_open()
            && (!self.queue.is_empty() || self.io.has_rest_to_send())
    }

    fn may_read(&self) -> bool {
        self.read_wanted && !self.news_waits
    }

    /// Whether a job on this side would find its half and something to do.
    fn can_start(&self, side: Side) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        match (&self.io, side) {
            (Io::Plain { recv, .. }, Side::Receive) => self.may_read() && recv.is_home(),
            (Io::Plain { send, .. }, Side::Send) => self.wants_write() && send.is_home(),
            (Io::Handshake(transport) | Io::Tls(transport), Side::Receive) => {
                (self.may_read() || self.wants_write()) && transport.is_home()
            }
            (Io::Handshake(_) | Io::Tls(_), Side::Send) | (Io::Connecting { .. }, _) => false,
        }
    }

    fn queue_job(&mut self, side: Side) -> Option<Lane> {
        if self.is_queued[side as usize] || !self.can_start(side) {
            return None;
        }
        self.is_queued[side as usize] = true;
        Some(self.lane())
    }

    fn lane(&self) -> Lane {
        if matches!(self.io, Io::Handshake(_)) { Lane::Handshake } else { Lane::Established }
    }

    fn push(&mut self, message: OutMessage) {
        self.unsent_messages += 1;
        self.unsent_bytes += message.len_bytes();
        self.queue.push_back(message);
    }

    /// Counts off what a write has sent, and notes whether the socket takes more.
    fn settle_write(&mut self, report: &WriteReport) {
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
                // rustls may hold bytes that the batch does not show, so a TLS link tries again by asking for a read.
                self.read_wanted |= report.blocked && self.io.is_tls();
            }
        }
    }

    /// Notes what a read brought, once its quiet heartbeats are taken.
    fn settle_read(&mut self, report: &ReadReport, after: &mut After) {
        self.read_wanted |= report.stop == ReadStop::Budget;
        if let WriteSide::Failed(detail) = &self.write {
            after.write_error = Some(detail.clone());
        }
        after.is_news |= !report.packets.is_empty()
            || report.dropped_len > 0
            || matches!(report.stop, ReadStop::Ended { .. })
            || after.write_error.is_some();
        self.news_waits |= after.is_news;
    }

    /// The link may have been bound while the receiving half was away.
    fn note_whether_known(&mut self) {
        if self.node.is_some() {
            self.io.node_is_known();
        }
    }

    fn settle_home(&mut self, after: &mut After) {
        after.is_drained = self.phase == Phase::Closing && !self.io.has_job_away();
    }
}

impl Dock {
    pub(crate) fn new(id: LinkId, is_inbound: bool, io: Io) -> Self {
        let read_wanted = !matches!(io, Io::Connecting { .. });
        let state = State {
            io,
            phase: Phase::Open,
            write: WriteSide::Open,
            read_wanted,
            news_waits: false,
            write_edge_while_away: false,
            peer_ended: false,
            is_queued: [false; 2],
            node: None,
            pong_at_ms: 0,
            queue: VecDeque::new(),
            unsent_messages: 0,
            unsent_bytes: 0,
        };
        Self { id, is_inbound, state: Mutex::new(state) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic with the lock held would be a fault of ours in this file. The link then ends like one whose job
        // panicked, since its state is still sound in itself.
        act(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    // ---- what the main thread says of the link

    /// A dial is connected: it goes on with halves or with a handshake.
    pub(crate) fn connect(&self, io: Io) {
        self.with(|state| {
            state.io = io;
            state.read_wanted = true;
        });
    }

    /// Binds the link to the node at its other end.
    pub(crate) fn bind(&self, node: IdBytes) {
        self.with(|state| {
            state.node = Some(node);
            state.io.node_is_known();
        });
    }

    pub(crate) fn node(&self) -> Option<IdBytes> {
        self.with(|state| state.node)
    }

    /// Whether it is a dial that is not connected, and speaks TLS once it is.
    pub(crate) fn connecting(&self) -> Option<bool> {
        self.with(|state| match state.io {
            Io::Connecting { tls } => Some(tls),
            _ => None,
        })
    }

    /// Whether messages can go in and out.
    pub(crate) fn is_open(&self) -> bool {
        self.with(|state| state.io.is_open())
    }

    /// Queues a message; none, if more than `unsent_max_bytes` are unsent. Returns the bytes that are unsent then, and the
    /// side that a job was marked as queued for, if one can begin now.
    pub(crate) fn push(
        &self,
        message: OutMessage,
        unsent_max_bytes: usize,
    ) -> Option<(usize, Option<(Side, Lane)>)> {
        self.with(|state| {
            if state.unsent_bytes > unsent_max_bytes {
                return None;
            }
            // An empty message needs no sending, and a socket that takes 0 bytes of it would look broken.
            if message.len_bytes() > 0 {
                state.push(message);
            }
            let side = if state.io.is_tls() { Side::Receive } else { Side::Send };
            Some((state.unsent_bytes, state.queue_job(side).map(|lane| (side, lane))))
        })
    }

    /// The messages and bytes that are not wholly sent.
    pub(crate) fn send_queue(&self) -> (usize, usize) {
        self.with(|state| (state.unsent_messages, state.unsent_bytes))
    }

    /// The main loop has applied what was read last.
    pub(crate) fn news_applied(&self) {
        self.with(|state| state.news_waits = false);
    }

    /// When the last quiet PONG came, unix milliseconds, if one came since the last call.
    pub(crate) fn take_pong(&self) -> Option<u64> {
        let at_ms = self.with(|state| std::mem::take(&mut state.pong_at_ms));
        (at_ms > 0).then_some(at_ms)
    }

    /// The link cannot go on: no half is taken any more.
    pub(crate) fn end(&self) {
        self.with(|state| state.phase = Phase::Ended);
    }

    /// The link is closing: its queue is dropped, and no half is taken any more. True when all are home; if not,
    /// whoever brings the last one home reports it.
    pub(crate) fn close(&self) -> bool {
        let (queue, all_home) = self.with(|state| {
            state.phase = Phase::Closing;
            for message in &state.queue {
                state.unsent_messages -= 1;
                state.unsent_bytes -= message.len_bytes();
            }
            (std::mem::take(&mut state.queue), !state.io.has_job_away())
        });
        drop(queue);
        all_home
    }

    /// Drops the halves, which closes the socket even if a job that waits in the inbox still knows the link.
    pub(crate) fn clear(&self) {
        let halves = self.with(|state| {
            state.phase = Phase::Ended;
            std::mem::replace(&mut state.io, Io::Connecting { tls: false })
        });
        drop(halves);
    }

    // ---- edges, and jobs

    /// The kernel reports readiness. False for a dial that is not connected, which only the main thread looks at.
    pub(crate) fn note_edge(&self, edge: Edge) -> bool {
        self.with(|state| {
            // Noted for a dial too: the edge that says it is connected may be the only one that says it has ended.
            state.peer_ended |= edge.is_ended;
            if matches!(state.io, Io::Connecting { .. }) {
                return false;
            }
            state.read_wanted |= edge.is_readable || edge.is_ended;
            if edge.is_writable {
                state.write_edge_while_away = true;
                if matches!(state.write, WriteSide::Blocked) {
                    state.write = WriteSide::Open;
                    // One TLS job serves both directions, so asking for a read also gets the writing done.
                    state.read_wanted |= state.io.is_tls();
                }
            }
            true
        })
    }

    /// Marks a job for this side as queued. The lane to queue it in; none when it would find nothing to do, or when
    /// one is queued already.
    pub(crate) fn queue_job(&self, side: Side) -> Option<Lane> {
        self.with(|state| state.queue_job(side))
    }

    /// The lane that a job of this link belongs in.
    pub(crate) fn lane(&self) -> Lane {
        self.with(|state| state.lane())
    }

    /// Takes the half of a side, if it is home and there is something to do for it. A job that was queued for the side
    /// has begun with this.
    pub(crate) fn take(&self, side: Side) -> Option<Work> {
        self.with(|state| {
            state.is_queued[side as usize] = false;
            if !state.can_start(side) {
                return None;
            }
            let reads = state.may_read();
            match (&mut state.io, side) {
                (Io::Plain { recv, .. }, Side::Receive) => {
                    let mut half = recv.take()?;
                    state.read_wanted = false;
                    half.expect_eof = state.peer_ended;
                    half.node = state.node;
                    Some(Work::Read(half))
                }
                (Io::Plain { send, .. }, Side::Send) => {
                    let mut half = send.take()?;
                    state.write_edge_while_away = false;
                    half.batch.fill(&mut state.queue);
                    Some(Work::Write(half))
                }
                (Io::Handshake(home) | Io::Tls(home), Side::Receive) => {
                    let mut transport = home.take()?;
                    state.read_wanted &= !reads;
                    state.write_edge_while_away = false;
                    transport.expect_eof = state.peer_ended;
                    transport.node = state.node;
                    Some(Work::Tls { transport, reads })
                }
                _ => None,
            }
        })
    }

    /// The receiving half of a plain link is home. The heartbeats at the front of what it read that say nothing new
    /// are taken off the report.
    pub(crate) fn read_done(
        &self,
        half: RecvHalf,
        report: &mut ReadReport,
        answering: Option<Answering<'_>>,
    ) -> After {
        self.with(|state| {
            let mut after = After::default();
            if let Io::Plain { recv, .. } = &mut state.io {
                *recv = Half::Home(half);
            }
            state.note_whether_known();
            if let Some(answering) = answering {
                self.take_quiet(state, report, answering, &mut after);
            }
            state.settle_read(report, &mut after);
            state.settle_home(&mut after);
            after
        })
    }

    /// The sending half of a plain link is home.
    pub(crate) fn write_done(&self, half: SendHalf, report: &WriteReport) -> After {
        self.with(|state| {
            let mut after = After::default();
            if let Io::Plain { send, .. } = &mut state.io {
                *send = Half::Home(half);
            }
            state.settle_write(report);
            state.settle_home(&mut after);
            after
        })
    }

    /// A TLS job has read, and will write next: quiet heartbeats are taken off the report, and the batch is filled.
    pub(crate) fn between_read_and_write(
        &self,
        report: &mut ReadReport,
        batch: &mut Batch,
        answering: Option<Answering<'_>>,
    ) -> After {
        self.with(|state| {
            let mut after = After::default();
            if let Some(answering) = answering {
                self.take_quiet(state, report, answering, &mut after);
            }
            if state.io.is_open() && state.phase == Phase::Open {
                batch.fill(&mut state.queue);
            }
            after
        })
    }

    /// The transport of a TLS link is home. `read`: what was read, if the job did read. `is_up`: its handshake is done
    /// with this job, which the main loop must hear.
    pub(crate) fn tls_done(
        &self,
        transport: Box<TlsTransport>,
        is_handshaking: bool,
        is_up: bool,
        read: Option<&ReadReport>,
        write: &WriteReport,
        mut after: After,
    ) -> After {
        self.with(|state| {
            let half = Half::Home(transport);
            state.io = if is_handshaking { Io::Handshake(half) } else { Io::Tls(half) };
            state.note_whether_known();
            state.settle_write(write);
            after.is_news = is_up;
            if let Some(read) = read {
                state.settle_read(read, &mut after);
            }
            state.settle_home(&mut after);
            after
        })
    }

    /// A job panicked, and its half is gone with it.
    pub(crate) fn half_is_gone(&self, side: Side) -> After {
        self.with(|state| {
            match (&mut state.io, side) {
                (Io::Plain { recv, .. }, Side::Receive) => *recv = Half::Gone,
                (Io::Plain { send, .. }, Side::Send) => *send = Half::Gone,
                (Io::Handshake(transport) | Io::Tls(transport), _) => *transport = Half::Gone,
                (Io::Connecting { .. }, _) => {}
            }
            let mut after = After::default();
            state.settle_home(&mut after);
            after
        })
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn jobs_away(&self) -> usize {
        self.with(|state| state.io.jobs_away())
    }

    /// Takes the heartbeats at the front of the report that say nothing new: answers the PINGs, notes the PONGs.
    ///
    /// Why a worker may do this beside a main loop that changes the state: it happens only while the state's version is
    /// the view's. At that version the heartbeat changes nothing but times and the offset, and our answer says what was
    /// true. So it is as if the heartbeat had come, and been answered, just before the next change. The version is read
    /// here, under the lock that each message of the main loop to this peer passes: what the main loop says after a
    /// change goes into the queue after it, so on no link can an answer that says less follow a message that says more.
    /// The lease sees to it that a main loop that hangs is not answered for.
    fn take_quiet(
        &self,
        state: &mut State,
        report: &mut ReadReport,
        answering: Answering<'_>,
        after: &mut After,
    ) {
        let Answering { view, lease } = answering;
        // A PING belongs on a link that the peer dialled, a PONG on one that we dialled. Anything else is for the state
        // to judge.
        let quiet = |received: &Received| {
            let verdict = received.verdict.as_ref()?;
            let is_quiet = verdict.is_quiet() && verdict.is_pong != self.is_inbound;
            (is_quiet && verdict.version == view.version).then_some(verdict.is_pong)
        };
        let Some(node) = state.node.filter(|_| state.phase == Phase::Open) else { return };
        if report.packets.first().and_then(quiet).is_none() || !lease.holds() || !view.is_current()
        {
            return;
        }
        let mut taken = 0;
        for received in &report.packets {
            let Some(is_pong) = quiet(received) else { break };
            if is_pong {
                after.noted += 1;
            } else {
                if state.unsent_bytes > ANSWERS_UNSENT_MAX_BYTES {
                    break;
                }
                state.push(OutMessage::answer(view, node));
                after.answered += 1;
            }
            view.note_offset(&received.packet);
            taken += 1;
        }
        if after.noted > 0 {
            after.is_first_pong = state.pong_at_ms == 0;
            state.pong_at_ms = view.now_ms();
        }
        report.taken_len += taken;
        report.packets.drain(..taken);
    }
}
