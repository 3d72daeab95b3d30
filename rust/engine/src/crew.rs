//! Who runs the jobs: the workers of the pool or, if there are none or the inbox is full, the main thread itself, by
//! the same code (R3).
//!
//! Gives each job the view that is published, and the lease under which it may answer. Knows no link: a completion goes
//! to whoever collects it. Owns the pool that the engines of a process share. Main thread only.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use mio::Waker;

use crate::config::EngineConfig;
use crate::docks::Roster;
use crate::edges::EpollHub;
use crate::gossip::View;
use crate::job::{Completion, Job, JobRunner, JobScratch, Task};
use crate::journal::stats::{Counters, Tally};
use crate::lease::Lease;
use crate::limits;
use crate::link_id::LinkId;
use crate::pool::{DeskNumber, Hands, Lane, Pool, Seat, Wake};

/// Ends the main thread's wait in the kernel.
struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        // An eventfd refuses a write only when its counter is full, and the counter rises by at most one per sleep.
        self.0.wake().expect("the eventfd's counter is not full");
    }
}

type CrewPool = Pool<Job, Completion, JobRunner, EpollHub, PollWaker>;

/// The pool that engines of a process share.
struct ProcessPool {
    /// A forked process has none of its parent's threads, and makes a pool of its own.
    process_id: u32,
    pool: Weak<CrewPool>,
}

/// Made by the first engine that shares workers, and gone with the last. Without a lock, which a fork could find taken.
static PROCESS_POOL: ArcSwapOption<ProcessPool> = ArcSwapOption::const_empty();

/// A pool for one engine alone.
fn new_pool(inbox_jobs: usize) -> io::Result<Arc<CrewPool>> {
    let hub = EpollHub::new()?;
    Ok(Arc::new(Pool::new(inbox_jobs.max(1), limits::HANDSHAKE_TURN, hub)))
}

/// The pool that the engines of this process share.
fn pool_of_process() -> io::Result<Arc<CrewPool>> {
    let process_id = std::process::id();
    loop {
        let current = PROCESS_POOL.load_full();
        let ours = current.as_ref().filter(|current| current.process_id == process_id);
        if let Some(pool) = ours.and_then(|current| current.pool.upgrade()) {
            return Ok(pool);
        }
        let pool = new_pool(limits::INBOX_JOBS)?;
        let new = Arc::new(ProcessPool { process_id, pool: Arc::downgrade(&pool) });
        let found = PROCESS_POOL.compare_and_swap(&current, Some(new));
        if found.as_ref().map(Arc::as_ptr) == current.as_ref().map(Arc::as_ptr) {
            return Ok(pool);
        }
        // Another thread was faster.
    }
}

/// A place in the pool, and what the main thread needs to do a worker's work.
pub(crate) struct Crew {
    pool: Seat<Job, Completion, JobRunner, EpollHub, PollWaker>,
    outbox_completions: usize,
    runner: JobRunner,
    scratch: JobScratch,
    /// What jobs that ran on the main thread have left behind.
    here: Hands<Job, Completion>,
    /// When the active workers were last found too few.
    saturated_at: Instant,
}

impl Crew {
    /// A crew without workers; `resize` starts them.
    pub(crate) fn new(config: &EngineConfig, waker: Waker, now: Instant) -> io::Result<Self> {
        let pool = match config.shares_workers {
            true => pool_of_process()?,
            false => new_pool(config.inbox_jobs)?,
        };
        let outbox = config.outbox_completions.max(1);
        let runner = JobRunner {
            view: Arc::default(),
            lease: Arc::new(Lease::new(now, config.lease)),
            roster: Arc::default(),
            tally: Arc::new(Mutex::new(Tally::default())),
        };
        let seat = Seat::new(pool, outbox, runner.clone(), PollWaker(waker));
        Ok(Self {
            pool: seat.ok_or_else(|| io::Error::other("too many engines share one pool"))?,
            outbox_completions: outbox,
            runner,
            scratch: JobScratch::default(),
            here: Hands::default(),
            saturated_at: now,
        })
    }

    pub(crate) fn roster(&self) -> Arc<Roster> {
        self.runner.roster.clone()
    }

    /// The name of this engine in the pool.
    pub(crate) fn desk_number(&self) -> DeskNumber {
        self.pool.desk().number
    }

    /// Where workers wait for edges.
    pub(crate) fn hub(&self) -> &EpollHub {
        self.pool.hub()
    }

    // ---- what jobs work with

    pub(crate) fn publish(&self, view: Arc<View>) {
        self.runner.view.store(Some(view));
    }

    pub(crate) fn view(&self) -> arc_swap::Guard<Option<Arc<View>>> {
        self.runner.view.load()
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.runner.lease
    }

    // ---- jobs

    pub(crate) fn has_workers(&self) -> bool {
        self.pool.workers() > 0
    }

    /// Gives a job to the pool, or runs it here at once if the pool has no room for it (R3). True when it ran here
    /// although there are workers.
    pub(crate) fn start(&mut self, lane: Lane, job: Job) -> bool {
        match self.pool.dispatch(lane, job) {
            Ok(()) => false,
            Err(refused) => {
                self.run_here(refused.0);
                self.has_workers()
            }
        }
    }

    fn run_here(&mut self, job: Job) {
        for Task { dock, side } in job.tasks() {
            self.runner.serve(&dock, side, &mut self.scratch, false, &mut self.here);
            JobRunner::go_on(&dock, &mut self.here);
        }
    }

    /// Runs what the last worker has left when it went because of another engine.
    pub(crate) fn run_left(&mut self) {
        for job in self.pool.take_left() {
            self.run_here(job);
        }
    }

    pub(crate) fn has_left_jobs(&self) -> bool {
        self.pool.has_left_jobs()
    }

    /// The jobs that follow from those that ran here.
    pub(crate) fn take_more(&mut self) -> std::vec::Drain<'_, (Lane, Job)> {
        self.here.more.drain(..)
    }

    /// Hands over the completions that have come in. Bounded, so that a flood cannot hold up the step.
    pub(crate) fn collect(&mut self, mut apply: impl FnMut(Completion)) {
        self.pool.collect(self.outbox_completions, &mut apply);
        for completion in self.here.done.drain(..) {
            apply(completion);
        }
    }

    /// Whether completions wait to be collected.
    pub(crate) fn has_completions(&self) -> bool {
        !self.here.done.is_empty() || self.pool.has_completions()
    }

    /// Whether no job waits in the inbox or is at work, and no completion waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.pool.pending() == 0 && !self.has_completions()
    }

    /// The PINGs answered and the PONGs noted without the main loop since the last call, and the links of the latter.
    pub(crate) fn take_quiet(&self) -> (u64, u64, Vec<LinkId>) {
        self.runner.count(Tally::take_quiet)
    }

    // ---- sleeping

    /// The main thread is about to sleep, until a completion comes or, if it `awaits_all`, the last job ends. False when
    /// `has_work` finds work, and then it must not sleep.
    pub(crate) fn arm(&self, awaits_all: bool, has_work: impl FnOnce() -> bool) -> bool {
        self.pool.desk().main.arm(awaits_all, has_work)
    }

    /// Like `arm`, for a main thread that waits for all jobs to end and for nothing else.
    pub(crate) fn arm_for_jobs(&self) -> bool {
        self.arm(true, || self.pool.pending() == 0 || self.has_completions())
    }

    /// The main thread is awake, so completions need not wake it.
    pub(crate) fn disarm(&self) {
        self.pool.desk().main.disarm();
    }

    // ---- how many workers

    /// Brings the number of I/O threads, the main thread included, to `io_threads`, under any load (R22, R35).
    pub(crate) fn resize(&mut self, io_threads: usize) -> io::Result<()> {
        let io_threads = io_threads.clamp(1, limits::IO_THREADS_MAX);
        let (left, outcome) = self.pool.resize(io_threads - 1);
        for job in left {
            self.run_here(job);
        }
        outcome
    }

    pub(crate) fn set_always_active(&mut self, always: bool) {
        self.pool.set_always_active(always);
    }

    /// Uses one worker fewer after a second in which the active ones were never too few.
    pub(crate) fn adapt(&mut self, now: Instant) {
        let idle = Duration::from_millis(limits::WORKER_IDLE_MS);
        if self.pool.was_saturated() {
            self.saturated_at = now;
        } else if now.duration_since(self.saturated_at) >= idle {
            self.pool.relax();
            self.saturated_at = now;
        }
    }

    /// From now on no edge is served by workers.
    pub(crate) fn leave(&mut self) {
        self.pool.leave();
    }

    /// Waits until no worker works for this engine, and drops what they have left behind. After `leave`.
    pub(crate) fn dismiss(&mut self) {
        self.pool.let_go();
        self.pool.collect(usize::MAX, drop);
        self.here = Hands::default();
    }

    // ---- figures

    pub(crate) fn gauges(&self) -> [(&'static str, usize); 4] {
        [
            ("workers", self.pool.workers()),
            ("active_workers", self.pool.active()),
            ("inbox_len", self.pool.inbox_len()),
            ("jobs_in_flight", self.pool.in_flight()),
        ]
    }

    /// Microseconds each worker has been awake, for whichever engine.
    pub(crate) fn used_us(&self) -> Vec<u64> {
        self.pool.used_us()
    }

    /// What jobs have counted.
    pub(crate) fn with_counters<T>(&self, look: impl FnOnce(&Counters) -> T) -> T {
        self.runner.count(|tally| look(&tally.counters))
    }

    pub(crate) fn reset_figures(&mut self) {
        self.pool.reset_used_us();
        self.runner.count(|tally| tally.counters = Counters::default());
    }
}
