//! When connections that are not yet useful must have become so (H31). Main thread only.
//!
//! Each kind has one constant wait, so its deadlines come due in the order they were set: a queue, no heap.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::link_id::LinkId;

/// Deadlines of one kind. One that was met stays until it is due; `Links` then finds that nothing is overdue.
pub(super) struct Deadlines {
    wait: Duration,
    due: VecDeque<(Instant, LinkId)>,
}

impl Deadlines {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, due: VecDeque::new() }
    }

    /// How long each may take.
    pub(super) fn wait_ms(&self) -> u128 {
        self.wait.as_millis()
    }

    /// Counts for the link from `now` on.
    pub(super) fn set(&mut self, link: LinkId, now: Instant) {
        self.due.push_back((now + self.wait, link));
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(due, _)| *due)
    }

    /// The link whose deadline is due, oldest first.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<LinkId> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop_front().map(|(_, link)| link)
    }
}
