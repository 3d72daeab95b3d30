//! What the threads that do a link's I/O note of its times: the last read, and when its PINGs leave and are answered.
//!
//! Owns the stamps of both, and the rule by which a PONG is the answer to a PING. The job that reads or writes sets them,
//! on whatever thread it runs, so they are right while the main loop hangs. Decides nothing.
//!
//! **Which PONG answers.** A heartbeat carries no number, but a peer answers a PING on the link that it came on, and in
//! order. What it sends of its own accord, as a PONG to all, goes out on a link that it has dialled, on which we send no
//! PING. So a PING is stamped when none is on its way on its link, and the next PONG there is its answer. PINGs that
//! follow while it is on its way are counted, and until their PONGs have come too no other is stamped: one of those
//! could be taken for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::gossip::NodeTimes;

/// So long after the last stamp, the PONGs that still have not come are given up: a peer may withhold one. A link that is
/// any good is not without an answer for so long.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// A link's times. Only one job at a time reads on a link, and only one writes.
#[derive(Debug)]
pub(crate) struct LinkTimes {
    clock_zero: Instant,
    /// When bytes last came in: milliseconds since `clock_zero`, plus one; 0 means never. Failure detection reads it
    /// (R23). Relaxed, as it stands alone.
    read_at_ms: AtomicU64,
    /// How many PINGs were given to the kernel whose PONG was not read.
    on_way: AtomicU64,
    /// When the PING left that is to be measured: microseconds since `clock_zero`, plus one; 0 once it is answered.
    stamped_at_us: AtomicU64,
    /// The same of the last one that was stamped, answered or not. For the job that writes alone.
    last_stamp_us: AtomicU64,
    /// Of the node that the link was dialled to; none for a link on which we send no PING.
    node: Option<Arc<NodeTimes>>,
}

impl LinkTimes {
    /// `node` gets the round trips.
    pub(crate) fn new(clock_zero: Instant, node: Option<Arc<NodeTimes>>) -> Arc<Self> {
        let (read_at_ms, on_way, stamped_at_us, last_stamp_us) = Default::default();
        Arc::new(Self { clock_zero, read_at_ms, on_way, stamped_at_us, last_stamp_us, node })
    }

    /// Bytes have come in.
    pub(crate) fn touch(&self) {
        let now_ms = self.clock_zero.elapsed().as_millis() as u64 + 1;
        self.read_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Milliseconds since the last read; `None` before the first.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        match self.read_at_ms.load(Ordering::Relaxed) {
            0 => None,
            at_ms => Some((self.clock_zero.elapsed().as_millis() as u64 + 1).saturating_sub(at_ms)),
        }
    }

    /// So many PINGs are about to be given to the kernel. To be called before they are: their PONGs may be read at once,
    /// on another thread.
    pub(crate) fn pings_go(&self, pings: u64) {
        if pings > 0 && self.node.is_some() {
            self.pings_go_at(pings, Instant::now());
        }
    }

    /// So many PONGs were read.
    pub(crate) fn pongs_came(&self, pongs: u64) {
        if pongs > 0
            && let Some(node) = &self.node
        {
            self.pongs_came_at(pongs, node, Instant::now());
        }
    }

    fn us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.clock_zero).as_micros() as u64 + 1
    }

    fn pings_go_at(&self, pings: u64, now: Instant) {
        let now_us = self.us(now);
        let last_us = self.last_stamp_us.load(Ordering::Relaxed);
        let is_given_up = u128::from(now_us - last_us.min(now_us)) > GIVEN_UP.as_micros();
        if is_given_up {
            self.on_way.store(0, Ordering::Relaxed);
        }
        // Acquire and Release order the stamp between the two jobs: who sees the count has the stamp.
        if self.on_way.load(Ordering::Acquire) == 0 {
            self.last_stamp_us.store(now_us, Ordering::Relaxed);
            self.stamped_at_us.store(now_us, Ordering::Relaxed);
        }
        self.on_way.fetch_add(pings, Ordering::Release);
    }

    fn pongs_came_at(&self, pongs: u64, node: &NodeTimes, now: Instant) {
        let fewer = |on_way: u64| on_way.checked_sub(pongs).or(Some(0));
        let on_way = self.on_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
        if matches!(on_way, Ok(0) | Err(_)) {
            // It answers no PING of ours.
            return;
        }
        let stamped_at_us = self.stamped_at_us.swap(0, Ordering::Relaxed);
        if stamped_at_us > 0 {
            let took = Duration::from_micros(self.us(now).saturating_sub(stamped_at_us));
            node.round_trip().add(took, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::RoundTripTimes;

    const MS: Duration = Duration::from_millis(1);

    /// A link to a node, whose clock begins at `zero`.
    struct Rig {
        zero: Instant,
        node: Arc<NodeTimes>,
        times: Arc<LinkTimes>,
    }

    impl Rig {
        fn new() -> Self {
            let (zero, node) = (Instant::now(), Arc::<NodeTimes>::default());
            Self { zero, times: LinkTimes::new(zero, Some(node.clone())), node }
        }

        fn pings(&self, at: Duration, pings: u64) {
            self.times.pings_go_at(pings, self.zero + at);
        }

        fn pongs(&self, at: Duration, pongs: u64) {
            self.times.pongs_came_at(pongs, &self.node, self.zero + at);
        }

        fn greatest_us(&self) -> Option<u64> {
            self.node.round_trip_times().map(|times| times.greatest_us)
        }
    }

    #[test]
    fn a_round_trip_lasts_from_the_ping_to_its_pong() {
        let rig = Rig::new();
        rig.pings(2 * MS, 1);
        assert_eq!(rig.greatest_us(), None);
        rig.pongs(5 * MS, 1);
        let times = RoundTripTimes { average_us: 3_000, greatest_us: 3_000 };
        assert_eq!(rig.node.round_trip_times(), Some(times));
    }

    #[test]
    fn a_pong_that_answers_nothing_is_no_round_trip() {
        let rig = Rig::new();
        rig.pongs(MS, 1);
        assert_eq!(rig.greatest_us(), None);
        rig.pings(2 * MS, 1);
        rig.pongs(3 * MS, 1);
        rig.pongs(900 * MS, 2);
        assert_eq!(rig.greatest_us(), Some(1_000));
        // Nor does it count for a PING to come.
        rig.pings(1_000 * MS, 1);
        rig.pongs(1_004 * MS, 1);
        assert_eq!(rig.greatest_us(), Some(4_000));
    }

    #[test]
    fn of_pings_on_their_way_together_the_first_is_measured() {
        let rig = Rig::new();
        rig.pings(Duration::ZERO, 1);
        rig.pings(4 * MS, 2);
        rig.pongs(5 * MS, 1);
        rig.pongs(6 * MS, 2);
        assert_eq!(rig.greatest_us(), Some(5_000));
    }

    #[test]
    fn the_pong_of_an_earlier_ping_is_not_the_answer_to_a_later_one() {
        let rig = Rig::new();
        rig.pings(Duration::ZERO, 1);
        rig.pings(40 * MS, 1);
        rig.pongs(50 * MS, 1);
        // The next PONG is the second PING's, so the third is not measured.
        rig.pings(89 * MS, 1);
        rig.pongs(90 * MS, 1);
        rig.pongs(139 * MS, 1);
        let times = RoundTripTimes { average_us: 50_000, greatest_us: 50_000 };
        assert_eq!(rig.node.round_trip_times(), Some(times));
        rig.pings(200 * MS, 1);
        rig.pongs(258 * MS, 1);
        assert_eq!(rig.greatest_us(), Some(58_000), "all had come, so this one is measured");
    }

    #[test]
    fn a_pong_that_never_comes_is_given_up() {
        let rig = Rig::new();
        rig.pings(Duration::ZERO, 2);
        rig.pongs(MS, 1);
        let later = GIVEN_UP / 2;
        rig.pings(later, 1);
        rig.pongs(later + 20 * MS, 1);
        assert_eq!(rig.greatest_us(), Some(1_000), "it may be the answer to either");
        let later = GIVEN_UP + MS;
        rig.pings(later, 1);
        rig.pongs(later + 7 * MS, 1);
        assert_eq!(rig.greatest_us(), Some(7_000));
    }

    #[test]
    fn the_figures_of_a_node_go_on_with_its_next_link() {
        let rig = Rig::new();
        rig.pings(Duration::ZERO, 1);
        rig.pongs(8 * MS, 1);
        rig.pings(9 * MS, 1);
        let next = LinkTimes::new(rig.zero, Some(rig.node.clone()));
        next.pings_go_at(1, rig.zero + 100 * MS);
        next.pongs_came_at(1, &rig.node, rig.zero + 116 * MS);
        let times = RoundTripTimes { average_us: 9_000, greatest_us: 16_000 };
        assert_eq!(rig.node.round_trip_times(), Some(times));
    }

    #[test]
    fn a_link_that_we_did_not_dial_measures_nothing() {
        let times = LinkTimes::new(Instant::now(), None);
        times.pings_go(1);
        times.pongs_came(1);
        assert_eq!(times.on_way.load(Ordering::Relaxed), 0);
    }
}
