//! Who runs the jobs: the workers of the pool or, if there are none or the inbox is full, the main thread itself, by
//! the same code (R3).
//!
//! Counts the jobs that are with the workers, and gives each job the view that is published. Knows no link: a completion
//! goes to whoever collects it. Main thread only.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::gossip::View;
use crate::job::{Completion, Job, JobRunner, JobScratch};
use crate::limits;
use crate::pool::{Lane, Pool, Wake};

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
    pool: Pool<Job, Completion, JobRunner, PollWaker>,
    /// Threads that do I/O, the main thread included.
    io_threads: usize,
    outbox_completions: usize,
    runner: JobRunner,
    scratch: JobScratch,
    /// Completions of jobs that ran on the main thread.
    done_here: VecDeque<Completion>,
    /// Jobs that are with the workers.
    in_flight: usize,
    /// When a dispatch last found every active worker busy.
    saturated_at: Instant,
}

impl Crew {
    /// A crew without workers; `resize` starts them.
    pub(crate) fn new(
        inbox_jobs: usize,
        outbox_completions: usize,
        waker: Waker,
        now: Instant,
    ) -> Self {
        let (inbox, outbox) = (inbox_jobs.max(1), outbox_completions.max(1));
        let (runner, waker) = (JobRunner::default(), PollWaker(waker));
        Self {
            pool: Pool::new(inbox, outbox, limits::HANDSHAKE_TURN, runner.clone(), waker),
            io_threads: 1,
            outbox_completions: outbox,
            runner,
            scratch: JobScratch::default(),
            done_here: VecDeque::new(),
            in_flight: 0,
            saturated_at: now,
        }
    }

    // ---- the view that jobs work with

    pub(crate) fn publish(&self, view: Arc<View>) {
        self.runner.view.store(Some(view));
    }

    pub(crate) fn view(&self) -> arc_swap::Guard<Option<Arc<View>>> {
        self.runner.view.load()
    }

    // ---- jobs

    /// Gives a job to the pool, or runs it here at once if the pool has no room for it (R3). True when it ran here
    /// although there are workers.
    pub(crate) fn start(&mut self, lane: Lane, job: Job, now: Instant) -> bool {
        let has_workers = self.io_threads > 1;
        let job = if has_workers {
            match self.pool.dispatch(lane, job) {
                Ok(all_busy) => {
                    self.in_flight += 1;
                    if all_busy {
                        self.saturated_at = now;
                    }
                    return false;
                }
                Err(refused) => refused.0,
            }
        } else {
            job
        };
        self.run_here(job);
        has_workers
    }

    fn run_here(&mut self, job: Job) {
        let completion = self.runner.complete(job, &mut self.scratch, false);
        self.done_here.push_back(completion);
    }

    /// Hands over the completions that have come in. Bounded, so that a flood cannot hold up the step.
    pub(crate) fn collect(&mut self, mut apply: impl FnMut(Completion)) {
        let mut from_workers = 0;
        while let Some(completion) = self.pool.completed() {
            apply(completion);
            from_workers += 1;
            if from_workers >= self.outbox_completions {
                break;
            }
        }
        self.in_flight -= from_workers;
        if from_workers > 0 {
            self.pool.made_room();
        }
        for completion in self.done_here.drain(..) {
            apply(completion);
        }
    }

    /// Whether completions wait to be collected.
    pub(crate) fn has_completions(&self) -> bool {
        !self.done_here.is_empty() || self.workers_have_completions()
    }

    fn workers_have_completions(&self) -> bool {
        !self.pool.shared().outbox.is_empty()
    }

    /// Whether no job is with a worker and no completion waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.done_here.is_empty()
    }

    // ---- sleeping

    /// The main thread is about to sleep: workers will wake it for urgent completions, or for every completion if it
    /// `awaits_all`. False when `has_work` finds work, and then it must not sleep.
    pub(crate) fn arm(&self, awaits_all: bool, has_work: impl FnOnce() -> bool) -> bool {
        self.pool.shared().main.arm(awaits_all, has_work)
    }

    /// Like `arm`, for a main thread that waits for jobs to end and for nothing else.
    pub(crate) fn arm_for_jobs(&self) -> bool {
        self.arm(true, || self.workers_have_completions())
    }

    /// The main thread is awake, so completions need not wake it.
    pub(crate) fn disarm(&self) {
        self.pool.shared().main.disarm();
    }

    // ---- how many workers

    /// Brings the number of I/O threads, the main thread included, to `io_threads`, under any load (R22, R35).
    pub(crate) fn resize(&mut self, io_threads: usize) -> io::Result<()> {
        let io_threads = io_threads.clamp(1, limits::IO_THREADS_MAX);
        self.io_threads = io_threads;
        let (held, left, outcome) = self.pool.resize(io_threads - 1);
        self.in_flight -= held.len() + left.len();
        self.done_here.extend(held);
        for job in left {
            self.run_here(job);
        }
        outcome
    }

    pub(crate) fn set_always_active(&mut self, always: bool) {
        self.pool.set_always_active(always);
    }

    /// Uses one worker fewer after a second in which the active ones were never all busy.
    pub(crate) fn adapt(&mut self, now: Instant) {
        let idle = Duration::from_millis(limits::WORKER_IDLE_MS);
        if self.pool.active() > 0 && now.duration_since(self.saturated_at) >= idle {
            self.pool.relax();
            self.saturated_at = now;
        }
    }

    /// Stops the workers and drops their completions, with the sockets in them.
    pub(crate) fn dismiss(&mut self) {
        drop(self.resize(1));
        while self.pool.completed().is_some() {}
        self.in_flight = 0;
        self.done_here.clear();
    }

    // ---- figures

    pub(crate) fn gauges(&self) -> [(&'static str, usize); 4] {
        [
            ("workers", self.pool.workers()),
            ("active_workers", self.pool.active()),
            ("inbox_len", self.pool.inbox_len()),
            ("jobs_in_flight", self.in_flight),
        ]
    }

    /// Microseconds each worker has been awake.
    pub(crate) fn used_us(&self) -> impl Iterator<Item = u64> {
        self.pool.used_us()
    }

    pub(crate) fn reset_used_us(&self) {
        self.pool.reset_used_us();
    }
}
