//! What the main thread and the workers share: the inbox of two lanes, the outbox, the main thread's waker; and what a
//! job is.
//!
//! Holds no thread. `threads` pushes jobs and takes completions, `worker` the other way round.

use super::waker::{MainWaker, Wake};
use crate::sync::BoundedQueue;

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

    /// The next job. `turn` counts a worker's jobs: every `handshake_turn`th look starts at the second lane.
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
