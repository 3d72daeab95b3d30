//! Deadlines by which a connection must have become useful (H31). Main thread only.
//!
//! All deadlines of one kind have the same wait, so they come due in the order in which they were set: a queue is
//! enough.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::link_id::LinkId;

/// Deadlines of one kind. A deadline that was met stays in the queue until it is due; `Links` then finds that nothing
/// is overdue.
pub(super) struct Deadlines {
    wait: Duration,
    due: VecDeque<(Instant, LinkId)>,
}

impl Deadlines {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, due: VecDeque::new() }
    }

    /// The time from setting a deadline until it is due.
    pub(super) fn wait_ms(&self) -> u128 {
        self.wait.as_millis()
    }

    /// Sets a deadline for the link, counted from `now`.
    pub(super) fn set(&mut self, link: LinkId, now: Instant) {
        self.due.push_back((now + self.wait, link));
    }

    /// When the next deadline is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(due, _)| *due)
    }

    /// Takes the oldest deadline that is due and returns its link.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<LinkId> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop_front().map(|(_, link)| link)
    }
}
