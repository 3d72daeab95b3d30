//! The main threads' side of the pool: it starts and stops the workers, hands them jobs, and wakes them.
//!
//! Owns the threads (`Pool`), of which there are as many as the engine that wants most asks for, and an engine's place at
//! them (`Seat`). Generic over what a job is; knows neither sockets nor links. A `Seat` is its main thread's only.

use std::sync::{Arc as StdArc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};

use super::desk::{Desk, DeskNumber};
use super::shared::{Hub, Lane, Run, Shared};
use super::waker::Wake;
use super::worker::Worker;
use crate::sync::{Arc, JoinHandle, Ordering, spawn, yield_now};

struct Member {
    worker: Arc<Worker>,
    thread: JoinHandle<()>,
}

/// What one engine asks for.
struct Wish {
    desk: DeskNumber,
    workers: usize,
    always_active: bool,
}

/// The worker threads, and who wants how many.
struct Staff {
    members: Vec<Member>,
    wishes: Vec<Wish>,
}

/// Worker threads and the queues that they share with the main threads of their engines. It has threads only as long as
/// an engine wants some.
pub(crate) struct Pool<J, C, R, H, W: Wake> {
    shared: Arc<Shared<J, C, R, H, W>>,
    /// Held while threads are started and awaited. No worker takes it.
    staff: StdMutex<Staff>,
}

/// An engine's place in a pool.
pub(crate) struct Seat<J, C, R, H, W>
where
    J: Send + 'static,
    C: Send + 'static,
    R: Run<J, C, H::Edge>,
    H: Hub,
    W: Wake,
{
    pool: StdArc<Pool<J, C, R, H, W>>,
    desk: StdArc<Desk<J, C, R, W>>,
    /// The workers that this engine wants; with 0 it does all by itself, whatever others want.
    wanted: usize,
    always_active: bool,
    /// The saturations seen at the last `was_saturated`.
    saturations_seen: usize,
    /// What each worker had used at the last `reset_used_us`.
    used_before_us: Vec<u64>,
    has_left: bool,
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
    /// A pool without threads.
    pub(crate) fn new(inbox: usize, handshake_turn: u32, hub: H) -> Self {
        Self {
            shared: Arc::new(Shared::new(inbox, handshake_turn, hub)),
            staff: StdMutex::new(Staff { members: Vec::new(), wishes: Vec::new() }),
        }
    }

    fn staff(&self) -> StdMutexGuard<'_, Staff> {
        self.staff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what an engine wants, and starts or stops threads accordingly.
    fn serve(&self, wish: Wish) -> std::io::Result<()> {
        let mut staff = self.staff();
        staff.wishes.retain(|other| other.desk != wish.desk);
        if wish.workers > 0 || wish.always_active {
            staff.wishes.push(wish);
        }
        let count = staff.wishes.iter().map(|wish| wish.workers).max().unwrap_or(0);
        self.stop_all_but(&mut staff, count);
        let outcome = self.start(&mut staff, count);
        self.set_active(&staff);
        if staff.members.is_empty() {
            self.give_back();
        } else if !self.shared.inbox_is_empty() {
            // A worker that left may have been the one that the bell had woken.
            self.shared.hub.ring();
        }
        outcome
    }

    fn set_active(&self, staff: &Staff) {
        let workers = staff.members.len();
        let always = staff.wishes.iter().any(|wish| wish.always_active);
        let active = self.shared.active.load(Ordering::Relaxed);
        let active = if always { workers } else { active.max(1).min(workers) };
        self.shared.workers.store(workers, Ordering::Relaxed);
        self.shared.active.store(active, Ordering::Relaxed);
        self.shared.call_all();
    }

    fn start(&self, staff: &mut Staff, count: usize) -> std::io::Result<()> {
        for index in staff.members.len()..count {
            let worker = Arc::new(Worker::new(index));
            let thread = spawn(format!("clusterbus-io-{}", index + 1), {
                let (worker, shared) = (worker.clone(), self.shared.clone());
                move || worker.serve(&shared)
            })?;
            staff.members.push(Member { worker, thread });
        }
        Ok(())
    }

    fn stop_all_but(&self, staff: &mut Staff, count: usize) {
        let leaving = staff.members.split_off(count.min(staff.members.len()));
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

    /// Gives the jobs in the inbox back to their engines, when there are no workers any more.
    fn give_back(&self) {
        while let Some(errand) = self.shared.leftover() {
            errand.desk.job_is_left(errand.job);
        }
    }
}

impl<J, C, R, H, W> Seat<J, C, R, H, W>
where
    J: Send + 'static,
    C: Send + 'static,
    R: Run<J, C, H::Edge>,
    H: Hub,
    W: Wake,
{
    /// Takes a place in a pool; it wants no workers yet. None if the pool serves `DESKS_MAX` engines already.
    pub(crate) fn new(
        pool: StdArc<Pool<J, C, R, H, W>>,
        outbox: usize,
        run: R,
        waker: W,
    ) -> Option<Self> {
        let desk = pool.shared.seat(|number| Desk::new(number, run, outbox, waker))?;
        let saturations_seen = pool.shared.saturations.load(Ordering::Relaxed);
        Some(Self {
            pool,
            desk,
            wanted: 0,
            always_active: false,
            saturations_seen,
            used_before_us: Vec::new(),
            has_left: false,
        })
    }

    pub(crate) fn desk(&self) -> &Desk<J, C, R, W> {
        &self.desk
    }

    pub(crate) fn hub(&self) -> &H {
        &self.pool.shared.hub
    }

    /// The workers that serve this engine; none if it wants none.
    pub(crate) fn workers(&self) -> usize {
        if self.wanted == 0 { 0 } else { self.pool.shared.workers.load(Ordering::Relaxed) }
    }

    /// How many of them are active.
    pub(crate) fn active(&self) -> usize {
        if self.wanted == 0 { 0 } else { self.pool.shared.active.load(Ordering::Relaxed) }
    }

    /// Jobs in the inbox, of all engines of the pool.
    pub(crate) fn inbox_len(&self) -> usize {
        self.pool.shared.inbox_len()
    }

    /// Jobs of this engine in the inbox or at work.
    pub(crate) fn pending(&self) -> usize {
        self.desk.pending()
    }

    /// Jobs of this engine in the inbox or at work, and completions that were not collected yet.
    pub(crate) fn in_flight(&self) -> usize {
        // In this order: a job is counted off after its completions are there.
        self.pending() + self.desk.completions_len()
    }

    /// Microseconds each worker that serves this engine has been awake, for whichever engine, since `reset_used_us`.
    pub(crate) fn used_us(&self) -> Vec<u64> {
        let mut used_us = if self.wanted == 0 { Vec::new() } else { self.all_used_us() };
        for (used_us, before_us) in used_us.iter_mut().zip(&self.used_before_us) {
            // A worker that was started after the reset begins at 0.
            *used_us = used_us.checked_sub(*before_us).unwrap_or(*used_us);
        }
        used_us
    }

    fn all_used_us(&self) -> Vec<u64> {
        let staff = self.pool.staff();
        staff.members.iter().map(|member| member.worker.used_us.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn reset_used_us(&mut self) {
        self.used_before_us = self.all_used_us();
    }

    /// Hands a job to the workers, wakes one that waits, and calls one more if jobs pile up. Gives the job back if
    /// this engine has no worker, or if the lane is full.
    pub(crate) fn dispatch(&self, lane: Lane, job: J) -> Result<(), Refused<J>> {
        if self.workers() == 0 {
            return Err(Refused(job));
        }
        let shared = &self.pool.shared;
        shared.push(&self.desk, lane, job).map_err(Refused)?;
        shared.ring_for_job();
        if shared.inbox_len() > shared.active.load(Ordering::Relaxed) {
            shared.call_one_more();
        }
        Ok(())
    }

    /// Takes the completions that are there, oldest first; at most about `limit`.
    pub(crate) fn collect(&self, limit: usize, apply: impl FnMut(C)) {
        self.desk.collect(limit, apply);
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.desk.has_completions()
    }

    /// Whether the active workers were found too few since the last call of this.
    pub(crate) fn was_saturated(&mut self) -> bool {
        let saturations = self.pool.shared.saturations.load(Ordering::Relaxed);
        std::mem::replace(&mut self.saturations_seen, saturations) != saturations
    }

    /// Uses one active worker fewer, but always one. Call it after a time in which the active ones were not too few.
    pub(crate) fn relax(&self) {
        let staff = self.pool.staff();
        let is_spare = !staff.wishes.iter().any(|wish| wish.always_active);
        if is_spare && self.pool.shared.active.load(Ordering::Relaxed) > 1 {
            self.pool.shared.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_always_active(&mut self, always: bool) {
        self.always_active = always;
        // No thread is started or stopped.
        drop(self.pool.serve(self.wish()));
    }

    fn wish(&self) -> Wish {
        let (desk, workers) = (self.desk.number, self.wanted);
        Wish { desk, workers, always_active: self.always_active && workers > 0 }
    }

    /// Brings the number of workers that this engine wants to `count`; the pool has as many as the engine that wants
    /// most. Returns the jobs that the last worker has left, for the caller to run. On `Err` the pool has as many
    /// workers as could be started.
    pub(crate) fn resize(&mut self, count: usize) -> (Vec<J>, std::io::Result<()>) {
        self.wanted = count;
        let outcome = self.pool.serve(self.wish());
        (self.take_left(), outcome)
    }

    /// Jobs that the last worker of the pool has left, although this engine did not want it.
    pub(crate) fn take_left(&self) -> Vec<J> {
        if self.workers() == 0 { self.desk.take_left() } else { Vec::new() }
    }

    pub(crate) fn has_left_jobs(&self) -> bool {
        self.workers() == 0 && self.desk.has_left()
    }

    /// From now on no edge of this engine is served.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.has_left, true) {
            self.pool.shared.unseat(self.desk.number);
        }
    }

    /// Wants no workers any more, and waits until none works for this engine. After `leave`.
    pub(crate) fn let_go(&mut self) {
        // Nothing can fail when no thread is started.
        drop(self.resize(0));
        while !self.desk.is_left_alone() {
            // A job is short: no thread waits for another one in it.
            yield_now();
        }
    }
}

impl<J, C, R, H, W> Drop for Seat<J, C, R, H, W>
where
    J: Send + 'static,
    C: Send + 'static,
    R: Run<J, C, H::Edge>,
    H: Hub,
    W: Wake,
{
    fn drop(&mut self) {
        self.leave();
        self.let_go();
    }
}
