//! One I/O thread: takes jobs, serves edges, delivers completions, waits. Runs on that thread, except for `stop`, which
//! the main thread calls.
//!
//! Between two jobs of the inbox's second lane, and after a few of the first, it looks for edges; so neither a storm of
//! handshakes nor a flood of jobs holds up the heartbeats of other links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::shared::{Hands, Hub, Lane, Run, Shared};
use super::waker::Wake;
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// A worker notifies the main thread when it has nothing more to do, and after this many completions.
const TELL_COMPLETIONS: u32 = 16;
/// After this many jobs a worker looks for edges.
const JOBS_BEFORE_EDGES: u32 = 16;
/// A worker that has not rested for this long calls another one.
// A model has no clock.
const BUSY: Duration = if cfg!(loom) { Duration::MAX } else { Duration::from_millis(2) };
/// A wait that is shorter was none: something was ready already.
const REST: Duration = Duration::from_micros(50);

pub(crate) struct Worker {
    /// Its place among the workers.
    index: usize,
    /// Set once by the main thread (Release) and read by the worker (Acquire), which then sees everything that was
    /// queued before.
    stopping: AtomicBool,
    /// Microseconds awake. Relaxed, as it is only a statistic.
    pub(crate) used_us: AtomicU64,
}

/// What a worker keeps while it serves.
struct Serving<J, C, R: Run<J, C, E>, E, W: Wake> {
    hands: Hands<J, C>,
    scratch: R::Scratch,
    turn: u32,
    /// Completions of which the main thread has not been notified.
    untold: u32,
    /// The desk that they lie on; none when there are none, since a worker must not keep an engine that has ended.
    desk: Option<Arc<Desk<J, C, R, W>>>,
    /// When its last wait ended.
    awake_since: Instant,
    /// When its last rest ended.
    busy_since: Instant,
}

impl Worker {
    pub(super) fn new(index: usize) -> Self {
        Self { index, stopping: AtomicBool::new(false), used_us: AtomicU64::new(0) }
    }

    /// Asks the worker to end after the job at hand. `Shared::call_all` and the hub's alarm end its waits.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The thread's body.
    pub(super) fn serve<J, C, R, H, W>(&self, shared: &Shared<J, C, R, H, W>)
    where
        R: Run<J, C, H::Edge>,
        H: Hub,
        W: Wake,
    {
        let mut at_work = Serving {
            hands: Hands::default(),
            scratch: R::Scratch::default(),
            turn: 0,
            untold: 0,
            desk: None,
            awake_since: Instant::now(),
            busy_since: Instant::now(),
        };
        let mut events = H::Events::default();
        while !self.is_stopping() {
            if self.is_spare(shared) && !shared.has_jobs() {
                at_work.tell();
                self.count_used(&mut at_work.awake_since);
                shared.sit_until(|| !self.is_spare(shared) || self.is_stopping());
                at_work.awake_since = Instant::now();
                at_work.busy_since = at_work.awake_since;
                continue;
            }
            let has_worked = self.do_jobs(shared, &mut at_work);
            self.wait(shared, &mut events, !has_worked, &mut at_work);
            while let Some((number, edge)) = shared.hub.next(&mut events) {
                let Some(desk) = shared.desk_for_edge(number) else { continue };
                desk.run.attend(edge, &mut at_work.scratch, &mut at_work.hands);
                at_work.deliver(shared, &desk);
                desk.edge_is_done();
            }
        }
        at_work.tell();
    }

    fn is_spare<J, C, R, H: Hub, W: Wake>(&self, shared: &Shared<J, C, R, H, W>) -> bool {
        self.index >= shared.active.load(Ordering::Relaxed)
    }

    /// Does a few jobs; false when there was none.
    fn do_jobs<J, C, R, H, W>(
        &self,
        shared: &Shared<J, C, R, H, W>,
        at_work: &mut Serving<J, C, R, H::Edge, W>,
    ) -> bool
    where
        R: Run<J, C, H::Edge>,
        H: Hub,
        W: Wake,
    {
        for done in 0..JOBS_BEFORE_EDGES {
            if !shared.has_jobs() || self.is_stopping() {
                return done > 0;
            }
            let Some((errand, lane)) = shared.next_job(&mut at_work.turn) else { return done > 0 };
            if shared.has_jobs() {
                // The bell is rung once for all jobs that are pushed until a worker looks: it passes that on.
                shared.ring_for_job();
            }
            if lane == Lane::Handshake {
                // A handshake takes long: nobody waits behind it for what is done, nor for an edge, if there is
                // another worker.
                at_work.tell();
                if shared.waiting.load(Ordering::Relaxed) == 0 {
                    shared.call_one_more();
                }
            }
            let desk = errand.desk;
            desk.run.run(errand.job, &mut at_work.scratch, &mut at_work.hands);
            at_work.deliver(shared, &desk);
            desk.job_is_done();
            if lane == Lane::Handshake {
                shared.handshake_is_done();
                return true;
            }
        }
        true
    }

    /// Waits for edges, and only looks for them when there is work already.
    fn wait<J, C, R, H, W>(
        &self,
        shared: &Shared<J, C, R, H, W>,
        events: &mut H::Events,
        may_block: bool,
        at_work: &mut Serving<J, C, R, H::Edge, W>,
    ) where
        R: Run<J, C, H::Edge>,
        H: Hub,
        W: Wake,
    {
        self.count_used(&mut at_work.awake_since);
        if at_work.awake_since.duration_since(at_work.busy_since) >= BUSY {
            at_work.busy_since = at_work.awake_since;
            shared.call_one_more();
        }
        if may_block {
            at_work.tell();
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            // Pairs with the fence in `Shared::ring_for_job`.
            fence(Ordering::SeqCst);
            let blocks = !shared.has_jobs() && !self.is_stopping();
            shared.hub.wait(events, blocks);
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            let now = Instant::now();
            if blocks && now.duration_since(at_work.awake_since) >= REST {
                at_work.busy_since = now;
            }
            at_work.awake_since = now;
        } else {
            at_work.tell();
            shared.hub.wait(events, false);
        }
        shared.rung.swap(false, Ordering::AcqRel);
    }

    fn count_used(&self, awake_since: &mut Instant) {
        let now = Instant::now();
        let awake_us = now.duration_since(*awake_since).as_micros() as u64;
        self.used_us.fetch_add(awake_us, Ordering::Relaxed);
        *awake_since = now;
    }
}

impl<J, C, E, R: Run<J, C, E>, W: Wake> Serving<J, C, R, E, W> {
    /// Hands over what a job or an edge of this desk has left behind.
    fn deliver<H>(&mut self, shared: &Shared<J, C, R, H, W>, desk: &Arc<Desk<J, C, R, W>>)
    where
        H: Hub<Edge = E>,
    {
        loop {
            if !self.hands.done.is_empty() {
                self.turn_to(desk);
            }
            for completion in self.hands.done.drain(..) {
                desk.complete(completion);
                self.untold += 1;
            }
            if self.untold >= TELL_COMPLETIONS {
                self.tell();
            }
            let Some((lane, job)) = self.hands.more.pop() else { return };
            // This worker looks at the inbox before it waits, so nobody need be woken.
            if let Err(job) = shared.push(desk, lane, job) {
                desk.run.run(job, &mut self.scratch, &mut self.hands);
            }
        }
    }

    /// The next completions are for this desk.
    fn turn_to(&mut self, desk: &Arc<Desk<J, C, R, W>>) {
        if !self.desk.as_ref().is_some_and(|last| Arc::ptr_eq(last, desk)) {
            self.tell();
            self.desk = Some(desk.clone());
        }
    }

    /// Notifies the main thread of what has been delivered. A main thread that is woken for each completion would find
    /// them one at a time.
    fn tell(&mut self) {
        self.untold = 0;
        if let Some(desk) = self.desk.take() {
            desk.main.notify(true);
        }
    }
}
