//! What one engine has in a pool: how its jobs are run, its outbox, and the waker of its main thread.
//!
//! Workers deliver here what a job of this engine leaves behind. Knows no other engine. Any thread.

use std::collections::VecDeque;

use super::waker::{MainWaker, Wake};
use crate::sync::{AtomicUsize, BoundedQueue, Mutex, Ordering};

/// Tells the desks of a pool apart. The number of one that has left is not soon given again.
pub(crate) type DeskNumber = u16;

pub(crate) struct Desk<J, C, R, W: Wake> {
    pub(crate) number: DeskNumber,
    pub(super) run: R,
    pub(crate) main: MainWaker<W>,
    outbox: BoundedQueue<C>,
    /// Completions for which the outbox had no room, in order. While it holds any, all that follow join it. Bounded by
    /// the number of links: one that has told of something is not worked on until the main thread has heard of it.
    overflow: Mutex<VecDeque<C>>,
    /// How many `overflow` holds. Changed under its lock.
    overflow_len: AtomicUsize,
    /// Jobs that the last worker has left, for the main thread.
    left: Mutex<Vec<J>>,
    /// Jobs in the inbox or at work.
    pending: AtomicUsize,
    /// Edges at work. Raised under the lock of the list of desks (Relaxed), counted off with Release, read with Acquire
    /// by a main thread that waits for the last one to end.
    attended: AtomicUsize,
}

impl<J, C, R, W: Wake> Desk<J, C, R, W> {
    pub(super) fn new(number: DeskNumber, run: R, outbox: usize, waker: W) -> Self {
        Self {
            number,
            run,
            main: MainWaker::new(waker),
            outbox: BoundedQueue::new(outbox),
            overflow: Mutex::new(VecDeque::new()),
            overflow_len: AtomicUsize::new(0),
            left: Mutex::new(Vec::new()),
            pending: AtomicUsize::new(0),
            attended: AtomicUsize::new(0),
        }
    }

    // ---- what is under way

    pub(super) fn job_is_added(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// The job that a worker takes is done. Tells a main thread that waits for all jobs.
    pub(super) fn job_is_done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.main.notify(false);
        }
    }

    /// A job was not taken after all.
    pub(super) fn job_is_refused(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// The last worker is gone, and has left a job of this engine in the inbox.
    pub(super) fn job_is_left(&self, job: J) {
        lock(&self.left).push(job);
        self.pending.fetch_sub(1, Ordering::Release);
        self.main.notify(true);
    }

    /// The jobs that the last worker has left.
    pub(super) fn take_left(&self) -> Vec<J> {
        std::mem::take(&mut lock(&self.left))
    }

    pub(super) fn has_left(&self) -> bool {
        !lock(&self.left).is_empty()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    pub(super) fn edge_is_begun(&self) {
        self.attended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn edge_is_done(&self) {
        self.attended.fetch_sub(1, Ordering::Release);
    }

    /// Whether no worker works for this engine, and nothing of it waits in the inbox.
    pub(super) fn is_left_alone(&self) -> bool {
        // In this order: an edge may leave a job behind, which is counted before the edge is counted off.
        self.attended.load(Ordering::Acquire) == 0 && self.pending() == 0
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
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
