//! The main thread's side of the pool: it starts and stops the workers, hands them jobs, and wakes them.
//!
//! Main thread only. Generic over what a job is; knows neither sockets nor links.

use std::collections::VecDeque;

use super::shared::{Lane, Run, Shared};
use super::waker::Wake;
use super::worker::Worker;
use crate::sync::{Arc, JoinHandle, Ordering, fence, spawn};

struct Member<C> {
    worker: Arc<Worker>,
    thread: JoinHandle<VecDeque<C>>,
}

/// The worker threads and the queues they share with the main thread.
pub(crate) struct Pool<J, C, R, W: Wake> {
    shared: Arc<Shared<J, C, W>>,
    run: Arc<R>,
    members: Vec<Member<C>>,
    /// How many workers a dispatch may wake: the first ones of `members`. An awake worker beyond them finishes what it
    /// finds in the inbox and parks.
    active: usize,
    always_active: bool,
}

/// A job that the pool did not take, given back to its owner.
#[derive(Debug)]
pub(crate) struct Refused<J>(pub(crate) J);

impl<J, C, R, W> Pool<J, C, R, W>
where
    J: Send + 'static,
    C: Send + 'static,
    R: Run<J, C>,
    W: Wake,
{
    pub(crate) fn new(inbox: usize, outbox: usize, handshake_turn: u32, run: R, waker: W) -> Self {
        let shared = Shared::new(inbox, outbox, handshake_turn, waker);
        Self {
            shared: Arc::new(shared),
            run: Arc::new(run),
            members: Vec::new(),
            active: 0,
            always_active: false,
        }
    }

    pub(crate) fn shared(&self) -> &Shared<J, C, W> {
        &self.shared
    }

    pub(crate) fn workers(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    pub(crate) fn inbox_len(&self) -> usize {
        self.shared.inbox_len()
    }

    /// Microseconds each worker has been awake.
    pub(crate) fn used_us(&self) -> impl Iterator<Item = u64> {
        self.members.iter().map(|member| member.worker.used_us.load(Ordering::Relaxed))
    }

    pub(crate) fn reset_used_us(&self) {
        for member in &self.members {
            member.worker.used_us.store(0, Ordering::Relaxed);
        }
    }

    /// Hands a job to the workers and wakes a parked one, if there is one. `Ok(true)` means that every active worker
    /// was awake already. `Err` gives the job back: there is no worker, or the lane is full.
    pub(crate) fn dispatch(&mut self, lane: Lane, job: J) -> Result<bool, Refused<J>> {
        if self.members.is_empty() {
            return Err(Refused(job));
        }
        self.shared.lane(lane).push(job).map_err(Refused)?;
        // Pairs with the fence in `Worker::park_unless`. Here: push, then look for parked workers. There: mark as
        // parked, then look for jobs.
        fence(Ordering::SeqCst);
        self.active = self.active.max(1);
        if self.members[..self.active].iter().any(|member| member.worker.wake()) {
            return Ok(false);
        }
        if self.active < self.members.len() && self.shared.inbox_len() > self.active {
            self.members[self.active].worker.wake();
            self.active += 1;
        }
        Ok(true)
    }

    /// Takes the oldest completion, if any.
    pub(crate) fn completed(&self) -> Option<C> {
        self.shared.outbox.pop()
    }

    /// Wakes the workers that wait for room in the outbox. Call it after taking completions.
    pub(crate) fn made_room(&self) {
        // Pairs with the fence in `Worker::park_unless`.
        fence(Ordering::SeqCst);
        for member in &self.members {
            member.worker.wake_if_stalled();
        }
    }

    /// Uses one active worker fewer. Call it after a time in which the active ones were never all busy.
    pub(crate) fn relax(&mut self) {
        if !self.always_active {
            self.active = self.active.saturating_sub(1);
        }
    }

    pub(crate) fn set_always_active(&mut self, always: bool) {
        self.always_active = always;
        if always {
            self.active = self.members.len();
        }
    }

    /// Brings the number of workers to `count`. Returns the completions that stopped workers still held and, when no
    /// worker is left, the jobs in the inbox, for the caller to run. On `Err` the pool has as many workers as could be
    /// started.
    pub(crate) fn resize(&mut self, count: usize) -> (VecDeque<C>, Vec<J>, std::io::Result<()>) {
        let mut held = VecDeque::new();
        let leaving = self.members.split_off(count.min(self.members.len()));
        for member in &leaving {
            member.worker.stop();
        }
        for member in leaving {
            // A worker cannot unwind, since the job runner catches panics. If one did, the completions it held would be
            // lost.
            held.extend(member.thread.join().unwrap_or_default());
        }
        self.active = self.active.min(self.members.len());
        let outcome = self.start(count);
        if self.always_active {
            self.active = self.members.len();
        }
        let mut left = Vec::new();
        if self.members.is_empty() {
            let mut turn = 0;
            while let Some((job, _)) = self.shared.next_job(&mut turn) {
                left.push(job);
            }
        }
        // If a worker stays, it runs the jobs that the others left: a dispatch wakes the first one that is parked, so
        // the very first is awake as long as there are jobs.
        (held, left, outcome)
    }

    fn start(&mut self, count: usize) -> std::io::Result<()> {
        for index in self.members.len()..count {
            let worker = Arc::new(Worker::default());
            let thread = spawn(format!("clusterbus-io-{}", index + 1), {
                let (worker, shared, run) = (worker.clone(), self.shared.clone(), self.run.clone());
                move || worker.serve(&shared, &*run)
            })?;
            worker.announce(thread.thread().clone());
            self.members.push(Member { worker, thread });
        }
        Ok(())
    }
}

impl<J, C, R, W: Wake> Drop for Pool<J, C, R, W> {
    fn drop(&mut self) {
        for member in &self.members {
            member.worker.stop();
        }
        for member in self.members.drain(..) {
            drop(member.thread.join());
        }
    }
}
