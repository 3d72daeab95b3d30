//! `Links` owns the table of links, the ready list, the counts of awaited links and of handshakes, and the deadlines.
//!
//! Nothing else changes a link or a count. Each method is told what happened and brings all of these up to date. It
//! makes no events: what the main loop must hear is returned to the caller. Main thread only.
//!
//! Invariants: `ready` holds a link exactly once if its `is_ready` is set, else never; `awaited` counts the links with
//! `is_awaited`; `handshakes` counts those in `Life::Arriving`. A slot is freed only when no half is away.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlines::Deadlines;
use super::io::{Half, Io};
use super::link::{Life, Link, NewLink, Origin, WriteSide};
use super::table::LinkTable;
use crate::gossip::IdBytes;
use crate::job::{Job, JobKind};
use crate::limits;
use crate::link_id::LinkId;
use crate::pool::Lane;
use crate::transport::plain::{RecvHalf, SendHalf};
use crate::transport::socket::{Socket, TcpSocket};
use crate::transport::tls::TlsTransport;
use crate::transport::transfer::{LastRead, OutMessage, ReadReport, ReadStop, WriteReport};

/// The readiness of a link, as the kernel reports it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edge {
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// The peer ended its stream, or the connection broke.
    pub(crate) is_ended: bool,
}

/// A dial that is not connected yet, and what is needed to go on once it is.
pub(crate) struct Dial<'a> {
    /// Whether a TLS handshake comes next.
    pub(crate) tls: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) stream: &'a TcpStream,
    pub(crate) socket: &'a Arc<dyn Socket>,
    pub(crate) last_read: &'a Arc<LastRead>,
}

/// The jobs to start for one link.
pub(crate) struct Work {
    pub(crate) lane: Lane,
    pub(crate) jobs: [Option<Job>; 2],
}

/// What the main loop must hear about a link that has just come up.
pub(crate) struct Up {
    pub(crate) origin: Origin,
    pub(crate) peer: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
}

/// What is needed of a link to report what a read brought.
pub(crate) struct AfterRead {
    /// The node that the link is bound to.
    pub(crate) node: Option<IdBytes>,
    pub(crate) is_inbound: bool,
    /// So many packets were refused that the link must be given up (H4).
    pub(crate) has_too_many_dropped: bool,
    /// Why nothing can be written any more, if so.
    pub(crate) write_error: Option<String>,
}

/// What a link did not achieve in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    Connect { waited_ms: u128 },
    Handshake { waited_ms: u128 },
    FirstPacket { waited_ms: u128 },
}

/// All links, and everything that is counted about them.
pub(crate) struct Links {
    table: LinkTable,
    /// Links that may have jobs to start.
    ready: VecDeque<LinkId>,
    /// How many links are awaited.
    awaited: usize,
    /// How many inbound TLS handshakes are under way.
    handshakes: usize,
    /// When dials and TLS handshakes must be done.
    opening: Deadlines,
    /// When inbound links must have brought a whole packet.
    first_packets: Deadlines,
}

impl Links {
    pub(crate) fn new(handshake_timeout: Duration, first_packet_timeout: Duration) -> Self {
        Self {
            table: LinkTable::default(),
            ready: VecDeque::new(),
            awaited: 0,
            handshakes: 0,
            opening: Deadlines::new(handshake_timeout),
            first_packets: Deadlines::new(first_packet_timeout),
        }
    }

    // ---- questions

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// The node that the link is bound to, if it is bound.
    pub(crate) fn node(&self, id: LinkId) -> Option<IdBytes> {
        self.table.get(id)?.node
    }

    pub(crate) fn last_read_ms(&self, id: LinkId) -> Option<u64> {
        self.table.get(id)?.last_read.age_ms()
    }

    /// The TCP sockets of all links that have one.
    pub(crate) fn tcp_sockets(&self) -> impl Iterator<Item = &TcpSocket> {
        self.table.iter().filter_map(|link| link.tcp.as_deref())
    }

    /// The messages and bytes that are not wholly sent.
    pub(crate) fn send_queue(&self, id: LinkId) -> (usize, usize) {
        self.table.get(id).map_or((0, 0), |link| (link.unsent_messages, link.unsent_bytes))
    }

    /// A dial that is not connected yet.
    pub(crate) fn pending_dial(&self, id: LinkId) -> Option<Dial<'_>> {
        let link = self.table.get(id)?;
        let (Io::Connecting { tls }, Some(tcp)) = (&link.io, &link.tcp) else { return None };
        let (socket, last_read) = (&link.socket, &link.last_read);
        Some(Dial { tls: *tls, peer: link.peer, stream: &tcp.0, socket, last_read })
    }

    // ---- how a link comes up

    /// Adds a link. Unless it is a dial, it is ready at once.
    pub(crate) fn insert(&mut self, new: NewLink) -> LinkId {
        let id = self.table.insert(|id| Link::new(id, new));
        if let Some(link) = self.table.get_mut(id) {
            self.handshakes += usize::from(link.life == Life::Arriving);
            if !matches!(link.io, Io::Connecting { .. }) {
                link.read_wanted = true;
                mark_ready(link, &mut self.ready);
            }
        }
        id
    }

    /// Sets the deadline of a dial or a TLS handshake, counted from `now`.
    pub(crate) fn must_open(&mut self, id: LinkId, now: Instant) {
        self.opening.set(id, now);
    }

    /// A dial is connected: it goes on with halves or with a handshake.
    pub(crate) fn connected(&mut self, id: LinkId, io: Io) {
        if let Some(link) = self.table.get_mut(id) {
            link.io = io;
            link.read_wanted = true;
            mark_ready(link, &mut self.ready);
        }
    }

    /// A link is open. Returns what the main loop must hear; none when the link has been lost or closed meanwhile.
    pub(crate) fn up(&mut self, id: LinkId, now: Instant) -> Option<Up> {
        let link = self.table.get_mut(id)?;
        if !link.life.takes_jobs() {
            return None;
        }
        if link.life == Life::Arriving {
            link.life = Life::Silent;
            self.handshakes -= 1;
        }
        if link.is_inbound() {
            self.first_packets.set(id, now);
        }
        Some(Up { origin: link.origin, peer: link.peer, local_ip: link.local_ip() })
    }

    /// Binds the link to the node at its other end.
    pub(crate) fn bind(&mut self, id: LinkId, node: IdBytes) {
        if let Some(link) = self.table.get_mut(id) {
            link.node = Some(node);
        }
    }

    // ---- edges and messages in, jobs out

    /// The kernel reports readiness. True for a dial, which the caller must then look at.
    pub(crate) fn edge(&mut self, id: LinkId, edge: Edge) -> bool {
        let Some(link) = self.table.get_mut(id) else { return false };
        // Noted for a dial too: the edge that says it is connected may be the only one that says it has ended.
        link.peer_ended |= edge.is_ended;
        if matches!(link.io, Io::Connecting { .. }) {
            return link.life.takes_jobs();
        }
        link.note_edge(edge.is_readable || edge.is_ended, edge.is_writable);
        mark_ready(link, &mut self.ready);
        false
    }

    /// Queues a message. Returns the bytes that are now unsent; none when the link takes no message.
    pub(crate) fn queue(&mut self, id: LinkId, message: OutMessage) -> Option<usize> {
        let link = self.table.get_mut(id)?;
        if !link.life.takes_messages() {
            return None;
        }
        // An empty message needs no sending, and a socket that takes 0 bytes of it would look broken.
        if message.len_bytes() > 0 {
            link.push(message);
            mark_ready(link, &mut self.ready);
        }
        Some(link.unsent_bytes)
    }

    /// The jobs of the next ready link, which may be none at all; `None` when no link is ready.
    pub(crate) fn next_ready(&mut self) -> Option<Work> {
        loop {
            let id = self.ready.pop_front()?;
            let Some(link) = self.table.get_mut(id) else { continue };
            link.is_ready = false;
            if !link.life.takes_jobs() {
                continue;
            }
            let lane = link.lane();
            let jobs = [link.take_read_job(), link.take_write_job()];
            // Anything still wanted needs a half that is away.
            if link.wants_job() {
                await_job(link, &mut self.awaited);
            }
            return Some(Work { lane, jobs });
        }
    }

    // ---- jobs that come home

    /// A read job is done. None when what it brought must not be reported.
    pub(crate) fn read_came_home(
        &mut self,
        id: LinkId,
        half: RecvHalf,
        report: &ReadReport,
    ) -> Option<AfterRead> {
        let link = came_home(&mut self.table, &mut self.awaited, id)?;
        if let Io::Plain { recv, .. } = &mut link.io {
            *recv = Half::Home(half);
        }
        note_read(link, &mut self.ready, report)
    }

    /// A write job is done.
    pub(crate) fn write_came_home(&mut self, id: LinkId, half: SendHalf, report: &WriteReport) {
        let Some(link) = came_home(&mut self.table, &mut self.awaited, id) else { return };
        if let Io::Plain { send, .. } = &mut link.io {
            *send = Half::Home(half);
        }
        link.settle_write(report);
        if link.wants_job() {
            mark_ready(link, &mut self.ready);
        }
    }

    /// A TLS job is done, and the handshake may be done with it. `tls_wrote` and `tls_read` then take what it wrote and
    /// read.
    pub(crate) fn transport_came_home(
        &mut self,
        id: LinkId,
        transport: Box<TlsTransport>,
        is_handshaking: bool,
    ) -> Option<Origin> {
        let link = came_home(&mut self.table, &mut self.awaited, id)?;
        let half = Half::Home(transport);
        link.io = if is_handshaking { Io::Handshake(half) } else { Io::Tls(half) };
        Some(link.origin)
    }

    /// Takes note of what the TLS job that came home has written.
    pub(crate) fn tls_wrote(&mut self, id: LinkId, report: &WriteReport) {
        let Some(link) = self.table.get_mut(id) else { return };
        link.settle_write(report);
        if link.wants_job() {
            mark_ready(link, &mut self.ready);
        }
    }

    /// Takes note of what the TLS job that came home has read. None when that must not be reported.
    pub(crate) fn tls_read(&mut self, id: LinkId, report: &ReadReport) -> Option<AfterRead> {
        note_read(self.table.get_mut(id)?, &mut self.ready, report)
    }

    /// A job panicked, so its half is gone.
    pub(crate) fn half_is_gone(&mut self, id: LinkId, kind: JobKind) {
        if let Some(link) = came_home(&mut self.table, &mut self.awaited, id) {
            link.lose_half(kind);
        }
    }

    // ---- how a link ends

    /// The link cannot go on. Returns its owner's number if the main loop must hear of the loss, which it does only
    /// once.
    pub(crate) fn lost(&mut self, id: LinkId) -> Option<u64> {
        let link = self.table.get_mut(id)?;
        if !link.life.takes_messages() {
            return None;
        }
        link.life = Life::Lost;
        Some(link.origin.owner())
    }

    /// An inbound link ended in its handshake: it is freed as soon as no half is away. Returns its listener and peer;
    /// none for a link that the main loop knows, which is to be `lost` instead.
    pub(crate) fn discard(&mut self, id: LinkId) -> Option<(u64, SocketAddr)> {
        let link = self.table.get_mut(id)?;
        let (Life::Arriving, Origin::Accepted { listener }) = (link.life, link.origin) else {
            return None;
        };
        let peer = link.peer;
        link.life = Life::Discarded;
        link.drop_queue();
        self.handshakes -= 1;
        self.settle_closing(id);
        Some((listener, peer))
    }

    /// The main loop closes a link: its queue is dropped and no new job starts. True when it is drained already.
    pub(crate) fn close(&mut self, id: LinkId) -> bool {
        let Some(link) = self.table.get_mut(id) else { return false };
        if !matches!(link.life, Life::Silent | Life::Heard | Life::Lost) {
            return false;
        }
        link.life = Life::Closing;
        link.drop_queue();
        self.settle_closing(id)
    }

    /// Ends a closing link if all its halves are home. True when it is now drained, which the main loop must hear.
    pub(crate) fn settle_closing(&mut self, id: LinkId) -> bool {
        let Some(link) = self.table.get_mut(id) else { return false };
        match link.life {
            Life::Closing | Life::Discarded if link.io.has_job_away() => {
                await_job(link, &mut self.awaited);
                false
            }
            Life::Closing => {
                link.life = Life::Drained;
                true
            }
            Life::Discarded => {
                self.table.remove(id);
                false
            }
            _ => false,
        }
    }

    /// The main loop frees a drained link, which closes its socket. A link in any other state is left alone.
    pub(crate) fn free(&mut self, id: LinkId) {
        if self.table.get(id).is_some_and(|link| link.life == Life::Drained) {
            self.table.remove(id);
        }
    }

    /// Undoes an `insert`, because the kernel would not watch the socket.
    pub(crate) fn remove(&mut self, id: LinkId) {
        if let Some(link) = self.table.remove(id) {
            self.handshakes -= usize::from(link.life == Life::Arriving);
        }
    }

    /// Frees every link, whatever state it is in.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.ready.clear();
        self.awaited = 0;
        self.handshakes = 0;
    }

    /// Counts everything again and compares. `away` is the number of jobs that the caller knows to be away.
    #[cfg(all(test, not(loom)))]
    pub(super) fn check(&self, away: usize) {
        let count = |is_so: fn(&Link) -> bool| self.table.iter().filter(|link| is_so(link)).count();
        assert_eq!(self.awaited, count(|link| link.is_awaited));
        assert_eq!(self.handshakes, count(|link| link.life == Life::Arriving));
        assert_eq!(away, self.table.iter().map(|link| link.io.jobs_away()).sum::<usize>());
        assert_eq!(0, count(|link| link.is_awaited && !link.io.has_job_away()));
        assert_eq!(0, count(|link| link.life == Life::Drained && link.io.has_job_away()));
        assert_eq!(0, count(|link| link.life == Life::Discarded && !link.io.has_job_away()));
        for link in self.table.iter() {
            let places = self.ready.iter().filter(|id| **id == link.id).count();
            assert_eq!(places, usize::from(link.is_ready), "{:?}", link.id);
        }
    }

    // ---- deadlines

    /// When the next deadline is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let next = [self.opening.next_due(), self.first_packets.next_due()];
        next.into_iter().flatten().min()
    }

    /// The next link that did not connect, open or bring a packet in time.
    pub(crate) fn next_overdue(&mut self, now: Instant) -> Option<(LinkId, Overdue)> {
        while let Some(id) = self.opening.pop_due(now) {
            let Some(link) = self.table.get(id) else { continue };
            if link.io.is_open() || !link.life.takes_jobs() {
                continue;
            }
            let waited_ms = self.opening.wait_ms();
            let overdue = match link.io {
                Io::Connecting { .. } => Overdue::Connect { waited_ms },
                _ => Overdue::Handshake { waited_ms },
            };
            return Some((id, overdue));
        }
        while let Some(id) = self.first_packets.pop_due(now) {
            if self.table.get(id).is_some_and(|link| link.life == Life::Silent) {
                let waited_ms = self.first_packets.wait_ms();
                return Some((id, Overdue::FirstPacket { waited_ms }));
            }
        }
        None
    }
}

/// Puts the link on the ready list, unless it is there.
fn mark_ready(link: &mut Link, ready: &mut VecDeque<LinkId>) {
    if !link.is_ready {
        link.is_ready = true;
        ready.push_back(link.id);
    }
}

/// Something waits for a half that is away: its completion will wake the main thread even if it is not urgent.
fn await_job(link: &mut Link, awaited: &mut usize) {
    if !link.is_awaited && link.io.has_job_away() {
        link.is_awaited = true;
        *awaited += 1;
    }
}

/// The link of a job that is done; it is no longer awaited.
fn came_home<'a>(
    table: &'a mut LinkTable,
    awaited: &mut usize,
    id: LinkId,
) -> Option<&'a mut Link> {
    let link = table.get_mut(id)?;
    if std::mem::take(&mut link.is_awaited) {
        *awaited -= 1;
    }
    Some(link)
}

/// Takes note of what a read brought. None when the main loop does not know the link or has been told that it is lost.
fn note_read(
    link: &mut Link,
    ready: &mut VecDeque<LinkId>,
    report: &ReadReport,
) -> Option<AfterRead> {
    if !link.life.takes_messages() {
        return None;
    }
    if !report.packets.is_empty() {
        link.life = Life::Heard;
    }
    link.dropped_len = link.dropped_len.saturating_add(report.dropped_len);
    link.read_wanted |= report.stop == ReadStop::Budget;
    if link.wants_job() {
        mark_ready(link, ready);
    }
    let write_error = match &link.write {
        WriteSide::Failed(detail) => Some(detail.clone()),
        WriteSide::Open | WriteSide::Blocked => None,
    };
    Some(AfterRead {
        node: link.node,
        is_inbound: link.is_inbound(),
        has_too_many_dropped: link.dropped_len >= limits::DROPPED_CLOSES,
        write_error,
    })
}
