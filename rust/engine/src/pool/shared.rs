//! What the main thread and the workers share: the inbox with its two lanes, the outbox, where workers wait, and the
//! main thread's waker. Also says what a job is.
//!
//! Holds no thread. `threads` pushes jobs and takes completions, `worker` takes jobs and pushes completions.

use std::collections::VecDeque;

use super::waker::{MainWaker, Wake};
use crate::sync::{AtomicBool, AtomicUsize, BoundedQueue, Condvar, Mutex, Ordering, fence};

/// Which of the inbox's two queues a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Links that are up. Served first.
    Established,
    /// TLS handshakes. Served when the first lane is empty, and first once in every `handshake_turn` jobs.
    Handshake,
}

/// What a job leaves behind: completions for the main thread, and jobs that follow from it.
pub(crate) struct Hands<J, C> {
    pub(crate) done: VecDeque<C>,
    pub(crate) more: Vec<(Lane, J)>,
}

impl<J, C> Default for Hands<J, C> {
    fn default() -> Self {
        Self { done: VecDeque::new(), more: Vec::new() }
    }
}

/// Runs jobs and serves edges, on a worker or on the main thread, by the same code (R3). Must not block or unwind.
pub(crate) trait Run<J, C, E>: Send + Sync + 'static {
    /// Memory that a thread keeps between jobs.
    type Scratch: Default;
    fn run(&self, job: J, scratch: &mut Self::Scratch, hands: &mut Hands<J, C>);
    /// Serves a link that became ready.
    fn attend(&self, edge: E, scratch: &mut Self::Scratch, hands: &mut Hands<J, C>);
}

/// Where workers wait for links to become ready, and are woken for jobs.
pub(crate) trait Hub: Send + Sync + 'static {
    /// What became ready.
    type Edge;
    /// What a wait fills.
    type Events: Default;
    /// Waits until something is ready or, unless it `blocks`, only looks. Each edge goes to one waiter.
    fn wait(&self, events: &mut Self::Events, blocks: bool);
    /// Takes an edge out of what a wait has filled.
    fn next(&self, events: &mut Self::Events) -> Option<Self::Edge>;
    /// Ends one worker's wait or, if none waits, the next one.
    fn ring(&self);
    /// While the alarm is on, no wait blocks.
    fn alarm(&self, is_on: bool);
}

/// The queues, the waker, and the settings that workers read.
pub(crate) struct Shared<J, C, H, W: Wake> {
    established: BoundedQueue<J>,
    handshakes: BoundedQueue<J>,
    outbox: BoundedQueue<C>,
    /// Completions for which the outbox had no room, in order. While it holds any, all that follow join it. Bounded by
    /// the number of links: one that has told of something is not worked on until the main thread has heard of it.
    overflow: Mutex<VecDeque<C>>,
    /// How many `overflow` holds. Changed under its lock.
    overflow_len: AtomicUsize,
    pub(crate) main: MainWaker<W>,
    pub(super) hub: H,
    handshake_turn: u32,
    /// Jobs in the inbox or at work.
    pending: AtomicUsize,
    /// Workers that wait at the hub or are about to. A worker raises it before its last look at the inbox, and a
    /// dispatch reads it after its push; SeqCst fences order the two.
    pub(super) waiting: AtomicUsize,
    /// The hub's bell was rung, and no worker has looked at the inbox since. Every change is a swap.
    pub(super) rung: AtomicBool,
    /// Workers in the midst of a handshake.
    handshaking: AtomicUsize,
    /// How many workers there are.
    pub(super) workers: AtomicUsize,
    /// How many of them, the first ones, are active; the others sit on the bench.
    pub(super) active: AtomicUsize,
    /// How often the active workers were found too few.
    pub(super) saturations: AtomicUsize,
    bench: Mutex<()>,
    called: Condvar,
}

impl<J, C, H: Hub, W: Wake> Shared<J, C, H, W> {
    pub(super) fn new(inbox: usize, outbox: usize, handshake_turn: u32, hub: H, waker: W) -> Self {
        Self {
            established: BoundedQueue::new(inbox),
            handshakes: BoundedQueue::new(inbox),
            outbox: BoundedQueue::new(outbox),
            overflow: Mutex::new(VecDeque::new()),
            overflow_len: AtomicUsize::new(0),
            main: MainWaker::new(waker),
            hub,
            handshake_turn,
            pending: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            rung: AtomicBool::new(false),
            handshaking: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            saturations: AtomicUsize::new(0),
            bench: Mutex::new(()),
            called: Condvar::new(),
        }
    }

    // ---- the inbox

    /// Adds a job. Gives it back if the lane is full. Wakes nobody.
    pub(super) fn push(&self, lane: Lane, job: J) -> Result<(), J> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let pushed = self.lane(lane).push(job);
        if pushed.is_err() {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
        pushed
    }

    fn lane(&self, lane: Lane) -> &BoundedQueue<J> {
        match lane {
            Lane::Established => &self.established,
            Lane::Handshake => &self.handshakes,
        }
    }

    /// The next job for a worker, and its lane; `handshake_is_done` must follow one of the second lane. `turn` counts the
    /// looks: every `handshake_turn`th one starts at the second lane.
    pub(super) fn next_job(&self, turn: &mut u32) -> Option<(J, Lane)> {
        *turn = turn.wrapping_add(1);
        let established = || Some((self.established.pop()?, Lane::Established));
        let handshake = || Some((self.next_handshake()?, Lane::Handshake));
        match turn.is_multiple_of(self.handshake_turn) {
            true => handshake().or_else(established),
            false => established().or_else(handshake),
        }
    }

    /// The next handshake, unless too many are at work.
    fn next_handshake(&self) -> Option<J> {
        let most = self.handshakes_at_work_max();
        let one_more = |count: usize| (count < most).then_some(count + 1);
        let counted = &self.handshaking;
        counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let job = self.handshakes.pop();
        if job.is_none() {
            self.handshake_is_done();
        }
        job
    }

    pub(super) fn handshake_is_done(&self) {
        self.handshaking.fetch_sub(1, Ordering::Relaxed);
    }

    /// Any job, when there is no worker left.
    pub(super) fn leftover(&self) -> Option<J> {
        self.established.pop().or_else(|| self.handshakes.pop())
    }

    /// The job that a worker takes is done. Tells a main thread that waits for all jobs.
    pub(super) fn job_is_done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.main.notify(false);
        }
    }

    /// A job was taken by a thread that does not tell of its end.
    pub(super) fn job_was_left(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn inbox_is_empty(&self) -> bool {
        self.established.is_empty() && self.handshakes.is_empty()
    }

    pub(super) fn inbox_len(&self) -> usize {
        self.established.len() + self.handshakes.len()
    }

    /// How many handshakes may be at work: one worker is kept free of them, if there are two.
    fn handshakes_at_work_max(&self) -> usize {
        self.workers.load(Ordering::Relaxed).saturating_sub(1).max(1)
    }

    /// Whether there is a job that a worker may begin.
    pub(super) fn has_jobs(&self) -> bool {
        let may_handshake =
            || self.handshaking.load(Ordering::Relaxed) < self.handshakes_at_work_max();
        !self.established.is_empty() || (!self.handshakes.is_empty() && may_handshake())
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// A job was pushed: wakes a worker if one waits.
    pub(super) fn ring_for_job(&self) {
        // Pairs with the fence in `Worker::wait`. Here: push, then look for waiting workers. There: say that it waits,
        // then look for jobs.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 && !self.rung.swap(true, Ordering::AcqRel) {
            self.hub.ring();
        }
    }

    // ---- the outbox

    /// Adds a completion, behind all that this thread has added before.
    pub(super) fn complete(&self, completion: C) {
        if self.overflow_len.load(Ordering::Acquire) == 0 {
            let Err(refused) = self.outbox.push(completion) else { return };
            return self.overflow(refused);
        }
        self.overflow(completion);
    }

    fn overflow(&self, completion: C) {
        let mut overflow = lock(&self.overflow);
        overflow.push_back(completion);
        self.overflow_len.store(overflow.len(), Ordering::Release);
    }

    /// Takes the completions that are there, oldest first; at most about `limit`.
    pub(super) fn collect(&self, limit: usize, mut apply: impl FnMut(C)) {
        for _ in 0..limit {
            let Some(completion) = self.outbox.pop() else { break };
            apply(completion);
        }
        if self.overflow_len.load(Ordering::Acquire) > 0 {
            let overflow = {
                let mut overflow = lock(&self.overflow);
                // What is in the outbox by now came before what is in the overflow, whoever it is from.
                while let Some(completion) = self.outbox.pop() {
                    apply(completion);
                }
                self.overflow_len.store(0, Ordering::Release);
                std::mem::take(&mut *overflow)
            };
            overflow.into_iter().for_each(apply);
        }
    }

    pub(super) fn completions_len(&self) -> usize {
        self.outbox.len() + self.overflow_len.load(Ordering::Acquire)
    }

    pub(super) fn has_completions(&self) -> bool {
        self.completions_len() > 0
    }

    // ---- how many workers are active

    /// The active workers are too few: one more is called from the bench, if one sits there.
    pub(super) fn call_one_more(&self) {
        let (active, workers) = (&self.active, self.workers.load(Ordering::Relaxed));
        self.saturations.fetch_add(1, Ordering::Relaxed);
        let more = |active: usize| (active < workers).then_some(active + 1);
        if active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            self.call_all();
        }
    }

    /// Has every worker on the bench look whether it must leave it.
    pub(super) fn call_all(&self) {
        let _bench = lock(&self.bench);
        self.called.notify_all();
    }

    /// Sits on the bench until `is_called`.
    pub(super) fn sit_until(&self, is_called: impl Fn() -> bool) {
        let mut bench = lock(&self.bench);
        while !is_called() {
            bench = self.called.wait(bench).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
