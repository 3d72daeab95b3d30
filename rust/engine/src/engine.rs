//! The engine as its owner, the main thread, holds it: what may be asked of it, and the order of a step.
//!
//! Never holds cluster state. Everything here runs on the main thread; workers see only `pool::Shared`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::deadline::Deadlines;
use crate::event::Event;
use crate::gossip::{IdBytes, View};
use crate::job::{Completion, Job, JobRunner, JobScratch};
use crate::limits;
use crate::link::{Life, LinkId, LinkTable};
use crate::listener::Listeners;
use crate::pool::{Pool, Wake};
use crate::reason::LossReason;
use crate::socket::Socket;
use crate::stats::Counters;
use crate::tls::TlsSetup;
use crate::transfer::OutMessage;

pub(crate) const WAKER_TOKEN: Token = Token(usize::MAX);

/// What an engine is made with. The limits default to those of [`limits`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Threads that do I/O, the main thread included; 1 means no workers.
    pub io_threads: usize,
    /// Keeps every worker active whatever the load.
    pub io_threads_always_active: bool,
    /// How long a dial or a TLS handshake may take (H31).
    pub handshake_timeout: Duration,
    /// How long an inbound link may stay without a whole packet (H31).
    pub first_packet_timeout: Duration,
    /// Links at once (H30).
    pub max_links: usize,
    /// Inbound TLS handshakes at once (H38).
    pub max_handshakes: usize,
    /// Unsent bytes after which a link is given up; 0 for no limit (R18).
    pub link_sendbuf_limit_bytes: usize,
    /// Room of each inbox lane.
    pub inbox_jobs: usize,
    /// Room of the outbox.
    pub outbox_completions: usize,
    /// Keys for TLS links; none means that no TLS link can be made.
    pub tls: Option<TlsSetup>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            io_threads: limits::IO_THREADS,
            io_threads_always_active: false,
            handshake_timeout: Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS),
            first_packet_timeout: Duration::from_millis(limits::FIRST_PACKET_TIMEOUT_MS),
            max_links: limits::LINKS_MAX,
            max_handshakes: limits::HANDSHAKES_MAX,
            link_sendbuf_limit_bytes: 0,
            inbox_jobs: limits::INBOX_JOBS,
            outbox_completions: limits::OUTBOX_COMPLETIONS,
            tls: None,
        }
    }
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        // The eventfd's counter cannot overflow: the main thread's mark lets one write through per sleep.
        self.0.wake().expect("an eventfd takes a write");
    }
}

/// I/O threads, queues and sockets. See the crate's page for how a step goes.
pub struct Engine {
    pub(crate) poll: Poll,
    kernel_events: Option<Events>,
    pool: Pool<Job, Completion, JobRunner, PollWaker>,
    pub(crate) links: LinkTable,
    pub(crate) listeners: Listeners,
    pub(crate) config: EngineConfig,
    pub(crate) counters: Counters,
    pub(crate) deadlines: Deadlines,
    /// Links to look at; each is in it once (`Link::is_ready`).
    pub(crate) ready: VecDeque<LinkId>,
    /// Events for the next `poll` to return.
    pub(crate) events: Vec<Event>,
    /// Completions of jobs that ran here.
    pub(crate) done_here: VecDeque<Completion>,
    /// Jobs that are with the workers.
    in_flight: usize,
    /// Links with `is_awaited`.
    pub(crate) awaited: usize,
    /// Inbound TLS handshakes under way.
    pub(crate) handshakes: usize,
    runner: JobRunner,
    scratch: JobScratch,
    pub(crate) epoch: Instant,
    /// Read once a step.
    pub(crate) now: Instant,
    /// None while the main thread sleeps.
    awake_since: Option<Instant>,
    /// When last every active worker was busy at a dispatch.
    saturated_at: Instant,
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// The system refuses a file descriptor or a thread.
    pub fn new(config: EngineConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = PollWaker(Waker::new(poll.registry(), WAKER_TOKEN)?);
        let (inbox, outbox) = (config.inbox_jobs.max(1), config.outbox_completions.max(1));
        let now = Instant::now();
        let runner = JobRunner::default();
        let mut engine = Self {
            poll,
            kernel_events: Some(Events::with_capacity(limits::READINESS_EVENTS)),
            pool: Pool::new(inbox, outbox, limits::HANDSHAKE_TURN, runner.clone(), waker),
            links: LinkTable::default(),
            listeners: Listeners::default(),
            counters: Counters::default(),
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            events: Vec::new(),
            done_here: VecDeque::new(),
            in_flight: 0,
            awaited: 0,
            handshakes: 0,
            runner,
            scratch: JobScratch::default(),
            epoch: now,
            now,
            awake_since: Some(now),
            saturated_at: now,
            config,
        };
        engine.pool.set_always_active(engine.config.io_threads_always_active);
        engine.resize(engine.config.io_threads)?;
        Ok(engine)
    }

    /// Readable when `poll` with a timeout of zero has something to do. Time alone does not make it readable: deadlines, and
    /// writes that are done and leave nothing behind, wait for the next step, so take one every tick.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// One step: dispatches what is queued, waits at most `timeout` for something to happen, and returns what did.
    ///
    /// # Errors
    /// The kernel refuses to wait; nothing a peer does leads to it.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        self.wake_up();
        self.look_after();
        let timeout = self.sleep_time(timeout);
        // With a zero timeout nobody sleeps and no worker need know; `arm` says whether we may sleep at all.
        let timeout = if timeout == Some(Duration::ZERO) || self.arm() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.wait(timeout)?;
        self.wake_up();
        self.look_after();
        self.expire();
        self.adapt();
        Ok(std::mem::take(&mut self.events))
    }

    /// Ends a main-loop step: dispatches what was queued and arms the wake-up. True when `poll` already has something to do.
    pub fn flush(&mut self) -> bool {
        self.wake_up();
        self.look_after();
        !self.arm()
    }

    /// Runs what is ready and takes what is done; both bounded by what is there at the start, so that a flood cannot hold the step.
    fn look_after(&mut self) {
        self.accept_ready();
        self.dispatch_ready();
        self.collect();
    }

    fn has_work(&self) -> bool {
        !self.events.is_empty()
            || !self.ready.is_empty()
            || !self.done_here.is_empty()
            || self.listeners.any_ready()
            || !self.pool.shared().outbox.is_empty()
    }

    fn arm(&mut self) -> bool {
        let armed = self.pool.shared().main.arm(self.awaited > 0, || self.has_work());
        if armed && let Some(since) = self.awake_since.take() {
            self.counters.main_thread_us += since.elapsed().as_micros() as u64;
        }
        armed
    }

    fn wake_up(&mut self) {
        self.pool.shared().main.disarm();
        self.now = Instant::now();
        self.awake_since.get_or_insert(self.now);
    }

    fn sleep_time(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let due = self.deadlines.next().into_iter().chain(self.listeners.paused_until()).min();
        let until_due = due.map(|due| due.saturating_duration_since(self.now));
        timeout.into_iter().chain(until_due).min()
    }

    /// Waits for the kernel and notes which links and listeners it names.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(mut kernel_events) = self.kernel_events.take() else { return Ok(()) };
        let outcome = self.poll.poll(&mut kernel_events, timeout);
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

    /// Gives a job to the pool, or runs it at once where there is no room for it (R3).
    pub(crate) fn start(&mut self, lane: crate::pool::Lane, job: Job) {
        let job = if self.config.io_threads > 1 {
            match self.pool.dispatch(lane, job) {
                Ok(all_busy) => {
                    self.in_flight += 1;
                    if all_busy {
                        self.saturated_at = self.now;
                    }
                    return;
                }
                Err(refused) => {
                    self.counters.main_thread_fallbacks += 1;
                    refused.0
                }
            }
        } else {
            job
        };
        let completion = self.runner.complete(job, &mut self.scratch, false);
        self.done_here.push_back(completion);
    }

    /// Takes the completions that are there now and applies them.
    fn collect(&mut self) {
        let mut from_workers = 0;
        while let Some(completion) = self.pool.completed() {
            self.apply(completion);
            from_workers += 1;
            if from_workers >= self.config.outbox_completions {
                break;
            }
        }
        self.in_flight -= from_workers;
        if from_workers > 0 {
            self.pool.made_room();
        }
        for _ in 0..self.done_here.len() {
            let Some(completion) = self.done_here.pop_front() else { break };
            self.apply(completion);
        }
    }

    /// One worker fewer after a second in which the active ones had room.
    fn adapt(&mut self) {
        let idle = Duration::from_millis(limits::WORKER_IDLE_MS);
        if self.pool.active() > 0 && self.now.duration_since(self.saturated_at) >= idle {
            self.pool.relax();
            self.saturated_at = self.now;
        }
    }

    /// Brings the number of I/O threads, this one included, to `io_threads`, under any load (R22, R35).
    ///
    /// # Errors
    /// The system refuses a thread; the engine goes on with those it has.
    pub fn resize(&mut self, io_threads: usize) -> io::Result<()> {
        let io_threads = io_threads.clamp(1, limits::IO_THREADS_MAX);
        self.config.io_threads = io_threads;
        let (held, left, outcome) = self.pool.resize(io_threads - 1);
        self.in_flight -= held.len() + left.len();
        self.done_here.extend(held);
        for job in left {
            let completion = self.runner.complete(job, &mut self.scratch, false);
            self.done_here.push_back(completion);
        }
        outcome
    }

    /// Keeps all workers active, or lets their number follow the load.
    pub fn set_always_active(&mut self, always: bool) {
        self.config.io_threads_always_active = always;
        self.pool.set_always_active(always);
    }

    /// Bytes a link may have unsent; 0 for no limit. Holds from the next message on.
    pub fn set_link_sendbuf_limit(&mut self, limit_bytes: usize) {
        self.config.link_sendbuf_limit_bytes = limit_bytes;
    }

    /// Connections made from now on use `tls`.
    pub fn set_tls(&mut self, tls: Option<TlsSetup>) {
        self.config.tls = tls;
    }

    /// Waits until no job is away; goes on emptying the outbox meanwhile, so it cannot deadlock (R20).
    ///
    /// # Errors
    /// As [`Engine::poll`].
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            self.wake_up();
            self.collect();
            if self.in_flight == 0 && self.done_here.is_empty() {
                return Ok(());
            }
            if self.pool.shared().main.arm(true, || !self.pool.shared().outbox.is_empty()) {
                self.wait(None)?;
            }
        }
    }

    /// Queues one message; false when the link takes none any more.
    pub fn send(&mut self, link: LinkId, message: OutMessage) -> bool {
        let limit_bytes = self.config.link_sendbuf_limit_bytes;
        let Some(slot) = self.links.get_mut(link) else { return false };
        if slot.life != Life::Up {
            return false;
        }
        if message.len_bytes() == 0 {
            return true;
        }
        slot.push(message);
        let unsent_bytes = slot.unsent_bytes;
        if limit_bytes > 0 && unsent_bytes > limit_bytes {
            self.counters.sendbuf_limit_exceeded += 1;
            let detail = format!("{unsent_bytes} bytes unsent, the limit is {limit_bytes}");
            self.lose(link, LossReason::SendbufLimit, detail);
            return true;
        }
        self.make_ready(link);
        true
    }

    /// Publishes the node table that packets are compared with, and heartbeats encoded from, from now on.
    pub fn publish(&mut self, view: Arc<View>) {
        self.runner.view.store(Some(view));
    }

    /// Names the node at the other end of a link, once that is proven; `None` takes the name back. Only a named link's heartbeats
    /// can be quiet.
    pub fn bind(&mut self, link: LinkId, node: Option<IdBytes>) {
        if let Some(slot) = self.links.get_mut(link) {
            slot.node = node;
        }
    }

    /// Queues a heartbeat (PING or PONG) on a named link, to be encoded when it is sent. False when the link takes none or
    /// has no name, and when no view has been published or the published one is older than the name and has no row
    /// for the node: then the caller encodes the heartbeat itself.
    pub fn send_heartbeat(&mut self, link: LinkId, message_type: u16) -> bool {
        let Some(node) = self.links.get(link).and_then(|slot| slot.node) else { return false };
        let message = match &*self.runner.view.load() {
            Some(view) if view.place(&node).is_some() => {
                OutMessage::heartbeat(view, message_type, node)
            }
            _ => return false,
        };
        self.send(link, message)
    }

    /// Queues one message on many links, stored once (R11); returns how many took it.
    pub fn broadcast(&mut self, links: &[LinkId], message: &OutMessage) -> usize {
        links.iter().filter(|link| self.send(**link, message.clone())).count()
    }

    /// Ends a link: its queue is dropped, no new job starts, and `Drained` follows when the last job is home (R15).
    pub fn close(&mut self, link: LinkId) {
        let Some(slot) = self.links.get_mut(link) else { return };
        if matches!(slot.life, Life::Closing | Life::Drained) {
            return;
        }
        slot.life = Life::Closing;
        slot.drop_queue();
        self.finish_if_drained(link);
    }

    /// Frees a drained link; its socket closes. Anything else is left alone.
    pub fn free(&mut self, link: LinkId) {
        if self.links.get(link).is_some_and(|slot| slot.life == Life::Drained) {
            self.links.remove(link);
        }
    }

    /// Milliseconds since bytes were last read from the link; `None` before the first (R23).
    #[must_use]
    pub fn last_read_ms(&self, link: LinkId) -> Option<u64> {
        self.links.get(link)?.last_read.age_ms()
    }

    /// Messages and bytes not wholly sent.
    #[must_use]
    pub fn send_queue(&self, link: LinkId) -> (usize, usize) {
        self.links.get(link).map_or((0, 0), |slot| (slot.unsent_messages, slot.unsent_bytes))
    }

    /// A link over any transport, up at once, or after its TLS handshake. Its owner reports readiness by
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
        self.attach_socket(socket, owner, tls)
    }

    /// Counters and gauges by name.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let mut stats: BTreeMap<_, _> = self.counters.entries().into_iter().collect();
        let gauges = [
            ("workers", self.pool.workers()),
            ("active_workers", self.pool.active()),
            ("inbox_len", self.pool.inbox_len()),
            ("jobs_in_flight", self.in_flight),
            ("links", self.links.len()),
            ("handshakes", self.handshakes),
            ("accept_paused", usize::from(self.listeners.paused_until().is_some())),
        ];
        stats.extend(gauges.map(|(name, value)| (name.to_owned(), value as u64)));
        for (index, used_us) in self.pool.used_us().enumerate() {
            stats.insert(format!("used_active_time_us_io_thread_{}", index + 1), used_us);
        }
        stats
    }

    /// Sets the counters to zero.
    pub fn reset_stats(&mut self) {
        self.counters = Counters::default();
        self.pool.reset_used_us();
    }

    /// Stops the workers and closes every socket. The engine stays usable for nothing but being dropped.
    pub fn shutdown(&mut self) {
        self.listeners = Listeners::default();
        drop(self.resize(1));
        // Completions hold sockets too.
        while self.pool.completed().is_some() {}
        self.in_flight = 0;
        self.awaited = 0;
        self.done_here.clear();
        self.ready.clear();
        self.events.clear();
        for link in self.links.ids() {
            self.links.remove(link);
        }
    }
}

/// Which side of a TLS handshake an attached link plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    /// It waits for the handshake.
    Accepts,
    /// It starts the handshake.
    Dials,
}
