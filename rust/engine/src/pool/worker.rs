//! One I/O thread: takes jobs, runs them, delivers completions, parks. Runs on that thread, except for `wake`,
//! `wake_if_stalled` and `stop`, which the main thread calls.

use std::collections::VecDeque;
#[cfg(not(loom))]
use std::sync::OnceLock;
use std::time::Instant;

use super::shared::{Lane, Run, Shared};
use super::waker::Wake;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, Ordering, Thread, fence, park};
#[cfg(loom)]
use once::OnceLock;

const AWAKE: u8 = 0;
/// Parked with an empty inbox.
const IDLE: u8 = 1;
/// Parked with a backlog for which the outbox had no room.
const STALLED: u8 = 2;

/// A worker notifies the main thread when it has no more jobs, and after this many completions.
const TELL_COMPLETIONS: u32 = 16;
/// A worker that never parks updates its used time once in this many jobs.
const USED_TIME_JOBS: u32 = 64;

#[derive(Default)]
pub(crate) struct Worker {
    /// AWAKE, IDLE or STALLED. The worker sets it before its last look at the queues, and the main thread swaps it to
    /// AWAKE after changing them; SeqCst fences in `park_unless`, `Pool::dispatch`, `Pool::made_room` and `stop` order
    /// the two. Every change is a swap: see `MainWaker`.
    state: AtomicU8,
    /// Set once by the main thread (Release) and read by the worker (Acquire), which then sees everything that was
    /// queued before.
    stopping: AtomicBool,
    /// Microseconds awake. Relaxed, as it is only a statistic.
    pub(crate) used_us: AtomicU64,
    /// The thread to unpark; set before the first dispatch.
    thread: OnceLock<Thread>,
}

impl Worker {
    pub(super) fn announce(&self, thread: Thread) {
        drop(self.thread.set(thread));
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Wakes the worker if it is parked; returns whether it was.
    pub(super) fn wake(&self) -> bool {
        let parked = self.state.load(Ordering::Relaxed) != AWAKE
            && self.state.swap(AWAKE, Ordering::Relaxed) != AWAKE;
        if parked {
            self.unpark();
        }
        parked
    }

    pub(super) fn wake_if_stalled(&self) {
        if self.state.load(Ordering::Relaxed) == STALLED {
            self.wake();
        }
    }

    /// Asks the worker to end after the job at hand.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.wake();
    }

    /// The thread's body. Returns the completions it could not deliver.
    pub(super) fn serve<J, C, R, W>(&self, shared: &Shared<J, C, W>, run: &R) -> VecDeque<C>
    where
        R: Run<J, C>,
        W: Wake,
    {
        let mut backlog = VecDeque::new();
        let mut scratch = R::Scratch::default();
        let mut turn = 0;
        let mut awake_since = Instant::now();
        let mut untold = Untold::default();
        loop {
            untold.add(deliver(shared, run, &mut backlog));
            if self.stopping.load(Ordering::Acquire) {
                untold.tell(shared);
                return backlog;
            }
            if let Some((job, lane)) = shared.next_job(&mut turn) {
                // A handshake takes long, and finished jobs must not wait behind it to be reported.
                if untold.completions >= TELL_COMPLETIONS || lane == Lane::Handshake {
                    untold.tell(shared);
                }
                backlog.push_back(run.run(job, &mut scratch));
                if turn.is_multiple_of(USED_TIME_JOBS) {
                    self.count_used(&mut awake_since);
                }
                continue;
            }
            untold.tell(shared);
            self.count_used(&mut awake_since);
            let state = if backlog.is_empty() { IDLE } else { STALLED };
            self.park_unless(state, || {
                if !shared.inbox_is_empty() || (state == STALLED && !shared.outbox.is_full()) {
                    return true;
                }
                if state == STALLED {
                    // The outbox may be full of completions that are not urgent, for which the main thread was not
                    // woken. This worker needs the outbox emptied.
                    shared.main.notify(true);
                }
                false
            });
            awake_since = Instant::now();
        }
    }

    fn count_used(&self, awake_since: &mut Instant) {
        let now = Instant::now();
        let awake_us = now.duration_since(*awake_since).as_micros() as u64;
        self.used_us.fetch_add(awake_us, Ordering::Relaxed);
        *awake_since = now;
    }

    /// Marks the worker as parked, looks for work once more, then parks until the mark is swapped to AWAKE.
    fn park_unless(&self, state: u8, has_work: impl Fn() -> bool) {
        self.state.swap(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() && !self.stopping.load(Ordering::Relaxed) {
            // `park` may return for no reason, or because of an earlier wake; only the mark says that this wait is
            // over.
            while self.state.load(Ordering::Relaxed) != AWAKE {
                park();
            }
            // Pairs with the fence that the waking thread ran between changing a queue and swapping the mark.
            fence(Ordering::SeqCst);
            return;
        }
        self.state.swap(AWAKE, Ordering::Relaxed);
    }
}

/// Completions in the outbox of which the main thread has not been notified. A worker with more jobs saves up several:
/// a main thread woken for each would find them one at a time.
#[derive(Default)]
struct Untold {
    completions: u32,
    is_urgent: bool,
}

impl Untold {
    fn add(&mut self, other: Self) {
        self.completions += other.completions;
        self.is_urgent |= other.is_urgent;
    }

    fn tell<J, C, W: Wake>(&mut self, shared: &Shared<J, C, W>) {
        let told = std::mem::take(self);
        if told.completions > 0 {
            shared.main.notify(told.is_urgent);
        }
    }
}

/// Moves completions from the backlog to the outbox, oldest first, as long as the outbox has room.
fn deliver<J, C, R: Run<J, C>, W: Wake>(
    shared: &Shared<J, C, W>,
    run: &R,
    backlog: &mut VecDeque<C>,
) -> Untold {
    let mut delivered = Untold::default();
    while let Some(completion) = backlog.pop_front() {
        let is_urgent = run.is_urgent(&completion);
        if let Err(completion) = shared.outbox.push(completion) {
            backlog.push_front(completion);
            break;
        }
        delivered.add(Untold { completions: 1, is_urgent });
    }
    delivered
}

/// loom has no `OnceLock`; a mutex does the same here.
#[cfg(loom)]
mod once {
    pub(super) struct OnceLock<T>(loom::sync::Mutex<Option<T>>);

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self(loom::sync::Mutex::new(None))
        }
    }

    impl<T: Clone> OnceLock<T> {
        pub(super) fn set(&self, value: T) -> Result<(), T> {
            *self.0.lock().expect("the model never poisons its lock") = Some(value);
            Ok(())
        }

        pub(super) fn get(&self) -> Option<T> {
            self.0.lock().expect("the model never poisons its lock").clone()
        }
    }
}
