//! `Links` owns the table of links, the ready list, the count of handshakes, and the deadlines.
//!
//! Nothing else changes a link or a count. Each method is told what happened and brings all of these up to date. It
//! makes no events: what the main loop must hear is returned to the caller. Main thread only.
//!
//! Invariants: `handshakes` counts the links in `Life::Arriving`; a task in `ready` is marked as queued in its dock; the
//! roster has a dock exactly as long as the table has its link. A link is freed only when no half is away.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlines::Deadlines;
use super::link::{Life, Link, NewLink, Origin};
use super::table::LinkTable;
use crate::docks::{Dock, Edge, Io, Roster, SIDES, Side};
use crate::gossip::IdBytes;
use crate::job::{Job, Task};
use crate::limits;
use crate::link_id::LinkId;
use crate::pool::Lane;
use crate::sync::Arc as SharedArc;
use crate::transport::socket::{Socket, TcpSocket};
use crate::transport::times::LinkTimes;
use crate::transport::transfer::{OutMessage, ReadReport};

/// A dial that is not connected yet, and what is needed to go on once it is.
pub(crate) struct Dial<'a> {
    /// Whether a TLS handshake comes next.
    pub(crate) tls: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) stream: &'a TcpStream,
    pub(crate) socket: &'a Arc<dyn Socket>,
    pub(crate) times: &'a Arc<LinkTimes>,
}

/// What the main loop must hear about a link that has just come up.
pub(crate) struct Up {
    pub(crate) origin: Origin,
    pub(crate) peer: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
}

/// What is needed of a link to report what a read brought.
pub(crate) struct AfterRead {
    pub(crate) is_inbound: bool,
    /// So many packets were refused that the link must be given up (H4).
    pub(crate) has_too_many_dropped: bool,
}

/// Why a link takes no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// It has ended, or is about to.
    Gone,
    /// Too much is unsent on it.
    TooSlow,
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
    roster: Arc<Roster>,
    /// Tasks to start.
    ready: VecDeque<(Lane, Task)>,
    /// How many inbound TLS handshakes are under way.
    handshakes: usize,
    /// Links of which the main loop is about to hear news.
    news: Vec<SharedArc<Dock>>,
    /// Links of which the main loop has news. Nothing more is read from them until it has applied that.
    told: Vec<SharedArc<Dock>>,
    /// When dials and TLS handshakes must be done.
    opening: Deadlines,
    /// When inbound links must have brought a whole packet.
    first_packets: Deadlines,
}

impl Links {
    pub(crate) fn new(
        roster: Arc<Roster>,
        handshake_timeout: Duration,
        first_packet_timeout: Duration,
    ) -> Self {
        Self {
            table: LinkTable::default(),
            roster,
            ready: VecDeque::new(),
            handshakes: 0,
            news: Vec::new(),
            told: Vec::new(),
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

    /// The node that the link is bound to, if it is bound.
    pub(crate) fn node(&self, id: LinkId) -> Option<IdBytes> {
        self.table.get(id)?.dock.node()
    }

    pub(crate) fn last_read_ms(&self, id: LinkId) -> Option<u64> {
        self.table.get(id)?.times.age_ms()
    }

    /// The TCP sockets of all links that have one.
    pub(crate) fn tcp_sockets(&self) -> impl Iterator<Item = &TcpSocket> {
        self.table.iter().filter_map(|link| link.tcp.as_deref())
    }

    /// The TCP sockets of the links that are no dials under way, for whoever waits for their edges.
    pub(crate) fn connected_sockets(&self) -> impl Iterator<Item = (LinkId, &TcpSocket)> {
        let connected = self.table.iter().filter(|link| link.dock.connecting().is_none());
        connected.filter_map(|link| Some((link.id, link.tcp.as_deref()?)))
    }

    /// The messages and bytes that are not wholly sent.
    pub(crate) fn send_queue(&self, id: LinkId) -> (usize, usize) {
        self.table.get(id).map_or((0, 0), |link| link.dock.send_queue())
    }

    /// A dial that is not connected yet.
    pub(crate) fn pending_dial(&self, id: LinkId) -> Option<Dial<'_>> {
        let link = self.table.get(id)?;
        let (Some(tls), Some(tcp)) = (link.dock.connecting(), &link.tcp) else { return None };
        let (socket, times) = (&link.socket, &link.times);
        Some(Dial { tls, peer: link.peer, stream: &tcp.0, socket, times })
    }

    /// When the link last noted a quiet PONG, unix milliseconds, if it has since the last call.
    pub(crate) fn take_pong(&self, id: LinkId) -> Option<u64> {
        self.table.get(id)?.dock.take_pong()
    }

    // ---- how a link comes up

    /// Adds a link. Unless it is a dial, it is ready at once.
    pub(crate) fn insert(&mut self, new: NewLink) -> LinkId {
        let id = self.table.insert(|id| Link::new(id, new));
        if let Some(link) = self.table.get(id) {
            self.handshakes += usize::from(link.life == Life::Arriving);
            self.roster.add(link.dock.clone());
            make_ready(&mut self.ready, &link.dock);
        }
        id
    }

    /// Sets the deadline of a dial or a TLS handshake, counted from `now`.
    pub(crate) fn must_open(&mut self, id: LinkId, now: Instant) {
        self.opening.set(id, now);
    }

    /// A dial is connected: it goes on with halves or with a handshake.
    pub(crate) fn connected(&mut self, id: LinkId, io: Io) {
        if let Some(link) = self.table.get(id) {
            link.dock.connect(io);
            make_ready(&mut self.ready, &link.dock);
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
        if let Some(link) = self.table.get(id) {
            link.dock.bind(node);
        }
    }

    // ---- edges and messages in, jobs out

    /// The kernel reports readiness. True for a dial, which the caller must then look at.
    pub(crate) fn edge(&mut self, id: LinkId, edge: Edge) -> bool {
        let Some(link) = self.table.get(id) else { return false };
        if !link.dock.note_edge(edge) {
            return link.life.takes_jobs();
        }
        make_ready(&mut self.ready, &link.dock);
        false
    }

    /// Queues a message unless more than `unsent_max_bytes` are unsent. Returns the bytes that are now unsent.
    pub(crate) fn queue(
        &mut self,
        id: LinkId,
        message: OutMessage,
        unsent_max_bytes: usize,
    ) -> Result<usize, NotQueued> {
        let link = self.table.get(id).ok_or(NotQueued::Gone)?;
        if !link.life.takes_messages() {
            return Err(NotQueued::Gone);
        }
        let (unsent_bytes, job) =
            link.dock.push(message, unsent_max_bytes).ok_or(NotQueued::TooSlow)?;
        if let Some((side, lane)) = job {
            self.ready.push_back((lane, Task { dock: link.dock.clone(), side }));
        }
        Ok(unsent_bytes)
    }

    /// Adds jobs that follow from others.
    pub(crate) fn add_ready(&mut self, jobs: impl Iterator<Item = (Lane, Job)>) {
        for (lane, job) in jobs {
            self.ready.extend(job.tasks().map(|task| (lane, task)));
        }
    }

    /// The next job to start, and its lane: one task or, if the sending sides of several links come next, all of these
    /// together, within a limit.
    pub(crate) fn next_ready(&mut self) -> Option<(Lane, Job)> {
        let (lane, task) = self.ready.pop_front()?;
        if task.side != Side::Send {
            return Some((lane, Job::One(task)));
        }
        let others = self.ready.iter().take(limits::SENDS_TOGETHER - 1);
        let others = others.take_while(|(_, task)| task.side == Side::Send).count();
        if others == 0 {
            return Some((lane, Job::One(task)));
        }
        let others = self.ready.drain(..others).map(|(_, task)| task);
        Some((lane, Job::Sends(std::iter::once(task).chain(others).collect())))
    }

    // ---- what jobs bring

    /// The main loop hears of what was read. None when it does not know the link or has been told that it is lost.
    pub(crate) fn read(&mut self, id: LinkId, report: &ReadReport) -> Option<AfterRead> {
        let link = self.table.get_mut(id)?;
        if !link.life.takes_messages() {
            return None;
        }
        if !report.packets.is_empty() {
            link.life = Life::Heard;
        }
        link.dropped_len = link.dropped_len.saturating_add(report.dropped_len);
        self.news.push(link.dock.clone());
        Some(AfterRead {
            is_inbound: link.is_inbound(),
            has_too_many_dropped: link.dropped_len >= limits::DROPPED_CLOSES,
        })
    }

    /// The main loop is told all news.
    pub(crate) fn news_told(&mut self) {
        self.told.append(&mut self.news);
    }

    /// The main loop has applied what it was told, so more can be read from these links.
    pub(crate) fn news_applied(&mut self) {
        for dock in self.told.drain(..) {
            dock.news_applied();
            make_ready(&mut self.ready, &dock);
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
        link.dock.end();
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
        self.handshakes -= 1;
        if link.dock.close() {
            self.drained(id);
        }
        Some((listener, peer))
    }

    /// The main loop closes a link: its queue is dropped and no new job starts. True when it is drained already.
    pub(crate) fn close(&mut self, id: LinkId) -> bool {
        let Some(link) = self.table.get_mut(id) else { return false };
        if !matches!(link.life, Life::Silent | Life::Heard | Life::Lost) {
            return false;
        }
        link.life = Life::Closing;
        link.dock.close() && self.drained(id)
    }

    /// All halves of a closing link are home. True when the main loop must hear of it.
    pub(crate) fn drained(&mut self, id: LinkId) -> bool {
        let Some(link) = self.table.get_mut(id) else { return false };
        match link.life {
            Life::Closing => {
                link.life = Life::Drained;
                true
            }
            Life::Discarded => {
                self.take_out(id);
                false
            }
            _ => false,
        }
    }

    /// The main loop frees a drained link, which closes its socket. A link in any other state is left alone.
    pub(crate) fn free(&mut self, id: LinkId) {
        if self.table.get(id).is_some_and(|link| link.life == Life::Drained) {
            self.take_out(id);
        }
    }

    /// Undoes an `insert`, because the kernel would not watch the socket.
    pub(crate) fn remove(&mut self, id: LinkId) {
        if let Some(link) = self.take_out(id) {
            self.handshakes -= usize::from(link.life == Life::Arriving);
        }
    }

    fn take_out(&mut self, id: LinkId) -> Option<Box<Link>> {
        let link = self.table.remove(id)?;
        self.roster.remove(id);
        // A job that waits in the inbox may still know the dock, but the socket closes now.
        link.dock.clear();
        Some(link)
    }

    /// Frees every link, whatever state it is in.
    pub(crate) fn clear(&mut self) {
        for id in self.table.iter().map(|link| link.id).collect::<Vec<_>>() {
            self.take_out(id);
        }
        self.ready.clear();
        self.news.clear();
        self.told.clear();
        self.handshakes = 0;
    }

    /// Counts everything again and compares. `away` is the number of halves that the caller has taken.
    #[cfg(all(test, not(loom)))]
    pub(super) fn check(&self, away: usize) {
        let halves = self.table.iter().map(|link| link.dock.jobs_away()).sum::<usize>();
        assert_eq!(halves, away, "halves that are away");
        let arriving = self.table.iter().filter(|link| link.life == Life::Arriving).count();
        assert_eq!(arriving, self.handshakes, "handshakes");
        for link in self.table.iter() {
            assert!(self.roster.get(link.id.tag()).is_some(), "{:?} is in the roster", link.id);
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
            if link.dock.is_open() || !link.life.takes_jobs() {
                continue;
            }
            let waited_ms = self.opening.wait_ms();
            let overdue = match link.dock.connecting() {
                Some(_) => Overdue::Connect { waited_ms },
                None => Overdue::Handshake { waited_ms },
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

/// Queues a task for each side of the link that has something to do.
fn make_ready(ready: &mut VecDeque<(Lane, Task)>, dock: &SharedArc<Dock>) {
    for side in SIDES {
        if let Some(lane) = dock.queue_job(side) {
            ready.push_back((lane, Task { dock: dock.clone(), side }));
        }
    }
}
