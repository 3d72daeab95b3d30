//! What the main thread and the workers share: the inbox with its two lanes, the outbox and the main thread's waker.
//! Also says what a job is.
//!
//! Holds no thread. `threads` pushes jobs and takes completions, `worker` takes jobs and pushes completions.

use super::waker::{MainWaker, Wake};
use crate::sync::BoundedQueue;

/// Which of the inbox's two queues a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Links that are up. Served first.
    Established,
    /// TLS handshakes. Served when the first lane is empty, and first once in every `handshake_turn` jobs.
    Handshake,
}

/// Runs jobs, on a worker or on the main thread, by the same code (R3).
pub(crate) trait Run<J, C>: Send + Sync + 'static {
    /// Memory that a thread keeps between jobs.
    type Scratch: Default;
    /// Runs the job and returns its completion. Must not block and must not unwind.
    fn run(&self, job: J, scratch: &mut Self::Scratch) -> C;
    /// Whether the main thread must be woken for it. If not, it waits for the main thread's next step, unless the main
    /// thread waits for all completions.
    fn is_urgent(&self, completion: &C) -> bool;
}

/// The queues, the waker, and the settings that workers read.
pub(crate) struct Shared<J, C, W: Wake> {
    established: BoundedQueue<J>,
    handshakes: BoundedQueue<J>,
    pub(crate) outbox: BoundedQueue<C>,
    pub(crate) main: MainWaker<W>,
    handshake_turn: u32,
}

impl<J, C, W: Wake> Shared<J, C, W> {
    pub(super) fn new(inbox: usize, outbox: usize, handshake_turn: u32, waker: W) -> Self {
        Self {
            established: BoundedQueue::new(inbox),
            handshakes: BoundedQueue::new(inbox),
            outbox: BoundedQueue::new(outbox),
            main: MainWaker::new(waker),
            handshake_turn,
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> &BoundedQueue<J> {
        match lane {
            Lane::Established => &self.established,
            Lane::Handshake => &self.handshakes,
        }
    }

    /// The next job and its lane. `turn` counts the worker's looks: every `handshake_turn`th one starts at the second
    /// lane.
    pub(super) fn next_job(&self, turn: &mut u32) -> Option<(J, Lane)> {
        *turn = turn.wrapping_add(1);
        let lanes = match turn.is_multiple_of(self.handshake_turn) {
            true => [Lane::Handshake, Lane::Established],
            false => [Lane::Established, Lane::Handshake],
        };
        lanes.into_iter().find_map(|lane| Some((self.lane(lane).pop()?, lane)))
    }

    pub(super) fn inbox_is_empty(&self) -> bool {
        self.established.is_empty() && self.handshakes.is_empty()
    }

    pub(super) fn inbox_len(&self) -> usize {
        self.established.len() + self.handshakes.len()
    }
}
