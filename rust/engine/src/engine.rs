//! The engine as its owner, the main thread, sees it: every operation, and the order of a step.
//!
//! Composes: `Poll` waits for the kernel, `Gate` accepts and dials, `Links` keeps the links, `Crew` runs their jobs,
//! `Journal` reports what happened. Never holds cluster state. Everything here runs on the main thread.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event as Readiness;
use mio::{Events, Poll, Token, Waker};

use crate::completion::{apply, end, lose};
use crate::config::EngineConfig;
use crate::crew::Crew;
use crate::docks::Edge;
use crate::edges::Watch;
use crate::gate::{DialOrder, Gate, TlsSide, set_unacknowledged_timeout};
use crate::gossip::{IdBytes, NodeTimes, View};
use crate::journal::Journal;
use crate::journal::event::Event;
use crate::journal::stats::Counters;
use crate::limits;
use crate::link_id::LinkId;
use crate::links::{Links, NotQueued, Overdue};
use crate::listeners::Listeners;
use crate::reason::{EndReason, LossReason};
use crate::transport::anonymous::AnonymousBytes;
use crate::transport::socket::Socket;
use crate::transport::tls::TlsSetup;
use crate::transport::transfer::OutMessage;

const WAKER_TOKEN: Token = Token(usize::MAX);

/// I/O threads, queues and sockets. The crate's page explains a step.
pub struct Engine {
    watch: Watch,
    /// What the kernel reported; none only while it is being read.
    kernel_events: Option<Events>,
    crew: Crew,
    gate: Gate,
    links: Links,
    journal: Journal,
    link_sendbuf_limit_bytes: usize,
    /// The time as last read; a step reads it when it starts and when its wait ends.
    now: Instant,
    /// None while the main thread sleeps.
    awake_since: Option<Instant>,
}

impl Engine {
    /// Starts the workers that are missing.
    ///
    /// # Errors
    /// The system gives no file descriptor or no thread.
    pub fn new(config: EngineConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER_TOKEN)?;
        let now = Instant::now();
        let crew = Crew::new(&config, waker, now)?;
        let links =
            Links::new(crew.roster(), config.handshake_timeout, config.first_packet_timeout);
        let mut engine = Self {
            watch: Watch::new(poll, crew.hub().clone(), crew.desk_number()),
            kernel_events: Some(Events::with_capacity(limits::READINESS_EVENTS)),
            crew,
            gate: Gate {
                listeners: Listeners::default(),
                tls: config.tls,
                unacknowledged_timeout: config.unacknowledged_timeout,
                max_links: config.max_links,
                max_handshakes: config.max_handshakes,
                anonymous_bytes: AnonymousBytes::new(config.max_anonymous_bytes),
                clock_zero: now,
            },
            links,
            journal: Journal::default(),
            link_sendbuf_limit_bytes: config.link_sendbuf_limit_bytes,
            now,
            awake_since: Some(now),
        };
        engine.crew.set_always_active(config.io_threads_always_active);
        engine.resize(config.io_threads)?;
        Ok(engine)
    }

    // ---- the step

    /// Readable when `poll` with a timeout of zero has something to do. Deadlines do not make it readable, nor do
    /// writes that sent everything: both wait for the next step, so call `poll` regularly.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.watch.poll.as_raw_fd()
    }

    /// One step: starts what is queued, waits up to `timeout` for something to happen, and returns what happened.
    ///
    /// # Errors
    /// The kernel refuses to wait. No peer can cause this.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        self.begin();
        let timeout = self.sleep_time(timeout);
        // With a timeout of zero the main thread does not sleep, so workers need not wake it. Otherwise `arm` makes
        // them wake it, and it must not sleep if `arm` finds work.
        let timeout = if timeout == Some(Duration::ZERO) || self.arm() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.wait(timeout)?;
        self.wake_up();
        self.look_after();
        self.expire();
        self.crew.adapt(self.now);
        self.tell_quiet();
        self.links.news_told();
        Ok(self.journal.take_events())
    }

    /// Ends a step of the main loop: starts what was queued and arms the wake-up. True when `poll` already has
    /// something to do.
    pub fn flush(&mut self) -> bool {
        self.begin();
        !self.arm()
    }

    /// The main loop has applied what it was told: links that had news can be read from again.
    fn begin(&mut self) {
        self.wake_up();
        self.links.news_applied();
        self.look_after();
    }

    /// Tells of the heartbeats that were taken without the main loop.
    fn tell_quiet(&mut self) {
        let (answered, noted, pongs) = self.crew.take_quiet();
        let pongs = pongs.into_iter();
        let pongs = pongs.filter_map(|link| Some((link, self.links.take_pong(link)?))).collect();
        self.journal.quiet(answered, noted, pongs);
    }

    /// Accepts connections, starts jobs and applies completions. Each part is bounded, so that a flood cannot hold up
    /// the step.
    fn look_after(&mut self) {
        self.gate.accept_ready(&self.watch, &mut self.links, &mut self.journal, self.now);
        self.dispatch_ready();
        self.collect();
    }

    /// Starts the jobs of the links that are ready. What follows from those that run here is started next time, so the
    /// loop ends.
    fn dispatch_ready(&mut self) {
        while let Some((lane, job)) = self.links.next_ready() {
            let is_fallback = self.crew.start(lane, job);
            self.journal.counters.main_thread_fallbacks += u64::from(is_fallback);
        }
        self.crew.run_left();
        self.links.add_ready(self.crew.take_more());
    }

    fn collect(&mut self) {
        let (links, journal, now) = (&mut self.links, &mut self.journal, self.now);
        self.crew.collect(|completion| apply(links, journal, completion, now));
    }

    fn has_work(&self) -> bool {
        self.journal.has_events()
            || self.links.has_ready()
            || self.gate.listeners.any_ready()
            || self.crew.has_completions()
            || self.crew.has_left_jobs()
    }

    fn arm(&mut self) -> bool {
        let armed = self.crew.arm(false, || self.has_work());
        if armed && let Some(since) = self.awake_since.take() {
            self.journal.counters.main_thread_us += since.elapsed().as_micros() as u64;
        }
        armed
    }

    fn wake_up(&mut self) {
        self.crew.disarm();
        self.crew.lease().renew();
        self.now = Instant::now();
        self.awake_since.get_or_insert(self.now);
    }

    fn sleep_time(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let due = self.links.next_due().into_iter().chain(self.gate.listeners.paused_until()).min();
        let until_due = due.map(|due| due.saturating_duration_since(self.now));
        timeout.into_iter().chain(until_due).min()
    }

    /// Waits in the kernel and notes which links and listeners are ready.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(mut kernel_events) = self.kernel_events.take() else { return Ok(()) };
        let outcome = self.watch.poll.poll(&mut kernel_events, timeout);
        if outcome.is_ok() {
            for event in &kernel_events {
                self.note_readiness(event);
            }
        }
        self.kernel_events = Some(kernel_events);
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn note_readiness(&mut self, event: &Readiness) {
        let token = event.token();
        if token == WAKER_TOKEN {
            return;
        }
        if let Some(number) = Listeners::number(token) {
            return self.gate.listeners.note_readable(number);
        }
        let link = LinkId::from_u64(token.0 as u64);
        let edge = Edge {
            is_readable: event.is_readable(),
            is_writable: event.is_writable(),
            is_ended: event.is_read_closed() || event.is_error(),
        };
        let is_dial = self.links.edge(link, edge);
        if is_dial {
            self.gate.finish_dial(&self.watch, &mut self.links, &mut self.journal, link, self.now);
        }
    }

    /// Ends links that did not become useful in time (H31).
    fn expire(&mut self) {
        let (links, journal) = (&mut self.links, &mut self.journal);
        while let Some((link, overdue)) = links.next_overdue(self.now) {
            match overdue {
                Overdue::Connect { waited_ms } => {
                    let detail = format!("not up within {waited_ms} ms");
                    lose(links, journal, link, LossReason::Connect, detail);
                }
                Overdue::Handshake { waited_ms } => {
                    let detail = format!("not up within {waited_ms} ms");
                    end(links, journal, link, EndReason::HandshakeTimeout, detail);
                }
                Overdue::FirstPacket { waited_ms } => {
                    let detail = format!("no whole packet within {waited_ms} ms");
                    lose(links, journal, link, LossReason::FirstPacketTimeout, detail);
                }
            }
        }
    }

    /// Waits until no job waits in the inbox or is at work; edges that workers serve by themselves are no jobs. It keeps emptying the outbox meanwhile, so it cannot deadlock (R20).
    ///
    /// # Errors
    /// As [`Engine::poll`].
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            self.wake_up();
            self.collect();
            if self.crew.is_idle() {
                return Ok(());
            }
            if self.crew.arm_for_jobs() {
                self.wait(None)?;
            }
        }
    }

    // ---- how links come to be

    /// Opens a listening socket and returns its number. Port 0 asks the system for one.
    ///
    /// # Errors
    /// The system does not give us the address.
    pub fn listen(&mut self, address: SocketAddr, tls: bool, backlog: i32) -> io::Result<u64> {
        self.gate.listeners.open(self.watch.registry(), address, tls, backlog)
    }

    /// The port that a listener got.
    #[must_use]
    pub fn listener_port(&self, listener: u64) -> Option<u16> {
        self.gate.listeners.port(listener)
    }

    /// Closes a listening socket; links that came through it stay.
    pub fn stop_listening(&mut self, listener: u64) {
        self.gate.listeners.close(listener);
    }

    /// Starts a dial and returns its link at once; `Connected` or `Lost` reports how it went. `node` gets the round trips
    /// of the PINGs on the link: the threads that do the I/O take the times, so they are right while the main loop hangs.
    ///
    /// # Errors
    /// The system gives no socket, the limit on links is reached, or TLS is asked for without keys. What the peer does
    /// is never an error here.
    pub fn connect(
        &mut self,
        peer: SocketAddr,
        owner: u64,
        tls: bool,
        source_ip: Option<IpAddr>,
        node: Option<Arc<NodeTimes>>,
    ) -> io::Result<LinkId> {
        let order = DialOrder { peer, owner, tls, source_ip, node };
        self.gate.dial(&self.watch, &mut self.links, &mut self.journal, order)
    }

    /// A link over any transport, open at once or after its TLS handshake. The caller reports its readiness with
    /// [`Engine::edge`].
    ///
    /// # Errors
    /// TLS is asked for without keys.
    pub fn attach(
        &mut self,
        socket: Arc<dyn Socket>,
        owner: u64,
        tls: Option<TlsSide>,
    ) -> io::Result<LinkId> {
        self.gate.attach(&mut self.links, socket, owner, tls)
    }

    /// Reports the readiness of an attached link, as the kernel would.
    pub fn edge(&mut self, link: LinkId, readable: bool, writable: bool) {
        let edge = Edge { is_readable: readable, is_writable: writable, is_ended: false };
        self.links.edge(link, edge);
    }

    /// Binds a link to the node that it is of. Only heartbeats on a bound link can be quiet.
    pub fn bind(&mut self, link: LinkId, node: IdBytes) {
        self.links.bind(link, node);
    }

    // ---- sending

    /// Queues one message; false when the link takes no more messages.
    pub fn send(&mut self, link: LinkId, message: OutMessage) -> bool {
        self.queue(link, message, usize::MAX).is_ok()
    }

    fn queue(
        &mut self,
        link: LinkId,
        message: OutMessage,
        unsent_max_bytes: usize,
    ) -> Result<(), NotQueued> {
        let limit_bytes = self.link_sendbuf_limit_bytes;
        let unsent_bytes = self.links.queue(link, message, unsent_max_bytes)?;
        if limit_bytes > 0 && unsent_bytes > limit_bytes {
            self.journal.counters.sendbuf_limit_exceeded += 1;
            let detail = format!("{unsent_bytes} bytes unsent, the limit is {limit_bytes}");
            lose(&mut self.links, &mut self.journal, link, LossReason::SendbufLimit, detail);
        }
        Ok(())
    }

    /// Queues one message on many links, which share its bytes (R11); one job sends it on many of them. A link with more
    /// than `unsent_max_bytes` unsent does not get it. Returns how many such links there are; those that have ended are
    /// not among them.
    pub fn broadcast(
        &mut self,
        links: &[LinkId],
        message: &OutMessage,
        unsent_max_bytes: usize,
    ) -> usize {
        let queued = links.iter().map(|link| self.queue(*link, message.clone(), unsent_max_bytes));
        queued.filter(|queued| *queued == Err(NotQueued::TooSlow)).count()
    }

    /// Publishes a view: from now on packets are compared with it, and heartbeats encoded from it.
    pub fn publish(&mut self, view: Arc<View>) {
        self.crew.publish(view);
    }

    /// Queues a heartbeat (PING or PONG) on a bound link, to be encoded when it is sent. False when the link is not
    /// bound or takes no messages, and when there is no view or the view has no row for the node (the node is newer
    /// than the view): then the caller encodes the heartbeat itself.
    pub fn send_heartbeat(&mut self, link: LinkId, message_type: u16) -> bool {
        let Some(node) = self.links.node(link) else { return false };
        let message = match &*self.crew.view() {
            Some(view) if view.place(&node).is_some() => {
                OutMessage::heartbeat(view, message_type, node)
            }
            _ => return false,
        };
        self.send(link, message)
    }

    /// The messages and bytes that are not wholly sent.
    #[must_use]
    pub fn send_queue(&self, link: LinkId) -> (usize, usize) {
        self.links.send_queue(link)
    }

    // ---- how links end

    /// Ends a link: its queue is dropped, no new job starts, and `Drained` follows when the last job is home (R15).
    pub fn close(&mut self, link: LinkId) {
        if self.links.close(link) {
            self.journal.drained(link);
        }
    }

    /// Frees a drained link, which closes its socket. A link in any other state is left alone.
    pub fn free(&mut self, link: LinkId) {
        self.links.free(link);
    }

    /// Closes every socket, and stops the workers that no other engine wants. After this the engine can only be dropped.
    pub fn shutdown(&mut self) {
        self.gate.listeners = Listeners::default();
        self.crew.leave();
        // A job that is queued finds nothing to do from now on.
        self.links.clear();
        self.crew.dismiss();
        self.journal.take_events();
    }

    // ---- settings

    /// Brings the number of I/O threads, this one included, to `io_threads`, under any load (R22, R35).
    ///
    /// # Errors
    /// The system gives no thread; the engine goes on with the threads it has.
    pub fn resize(&mut self, io_threads: usize) -> io::Result<()> {
        let outcome = self.crew.resize(io_threads);
        self.watch.hand_over(&self.links, self.crew.has_workers());
        outcome
    }

    /// Heartbeats that say nothing new are answered by workers, and by this thread within a step, for this long after
    /// the main loop's last step; zero means never.
    pub fn set_lease(&mut self, lease: Duration) {
        self.crew.lease().set_len(lease);
    }

    /// Keeps all workers active, or lets their number follow the load.
    pub fn set_always_active(&mut self, always: bool) {
        self.crew.set_always_active(always);
    }

    /// Bytes that a link may have unsent; 0 means no limit. Applies from the next message on.
    pub fn set_link_sendbuf_limit(&mut self, limit_bytes: usize) {
        self.link_sendbuf_limit_bytes = limit_bytes;
    }

    /// How long the kernel waits for a peer's system to acknowledge or take bytes, on all links, those that are up and
    /// those made from now on (P7).
    pub fn set_unacknowledged_timeout(&mut self, timeout: Duration) {
        self.gate.unacknowledged_timeout = timeout;
        for socket in self.links.tcp_sockets() {
            // A socket that refuses has just died, and its link will hear of that.
            let _ = set_unacknowledged_timeout(&socket.0, timeout);
        }
    }

    /// Connections made from now on use `tls`.
    pub fn set_tls(&mut self, tls: Option<TlsSetup>) {
        self.gate.tls = tls;
    }

    // ---- figures

    /// Milliseconds since bytes were last read from the link; `None` before the first (R23).
    #[must_use]
    pub fn last_read_ms(&self, link: LinkId) -> Option<u64> {
        self.links.last_read_ms(link)
    }

    /// Counters and gauges by name.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let counters = &self.journal.counters;
        let entries = self.crew.with_counters(|of_jobs| counters.entries_with(of_jobs));
        let mut stats: BTreeMap<_, _> = entries.into_iter().collect();
        let is_paused = self.gate.listeners.paused_until().is_some();
        let gauges = [
            ("links", self.links.len()),
            ("handshakes", self.links.handshakes()),
            ("accept_paused", usize::from(is_paused)),
            ("anonymous_bytes", self.gate.anonymous_bytes.held_bytes()),
        ];
        let gauges = gauges.into_iter().chain(self.crew.gauges());
        stats.extend(gauges.map(|(name, value)| (name.to_owned(), value as u64)));
        for (index, used_us) in self.crew.used_us().into_iter().enumerate() {
            stats.insert(format!("used_active_time_us_io_thread_{}", index + 1), used_us);
        }
        stats
    }

    /// Sets the counters to zero.
    pub fn reset_stats(&mut self) {
        self.journal.counters = Counters::default();
        self.crew.reset_figures();
    }
}
