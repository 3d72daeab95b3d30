//! The worker pool: one inbox of two lanes, one outbox, threads that park when there is nothing to do.
//!
//! Generic over what a job is, so that the same code runs under loom with jobs that are plain numbers.
//! `Pool` belongs to the main thread; `Shared` is what workers see. Nothing here knows sockets or links.
//!
//! Theory of operation. A job is pushed, then a parked worker is looked for; a worker marks itself parked,
//! then looks for a job once more. Both put a SeqCst fence between the two steps, so at least one of them
//! sees the other: no wake-up is lost, and none is sent to a worker that is awake. The main thread and the outbox
//! use the same handshake in the other direction (`waker`). A worker that finds the outbox full keeps
//! the completion in its backlog, in order, and marks itself stalled; whoever drains the outbox wakes it.

mod waker;
mod worker;

pub(crate) use waker::{MainWaker, Wake};
use worker::Worker;

use std::collections::VecDeque;

use crate::sync::{Arc, BoundedQueue, JoinHandle, Ordering, fence, spawn};

/// Which of the inbox's two queues a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Links that are up. Served first.
    Established,
    /// TLS handshakes. Served when the first lane is empty, and every few jobs in any case.
    Handshake,
}

/// What a job function is: it runs on a worker or on the main thread, the same code (R3).
pub(crate) trait Run<J, C>: Send + Sync + 'static {
    /// Memory that a thread keeps between jobs.
    type Scratch: Default;
    /// Runs the job to its completion. Must not block and must not unwind.
    fn run(&self, job: J, scratch: &mut Self::Scratch) -> C;
    /// Whether the main thread must hear of it at once; if not, it will do at its next step, or when it waits
    /// for all.
    fn is_urgent(&self, completion: &C) -> bool;
}

/// The queues, and what the workers read.
pub(crate) struct Shared<J, C, W: Wake> {
    established: BoundedQueue<J>,
    handshakes: BoundedQueue<J>,
    pub(crate) outbox: BoundedQueue<C>,
    pub(crate) main: MainWaker<W>,
    handshake_turn: u32,
}

impl<J, C, W: Wake> Shared<J, C, W> {
    fn lane(&self, lane: Lane) -> &BoundedQueue<J> {
        match lane {
            Lane::Established => &self.established,
            Lane::Handshake => &self.handshakes,
        }
    }

    /// The next job. `turn` counts a worker's jobs: every `handshake_turn`th look starts at the second lane.
    fn next_job(&self, turn: &mut u32) -> Option<(J, Lane)> {
        *turn = turn.wrapping_add(1);
        let lanes = match turn.is_multiple_of(self.handshake_turn) {
            true => [Lane::Handshake, Lane::Established],
            false => [Lane::Established, Lane::Handshake],
        };
        lanes.into_iter().find_map(|lane| Some((self.lane(lane).pop()?, lane)))
    }

    fn inbox_is_empty(&self) -> bool {
        self.established.is_empty() && self.handshakes.is_empty()
    }

    fn inbox_len(&self) -> usize {
        self.established.len() + self.handshakes.len()
    }
}

struct Member<C> {
    worker: Arc<Worker>,
    thread: JoinHandle<VecDeque<C>>,
}

/// The pool as the main thread holds it.
pub(crate) struct Pool<J, C, R, W: Wake> {
    shared: Arc<Shared<J, C, W>>,
    run: Arc<R>,
    members: Vec<Member<C>>,
    /// Workers that a dispatch may wake, the first so many of `members`. An awake worker beyond it ends its
    /// jobs and parks.
    active: usize,
    always_active: bool,
}

/// Why a job was not taken: it comes back to its owner.
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
        let shared = Shared {
            established: BoundedQueue::new(inbox),
            handshakes: BoundedQueue::new(inbox),
            outbox: BoundedQueue::new(outbox),
            main: MainWaker::new(waker),
            handshake_turn,
        };
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

    /// Hands a job to the workers and wakes one if none is at it. `Ok(true)` says that every active
    /// worker was busy already. `Err` gives the job back: no worker, or the lane is full.
    pub(crate) fn dispatch(&mut self, lane: Lane, job: J) -> Result<bool, Refused<J>> {
        if self.members.is_empty() {
            return Err(Refused(job));
        }
        self.shared.lane(lane).push(job).map_err(Refused)?;
        // Pairs with the fence in `Worker::park_unless`: push before look, mark before look.
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

    /// To be called when completions were taken: wakes workers that wait for room in the outbox.
    pub(crate) fn made_room(&self) {
        // Pairs with the fence in `Worker::park_unless`.
        fence(Ordering::SeqCst);
        for member in &self.members {
            member.worker.wake_if_stalled();
        }
    }

    /// One active worker fewer; called after a time in which the others had room.
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

    /// Brings the number of workers to `count`. Completions that a stopped worker still held come back, as do
    /// the jobs left when the last one goes: the caller runs those itself. On `Err` the pool has as many
    /// workers as could be started.
    pub(crate) fn resize(&mut self, count: usize) -> (VecDeque<C>, Vec<J>, std::io::Result<()>) {
        let mut held = VecDeque::new();
        let leaving = self.members.split_off(count.min(self.members.len()));
        for member in &leaving {
            member.worker.stop();
        }
        for member in leaving {
            // A worker cannot unwind: the job runner catches panics. Were it to, what it held is gone with it.
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
        // Where a worker stays, it serves what the others left: a dispatch wakes the first parked one, so the
        // first of all is up as long as there are jobs.
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

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
