//! Readiness in, jobs out, completions in: the main thread's bookkeeping of who has which half.
//!
//! Rules kept here: an edge that comes while a half is away is remembered (none lost, none handled twice); at most
//! one job of a kind per link; a closing link's completions only count it down.

use clusterbus_wire::PacketError;
use mio::event::Event as Readiness;

use crate::engine::{Engine, WAKER_TOKEN};
use crate::event::{Event, QuietHeartbeat};
use crate::job::{Completion, Job, JobKind, Outcome};
use crate::limits;
use crate::link::{Half, Io, Life, Link, LinkId, Origin};
use crate::listener::Listeners;
use crate::plain::{RecvHalf, SendHalf};
use crate::pool::Lane;
use crate::reason::{EndReason, LossReason, RefusalReason};
use crate::stats::add_by_class;
use crate::tls::{TlsReport, TlsTransport};
use crate::transfer::{ReadReport, ReadStop, Received, WriteReport};

impl Engine {
    /// Puts the link on the list of those to look at, once.
    pub(crate) fn make_ready(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && !link.is_ready
        {
            link.is_ready = true;
            self.ready.push_back(id);
        }
    }

    pub(crate) fn note_readiness(&mut self, event: &Readiness) {
        let token = event.token();
        if token == WAKER_TOKEN {
            return;
        }
        if let Some(number) = Listeners::number(token) {
            self.listeners.note_readable(number);
            return;
        }
        let id = LinkId::from_u64(token.0 as u64);
        let ended = event.is_read_closed() || event.is_error();
        self.note_edge(id, event.is_readable() || ended, event.is_writable(), ended);
    }

    /// Readiness of an attached link, as the kernel would report it.
    pub fn edge(&mut self, link: LinkId, readable: bool, writable: bool) {
        self.note_edge(link, readable, writable, false);
    }

    fn note_edge(&mut self, id: LinkId, readable: bool, writable: bool, ended: bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        // Of a dial too: the edge that says it is up may be the only one that tells of the end.
        link.peer_ended |= ended;
        if matches!(link.io, Io::Connecting { .. }) {
            if link.life == Life::Up {
                self.finish_connect(id);
            }
            return;
        }
        link.read_wanted |= readable;
        if writable {
            link.write_edge_while_away = true;
            // One TLS job serves both directions, so what wakes its writing is a look at the link.
            link.read_wanted |= link.write_blocked && matches!(link.io, Io::Tls { .. });
            link.write_blocked = false;
        }
        self.make_ready(id);
    }

    /// Starts the jobs of the links that are ready now; what becomes ready meanwhile waits for the next step.
    pub(crate) fn dispatch_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(link) = self.links.get_mut(id) else { continue };
            link.is_ready = false;
            if link.life != Life::Up {
                continue;
            }
            let lane = if link.is_handshaking() { Lane::Handshake } else { Lane::Established };
            let jobs = [next_read(link), next_write(link)];
            // What is still wanted then, is wanted of a half that is away.
            let is_left_over = link.wants_job();
            for job in jobs.into_iter().flatten() {
                self.start(lane, job);
            }
            if is_left_over {
                self.await_job(id);
            }
        }
    }

    /// The link's job away is waited for: its completion is to be told even if it is no news.
    pub(crate) fn await_job(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && !link.is_awaited
            && link.has_job_away()
        {
            link.is_awaited = true;
            self.awaited += 1;
        }
    }

    /// Takes a job's end: the half comes home, its results are counted and told.
    pub(crate) fn apply(&mut self, completion: Completion) {
        let Completion { link: id, on_worker, outcome } = completion;
        if let Some(link) = self.links.get_mut(id)
            && std::mem::take(&mut link.is_awaited)
        {
            self.awaited -= 1;
        }
        match outcome {
            Outcome::Read(half, report) => self.apply_read(id, half, report, on_worker),
            Outcome::Write(half, report) => self.apply_write(id, half, &report, on_worker),
            Outcome::Tls(transport, report) => self.apply_tls(id, transport, report, on_worker),
            Outcome::Panicked(kind, detail) => self.apply_panic(id, kind, detail),
        }
        self.finish_if_drained(id);
    }

    fn apply_read(&mut self, id: LinkId, half: RecvHalf, report: ReadReport, on_worker: bool) {
        self.count_read(&report, on_worker);
        if let Some(Link { io: Io::Plain { recv, .. }, .. }) = self.links.get_mut(id) {
            *recv = Half::Home(half);
        }
        self.deliver(id, report);
    }

    fn apply_write(&mut self, id: LinkId, half: SendHalf, report: &WriteReport, on_worker: bool) {
        self.count_write(report, on_worker);
        if let Some(Link { io: Io::Plain { send, .. }, .. }) = self.links.get_mut(id) {
            *send = Half::Home(half);
        }
        self.settle_write(id, report);
    }

    fn apply_tls(
        &mut self,
        id: LinkId,
        transport: Box<TlsTransport>,
        report: TlsReport,
        on_worker: bool,
    ) {
        let Some(link) = self.links.get_mut(id) else { return };
        let origin = link.origin;
        if let Io::Tls { transport: half, is_handshaking } = &mut link.io {
            *half = Half::Home(transport);
            *is_handshaking = report.is_handshaking;
        }
        if report.was_handshaking {
            if report.is_handshaking && report.read.stop == ReadStop::WouldBlock {
                self.settle_write(id, &report.write);
                return;
            }
            self.count_handshake(origin, on_worker);
            // Sound packets prove the handshake, whatever came after them; nothing else outlives its failure.
            if let ReadStop::Ended { reason, detail } = &report.read.stop
                && (report.is_handshaking || report.read.packets.is_empty())
            {
                let (reason, detail) = (*reason, detail.clone());
                return self.end(id, reason, detail);
            }
            if self.links.get(id).is_some_and(|link| link.life == Life::Up) {
                self.handshakes -= usize::from(matches!(origin, Origin::Accepted { .. }));
                self.announce(id);
            }
        }
        if report.read.read_bytes > 0 || report.read.stop != ReadStop::WouldBlock {
            self.count_read(&report.read, on_worker);
        }
        if report.write.bytes_by_class != [0; 3] {
            self.count_write(&report.write, on_worker);
        }
        self.settle_write(id, &report.write);
        self.deliver(id, report.read);
    }

    fn apply_panic(&mut self, id: LinkId, kind: JobKind, detail: String) {
        self.counters.job_panics += 1;
        let Some(link) = self.links.get_mut(id) else { return };
        match (&mut link.io, kind) {
            (Io::Plain { recv, .. }, JobKind::Read) => *recv = Half::Gone,
            (Io::Plain { send, .. }, JobKind::Write) => *send = Half::Gone,
            (Io::Tls { transport, .. }, JobKind::Tls) => *transport = Half::Gone,
            _ => {}
        }
        self.end(id, EndReason::Panic, detail);
    }

    /// Hands over what a read brought: the good prefix first, then the reason it ended (R6), and with it the
    /// reason writing ended, if it did (R14).
    fn deliver(&mut self, id: LinkId, report: ReadReport) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.life != Life::Up {
            return;
        }
        let write_error = link.write_error.clone();
        link.first_packet_seen |= !report.packets.is_empty();
        link.dropped_len = link.dropped_len.saturating_add(report.dropped_len);
        let too_many_dropped = link.dropped_len >= limits::DROPPED_CLOSES;
        if report.stop == ReadStop::Budget {
            link.read_wanted = true;
        }
        if link.wants_job() {
            self.make_ready(id);
        }
        self.hand_over(id, report.packets, report.dropped);
        let read_end = match report.stop {
            ReadStop::WouldBlock | ReadStop::Budget if too_many_dropped => {
                let detail = format!("{} packets refused", limits::DROPPED_CLOSES);
                Some((LossReason::BadPackets, detail))
            }
            ReadStop::WouldBlock | ReadStop::Budget => None,
            ReadStop::Ended { reason, detail } => Some((LossReason::End(reason), detail)),
        };
        match (read_end, write_error) {
            (Some((reason, read)), Some(write)) => {
                self.lose(id, reason, format!("{read}; writing: {write}"));
            }
            (Some((reason, detail)), None) => self.lose(id, reason, detail),
            (None, Some(write)) => {
                self.lose(id, LossReason::End(EndReason::Error), format!("writing: {write}"));
            }
            (None, None) => {}
        }
    }

    /// Turns packets into events, in order. Those that say nothing new join the quiet ones of other links before them; nobody
    /// has seen anything in between.
    fn hand_over(&mut self, id: LinkId, received: Vec<Received>, dropped: Vec<PacketError>) {
        let Some(link) = self.links.get(id) else { return };
        let (node, is_inbound) = (link.node, matches!(link.origin, Origin::Accepted { .. }));
        let mut packets = Vec::new();
        for Received { packet, quiet } in received {
            // A PING is answered on the peer's own link and a PONG awaited on ours; the other way round is for the state to judge.
            let quiet = quiet.filter(|q| Some(q.sender) == node && q.is_pong != is_inbound);
            let Some(quiet) = quiet else {
                packets.push(packet);
                continue;
            };
            if !packets.is_empty() {
                let packets = std::mem::take(&mut packets);
                self.events.push(Event::Packets { link: id, packets, dropped: Vec::new() });
            }
            let heartbeat = QuietHeartbeat { link: id, is_pong: quiet.is_pong, packet };
            match self.events.last_mut() {
                Some(Event::Quiet { version, heartbeats }) if *version == quiet.version => {
                    heartbeats.push(heartbeat);
                }
                _ => {
                    let (version, heartbeats) = (quiet.version, vec![heartbeat]);
                    self.events.push(Event::Quiet { version, heartbeats });
                }
            }
        }
        if !packets.is_empty() || !dropped.is_empty() {
            self.events.push(Event::Packets { link: id, packets, dropped });
        }
    }

    /// Balances the account after a write, and goes on, waits for room, or has one last read end the link.
    fn settle_write(&mut self, id: LinkId, report: &WriteReport) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.unsent_bytes -= report.released_bytes;
        link.unsent_messages -= report.released_messages;
        // A writable edge since the job left may be newer than the "full" it met: then try again.
        link.write_blocked = report.blocked && !link.write_edge_while_away;
        if report.blocked && link.write_edge_while_away {
            link.read_wanted |= matches!(link.io, Io::Tls { .. });
        }
        if let Some(detail) = &report.error {
            link.write_error = Some(detail.clone());
            link.read_wanted = true;
        }
        if link.wants_job() {
            self.make_ready(id);
        }
    }

    /// The connection ended. If it is an inbound one that the main loop has not heard of, the engine alone ends it.
    pub(crate) fn end(&mut self, id: LinkId, reason: EndReason, detail: String) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Origin::Accepted { listener } = link.origin else {
            return self.lose(id, LossReason::End(reason), detail);
        };
        if link.announced {
            return self.lose(id, LossReason::End(reason), detail);
        }
        if link.life != Life::Up {
            return;
        }
        link.life = Life::Lost;
        let peer = link.peer;
        self.handshakes -= 1;
        self.refuse(listener, peer, RefusalReason::End(reason), detail);
        self.close(id);
    }

    /// The link cannot go on. The main loop hears of it once, and of nothing after it but `Drained`.
    pub(crate) fn lose(&mut self, id: LinkId, reason: LossReason, detail: String) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.life != Life::Up {
            return;
        }
        link.life = Life::Lost;
        let owner = link.owner();
        *self.counters.lost.entry(reason).or_default() += 1;
        self.events.push(Event::Lost { link: id, owner, reason, detail });
    }

    /// Reports a closing link whose last half came home, or frees it if nobody knows of it.
    pub(crate) fn finish_if_drained(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.life != Life::Closing {
            return;
        }
        if link.has_job_away() {
            return self.await_job(id);
        }
        if link.announced {
            link.life = Life::Drained;
            self.events.push(Event::Drained { link: id });
        } else {
            self.links.remove(id);
        }
    }

    /// Ends what did not become useful in time (H31).
    pub(crate) fn expire(&mut self) {
        while let Some(id) = self.deadlines.due_open(self.now) {
            let Some(link) = self.links.get(id) else { continue };
            if link.is_open() || link.life != Life::Up {
                continue;
            }
            let waited = self.config.handshake_timeout.as_millis();
            let detail = format!("not up within {waited} ms");
            if link.is_handshaking() {
                self.end(id, EndReason::HandshakeTimeout, detail);
            } else {
                self.lose(id, LossReason::Connect, detail);
            }
        }
        while let Some(id) = self.deadlines.due_packet(self.now) {
            let Some(link) = self.links.get(id) else { continue };
            if !link.first_packet_seen && link.life == Life::Up {
                let waited = self.config.first_packet_timeout.as_millis();
                let detail = format!("no whole packet within {waited} ms");
                self.lose(id, LossReason::FirstPacketTimeout, detail);
            }
        }
    }

    fn count_read(&mut self, report: &ReadReport, on_worker: bool) {
        let counters = &mut self.counters;
        *(if on_worker { &mut counters.threaded_reads } else { &mut counters.main_reads }) += 1;
        counters.packets_received += report.packets.len() as u64;
        counters.packets_dropped += u64::from(report.dropped_len);
        add_by_class(&mut counters.bytes_received, &report.bytes_by_class);
        if report.dropped_len > 0 {
            for (name, count) in PacketError::NAMES.iter().zip(report.dropped_by_kind) {
                if count > 0 {
                    *counters.dropped.entry(name).or_default() += u64::from(count);
                }
            }
        }
    }

    fn count_write(&mut self, report: &WriteReport, on_worker: bool) {
        let counters = &mut self.counters;
        *(if on_worker { &mut counters.threaded_writes } else { &mut counters.main_writes }) += 1;
        add_by_class(&mut counters.bytes_sent, &report.bytes_by_class);
        add_by_class(&mut counters.messages_sent, &report.messages_by_class);
    }

    fn count_handshake(&mut self, origin: Origin, on_worker: bool) {
        let counters = &mut self.counters;
        *(match (origin, on_worker) {
            (Origin::Accepted { .. }, true) => &mut counters.threaded_accepts,
            (Origin::Accepted { .. }, false) => &mut counters.main_accepts,
            (Origin::Dialled { .. }, true) => &mut counters.threaded_connects,
            (Origin::Dialled { .. }, false) => &mut counters.main_connects,
        }) += 1;
    }
}

/// The read job that is due, or the TLS job, which serves both directions.
fn next_read(link: &mut Link) -> Option<Job> {
    let wanted = link.wants_job();
    match &mut link.io {
        Io::Connecting { .. } => None,
        Io::Plain { recv, .. } => {
            if !link.read_wanted {
                return None;
            }
            let mut half = recv.take()?;
            link.read_wanted = false;
            half.expect_eof = link.peer_ended;
            half.node = link.node;
            Some(Job::Read(link.id, half))
        }
        Io::Tls { transport, is_handshaking } => {
            if !wanted {
                return None;
            }
            let mut transport = transport.take()?;
            link.read_wanted = false;
            link.write_edge_while_away = false;
            transport.expect_eof = link.peer_ended;
            transport.node = link.node;
            if !*is_handshaking {
                transport.batch.fill(&mut link.queue);
            }
            Some(Job::Tls(link.id, transport))
        }
    }
}

fn next_write(link: &mut Link) -> Option<Job> {
    if !link.wants_write() {
        return None;
    }
    let Io::Plain { send, .. } = &mut link.io else { return None };
    let mut half = send.take()?;
    link.write_edge_while_away = false;
    half.batch.fill(&mut link.queue);
    Some(Job::Write(link.id, half))
}
