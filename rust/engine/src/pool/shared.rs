//! What all engines of a pool and its workers share: the inbox with its two lanes, where workers wait, and the list of
//! desks. Also says what a job is.
//!
//! Holds no thread. `threads` pushes jobs, `worker` takes them; what belongs to one engine is in its desk.

use std::collections::VecDeque;
use std::sync::Arc;

use super::desk::{Desk, DeskNumber, lock};
use super::waker::Wake;
use crate::sync::{AtomicBool, AtomicUsize, BoundedQueue, Condvar, Mutex, Ordering, RwLock, fence};

/// Numbers that desks can have, and so the most engines that one pool serves.
pub(crate) const DESKS_MAX: usize = DeskNumber::MAX as usize;

/// A job, and whose it is.
pub(super) struct Errand<J, C, R, W: Wake> {
    pub(super) desk: Arc<Desk<J, C, R, W>>,
    pub(super) job: J,
}

/// A desk, or nothing where a number is free.
type Place<J, C, R, W> = Option<Arc<Desk<J, C, R, W>>>;

/// All desks, by number.
struct Desks<J, C, R, W: Wake> {
    places: Vec<Place<J, C, R, W>>,
    /// Where the search for a free number begins.
    next: usize,
}

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
    /// Takes an edge out of what a wait has filled, and the number of the desk that it is for.
    fn next(&self, events: &mut Self::Events) -> Option<(DeskNumber, Self::Edge)>;
    /// Ends one worker's wait or, if none waits, the next one.
    fn ring(&self);
    /// While the alarm is on, no wait blocks.
    fn alarm(&self, is_on: bool);
}

/// The queues, and the settings that workers read.
pub(crate) struct Shared<J, C, R, H, W: Wake> {
    established: BoundedQueue<Errand<J, C, R, W>>,
    handshakes: BoundedQueue<Errand<J, C, R, W>>,
    desks: RwLock<Desks<J, C, R, W>>,
    pub(super) hub: H,
    handshake_turn: u32,
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

impl<J, C, R, H: Hub, W: Wake> Shared<J, C, R, H, W> {
    pub(super) fn new(inbox: usize, handshake_turn: u32, hub: H) -> Self {
        Self {
            established: BoundedQueue::new(inbox),
            handshakes: BoundedQueue::new(inbox),
            desks: RwLock::new(Desks { places: Vec::new(), next: 0 }),
            hub,
            handshake_turn,
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

    // ---- the desks

    fn change_desks<T>(&self, change: impl FnOnce(&mut Desks<J, C, R, W>) -> T) -> T {
        change(&mut self.desks.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Gives a desk a number. None when the pool serves as many engines as there are numbers.
    pub(super) fn seat(
        &self,
        make: impl FnOnce(DeskNumber) -> Desk<J, C, R, W>,
    ) -> Option<Arc<Desk<J, C, R, W>>> {
        self.change_desks(|desks| {
            let free = |number: &usize| desks.places.get(*number).is_none_or(Option::is_none);
            let numbers = (0..DESKS_MAX).map(|offset| (desks.next + offset) % DESKS_MAX);
            let number = numbers.into_iter().find(free)?;
            if desks.places.len() <= number {
                desks.places.resize_with(number + 1, || None);
            }
            let desk = Arc::new(make(number as DeskNumber));
            desks.places[number] = Some(desk.clone());
            desks.next = number + 1;
            Some(desk)
        })
    }

    /// From now on no edge finds the desk.
    pub(super) fn unseat(&self, number: DeskNumber) {
        self.change_desks(|desks| desks.places[usize::from(number)] = None);
    }

    /// The desk that an edge is for; `edge_is_done` must follow. None if it has left.
    pub(super) fn desk_for_edge(&self, number: DeskNumber) -> Option<Arc<Desk<J, C, R, W>>> {
        let desks = self.desks.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let desk = desks.places.get(usize::from(number))?.as_ref()?;
        // Under the lock: once a desk has left, no more edges of it are begun.
        desk.edge_is_begun();
        Some(desk.clone())
    }

    // ---- the inbox

    /// Adds a job. Gives it back if the lane is full. Wakes nobody.
    pub(super) fn push(&self, desk: &Arc<Desk<J, C, R, W>>, lane: Lane, job: J) -> Result<(), J> {
        desk.job_is_added();
        let pushed = self.lane(lane).push(Errand { desk: desk.clone(), job });
        pushed.map_err(|errand| {
            desk.job_is_refused();
            errand.job
        })
    }

    fn lane(&self, lane: Lane) -> &BoundedQueue<Errand<J, C, R, W>> {
        match lane {
            Lane::Established => &self.established,
            Lane::Handshake => &self.handshakes,
        }
    }

    /// The next job for a worker, and its lane; `handshake_is_done` must follow one of the second lane. `turn` counts the
    /// looks: every `handshake_turn`th one starts at the second lane.
    pub(super) fn next_job(&self, turn: &mut u32) -> Option<(Errand<J, C, R, W>, Lane)> {
        *turn = turn.wrapping_add(1);
        let established = || Some((self.established.pop()?, Lane::Established));
        let handshake = || Some((self.next_handshake()?, Lane::Handshake));
        match turn.is_multiple_of(self.handshake_turn) {
            true => handshake().or_else(established),
            false => established().or_else(handshake),
        }
    }

    /// The next handshake, unless too many are at work.
    fn next_handshake(&self) -> Option<Errand<J, C, R, W>> {
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
    pub(super) fn leftover(&self) -> Option<Errand<J, C, R, W>> {
        self.established.pop().or_else(|| self.handshakes.pop())
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

    /// A job was pushed: wakes a worker if one waits.
    pub(super) fn ring_for_job(&self) {
        // Pairs with the fence in `Worker::wait`. Here: push, then look for waiting workers. There: say that it waits,
        // then look for jobs.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 && !self.rung.swap(true, Ordering::AcqRel) {
            self.hub.ring();
        }
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
