//! The main thread's side of the pool: it starts and stops the workers, hands them jobs, and wakes them.
//!
//! Main thread only. Generic over what a job is; knows neither sockets nor links.

use super::shared::{Hub, Lane, Run, Shared};
use super::waker::Wake;
use super::worker::Worker;
use crate::sync::{Arc, JoinHandle, Ordering, spawn};

struct Member {
    worker: Arc<Worker>,
    thread: JoinHandle<()>,
}

/// The worker threads and the queues they share with the main thread.
pub(crate) struct Pool<J, C, R, H: Hub, W: Wake> {
    shared: Arc<Shared<J, C, H, W>>,
    run: Arc<R>,
    members: Vec<Member>,
    always_active: bool,
    /// The saturations seen at the last `relax`.
    saturations_seen: usize,
}

/// A job that the pool did not take, given back to its owner.
#[derive(Debug)]
pub(crate) struct Refused<J>(pub(crate) J);

impl<J, C, R, H, W> Pool<J, C, R, H, W>
where
    J: Send + 'static,
    C: Send + 'static,
    R: Run<J, C, H::Edge>,
    H: Hub,
    W: Wake,
{
    pub(crate) fn new(
        inbox: usize,
        outbox: usize,
        handshake_turn: u32,
        run: R,
        hub: H,
        waker: W,
    ) -> Self {
        Self {
            shared: Arc::new(Shared::new(inbox, outbox, handshake_turn, hub, waker)),
            run: Arc::new(run),
            members: Vec::new(),
            always_active: false,
            saturations_seen: 0,
        }
    }

    pub(crate) fn shared(&self) -> &Shared<J, C, H, W> {
        &self.shared
    }

    pub(crate) fn hub(&self) -> &H {
        &self.shared.hub
    }

    pub(crate) fn workers(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn active(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    pub(crate) fn inbox_len(&self) -> usize {
        self.shared.inbox_len()
    }

    /// Jobs in the inbox or at work.
    pub(crate) fn pending(&self) -> usize {
        self.shared.pending()
    }

    /// Jobs in the inbox or at work, and completions that were not collected yet.
    pub(crate) fn in_flight(&self) -> usize {
        // In this order: a job is counted off after its completions are there.
        self.pending() + self.shared.completions_len()
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

    /// Hands a job to the workers, wakes one that waits, and calls one more if jobs pile up. Gives the job back if
    /// there is no worker, or if the lane is full.
    pub(crate) fn dispatch(&self, lane: Lane, job: J) -> Result<(), Refused<J>> {
        if self.members.is_empty() {
            return Err(Refused(job));
        }
        self.shared.push(lane, job).map_err(Refused)?;
        self.shared.ring_for_job();
        if self.shared.inbox_len() > self.active() {
            self.shared.call_one_more();
        }
        Ok(())
    }

    /// Takes the completions that are there, oldest first; at most about `limit`.
    pub(crate) fn collect(&self, limit: usize, apply: impl FnMut(C)) {
        self.shared.collect(limit, apply);
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.shared.has_completions()
    }

    /// Whether the active workers were found too few since the last call of this.
    pub(crate) fn was_saturated(&mut self) -> bool {
        let saturations = self.shared.saturations.load(Ordering::Relaxed);
        std::mem::replace(&mut self.saturations_seen, saturations) != saturations
    }

    /// Uses one active worker fewer, but always one. Call it after a time in which the active ones were not too few.
    pub(crate) fn relax(&self) {
        if !self.always_active && self.active() > 1 {
            self.shared.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_always_active(&mut self, always: bool) {
        self.always_active = always;
        self.set_active();
    }

    fn set_active(&self) {
        let workers = self.members.len();
        let active = if self.always_active { workers } else { self.active().max(1).min(workers) };
        self.shared.workers.store(workers, Ordering::Relaxed);
        self.shared.active.store(active, Ordering::Relaxed);
        self.shared.call_all();
    }

    /// Brings the number of workers to `count`. Returns the jobs in the inbox when no worker is left, for the caller to
    /// run. On `Err` the pool has as many workers as could be started.
    pub(crate) fn resize(&mut self, count: usize) -> (Vec<J>, std::io::Result<()>) {
        self.stop_all_but(count);
        let outcome = self.start(count);
        self.set_active();
        let mut left = Vec::new();
        if self.members.is_empty() {
            while let Some(job) = self.shared.leftover() {
                self.shared.job_was_left();
                left.push(job);
            }
        } else if !self.shared.inbox_is_empty() {
            // A worker that left may have been the one that the bell had woken.
            self.shared.hub.ring();
        }
        (left, outcome)
    }

    fn start(&mut self, count: usize) -> std::io::Result<()> {
        for index in self.members.len()..count {
            let worker = Arc::new(Worker::new(index));
            let thread = spawn(format!("clusterbus-io-{}", index + 1), {
                let (worker, shared, run) = (worker.clone(), self.shared.clone(), self.run.clone());
                move || worker.serve(&shared, &*run)
            })?;
            self.members.push(Member { worker, thread });
        }
        Ok(())
    }
}

impl<J, C, R, H: Hub, W: Wake> Pool<J, C, R, H, W> {
    fn stop_all_but(&mut self, count: usize) {
        let leaving = self.members.split_off(count.min(self.members.len()));
        if leaving.is_empty() {
            return;
        }
        for member in &leaving {
            member.worker.stop();
        }
        self.shared.call_all();
        self.shared.hub.alarm(true);
        for member in leaving {
            // A worker cannot unwind, since the job runner catches panics.
            drop(member.thread.join());
        }
        self.shared.hub.alarm(false);
    }
}

impl<J, C, R, H: Hub, W: Wake> Drop for Pool<J, C, R, H, W> {
    fn drop(&mut self) {
        self.stop_all_but(0);
    }
}
