//! When connections that are not yet useful must have become so (H31). Main thread only.
//!
//! Each kind has one constant wait, so its deadlines come due in the order they were set: a queue, no heap.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::link::LinkId;

type Due = VecDeque<(Instant, LinkId)>;

/// The two queues of deadlines.
#[derive(Default)]
pub(crate) struct Deadlines {
    handshakes: Due,
    first_packets: Due,
}

impl Deadlines {
    /// A dial, or a TLS handshake, began.
    pub(crate) fn expect_open(&mut self, link: LinkId, now: Instant, wait: Duration) {
        self.handshakes.push_back((now + wait, link));
    }

    /// An inbound link is up: its first packet is awaited.
    pub(crate) fn expect_packet(&mut self, link: LinkId, now: Instant, wait: Duration) {
        self.first_packets.push_back((now + wait, link));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let fronts = [self.handshakes.front(), self.first_packets.front()];
        fronts.into_iter().flatten().map(|(due, _)| *due).min()
    }

    pub(crate) fn due_open(&mut self, now: Instant) -> Option<LinkId> {
        pop_due(&mut self.handshakes, now)
    }

    pub(crate) fn due_packet(&mut self, now: Instant) -> Option<LinkId> {
        pop_due(&mut self.first_packets, now)
    }
}

fn pop_due(queue: &mut Due, now: Instant) -> Option<LinkId> {
    match queue.front() {
        Some((due, _)) if *due <= now => queue.pop_front().map(|(_, link)| link),
        _ => None,
    }
}
