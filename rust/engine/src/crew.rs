//! Who runs the jobs: the workers of the pool or, if there are none or the inbox is full, the main thread itself, by
//! the same code (R3).
//!
//! Gives each job the view that is published, and the lease under which it may answer. Knows no link: a completion goes
//! to whoever collects it. Main thread only.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::docks::Roster;
use crate::edges::EpollHub;
use crate::gossip::View;
use crate::job::{Completion, Job, JobRunner, JobScratch, Task};
use crate::journal::stats::{Counters, Tally};
use crate::lease::Lease;
use crate::limits;
use crate::link_id::LinkId;
use crate::pool::{Hands, Lane, Pool, Wake};

/// Ends the main thread's wait in the kernel.
struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        // An eventfd refuses a write only when its counter is full, and the counter rises by at most one per sleep.
        self.0.wake().expect("the eventfd's counter is not full");
    }
}

/// The pool, and what the main thread needs to do a worker's work.
pub(crate) struct Crew {
    pool: Pool<Job, Completion, JobRunner, EpollHub, PollWaker>,
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
    pub(crate) fn new(
        inbox_jobs: usize,
        outbox_completions: usize,
        lease: Duration,
        waker: Waker,
        now: Instant,
    ) -> io::Result<Self> {
        let (inbox, outbox) = (inbox_jobs.max(1), outbox_completions.max(1));
        let runner = JobRunner {
            view: Arc::default(),
            lease: Arc::new(Lease::new(now, lease)),
            roster: Arc::default(),
            tally: Arc::new(Mutex::new(Tally::default())),
        };
        let (hub, waker) = (EpollHub::new()?, PollWaker(waker));
        Ok(Self {
            pool: Pool::new(inbox, outbox, limits::HANDSHAKE_TURN, runner.clone(), hub, waker),
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
        self.pool.shared().main.arm(awaits_all, has_work)
    }

    /// Like `arm`, for a main thread that waits for all jobs to end and for nothing else.
    pub(crate) fn arm_for_jobs(&self) -> bool {
        self.arm(true, || self.pool.pending() == 0 || self.has_completions())
    }

    /// The main thread is awake, so completions need not wake it.
    pub(crate) fn disarm(&self) {
        self.pool.shared().main.disarm();
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

    /// Stops the workers and drops what they have left behind.
    pub(crate) fn dismiss(&mut self) {
        drop(self.pool.resize(0));
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

    /// Microseconds each worker has been awake.
    pub(crate) fn used_us(&self) -> impl Iterator<Item = u64> {
        self.pool.used_us()
    }

    /// What jobs have counted.
    pub(crate) fn with_counters<T>(&self, look: impl FnOnce(&Counters) -> T) -> T {
        self.runner.count(|tally| look(&tally.counters))
    }

    pub(crate) fn reset_figures(&self) {
        self.pool.reset_used_us();
        self.runner.count(|tally| tally.counters = Counters::default());
    }
}
