//! What the threads that do a link's I/O note of its times: the last read, and how long its PINGs take.
//!
//! Owns the stamps of both. The job that reads or writes sets them, on whatever thread it runs, so they are right while
//! the main loop hangs; the main thread reads them. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The weight of a new round trip in the average is one in so many, as for TCP's smoothed round-trip time (RFC 6298).
const WEIGHT: u64 = 8;
/// The greatest round trip is that of this minute and the one before.
const WINDOW: Duration = Duration::from_secs(60);

/// A link's times. Relaxed throughout: each value stands alone, and only one job at a time reads on a link.
#[derive(Debug)]
pub(crate) struct LinkTimes {
    clock_zero: Instant,
    /// When bytes last came in: milliseconds since `clock_zero`, plus one; 0 means never. Failure detection reads it
    /// (R23).
    read_at_ms: AtomicU64,
    round_trip: RoundTrip,
}

/// How long PINGs on a link take until their PONG is read.
#[derive(Debug, Default)]
struct RoundTrip {
    /// When the first PING that awaits its PONG was given to the kernel: microseconds since `clock_zero`, plus one; 0
    /// means that none does.
    pinged_at_us: AtomicU64,
    /// The moving average in microseconds, times [`WEIGHT`], plus one; 0 means that no PONG has come.
    average: AtomicU64,
    /// The greatest of this window, and that of the window before.
    latest: Greatest,
    before: Greatest,
}

/// The greatest round trip of one window: its number in the upper half, microseconds in the lower one.
#[derive(Debug, Default)]
struct Greatest(AtomicU64);

impl Greatest {
    fn load(&self) -> (u64, u64) {
        let packed = self.0.load(Ordering::Relaxed);
        (packed >> 32, packed & u64::from(u32::MAX))
    }

    fn store(&self, window: u64, took_us: u64) {
        self.0.store(window << 32 | took_us, Ordering::Relaxed);
    }
}

/// Round trips of a link, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTripTimes {
    /// The moving average.
    pub average_us: u64,
    /// The greatest of the last minute or two.
    pub greatest_us: u64,
}

impl LinkTimes {
    pub(crate) fn new(clock_zero: Instant) -> Arc<Self> {
        let (read_at_ms, round_trip) = Default::default();
        Arc::new(Self { clock_zero, read_at_ms, round_trip })
    }

    /// Bytes have come in.
    pub(crate) fn touch(&self) {
        self.read_at_ms.store(self.now().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    /// Milliseconds since the last read; `None` before the first.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        match self.read_at_ms.load(Ordering::Relaxed) {
            0 => None,
            at_ms => Some((self.now().as_millis() as u64 + 1).saturating_sub(at_ms)),
        }
    }

    /// A PING is about to be given to the kernel. Peers answer in order, so while one is on its way the next PONG is its
    /// answer, and the stamp stays.
    pub(crate) fn ping_goes(&self) {
        self.round_trip.ping_goes(self.now());
    }

    /// A PONG was read.
    pub(crate) fn pong_came(&self) {
        self.round_trip.pong_came(self.now());
    }

    /// None before the first PONG.
    pub(crate) fn round_trip(&self) -> Option<RoundTripTimes> {
        self.round_trip.times(self.now())
    }

    fn now(&self) -> Duration {
        self.clock_zero.elapsed()
    }
}

fn window_of(now: Duration) -> u64 {
    now.as_secs() / WINDOW.as_secs()
}

impl RoundTrip {
    fn ping_goes(&self, now: Duration) {
        let now_us = now.as_micros() as u64 + 1;
        let _ = self.pinged_at_us.compare_exchange(0, now_us, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A PONG that answers no PING of ours, as one that a peer sends to all, is no round trip.
    fn pong_came(&self, now: Duration) {
        let pinged_at_us = self.pinged_at_us.swap(0, Ordering::Relaxed);
        if pinged_at_us == 0 {
            return;
        }
        let took_us = (now.as_micros() as u64 + 1).saturating_sub(pinged_at_us);
        let took_us = took_us.min(u64::from(u32::MAX));
        let average = match self.average.load(Ordering::Relaxed) {
            0 => took_us * WEIGHT,
            average => average - 1 - (average - 1) / WEIGHT + took_us,
        };
        self.average.store(average + 1, Ordering::Relaxed);
        let (window, (latest, greatest_us)) = (window_of(now), self.latest.load());
        if latest == window {
            self.latest.store(window, greatest_us.max(took_us));
        } else {
            self.before.store(latest, greatest_us);
            self.latest.store(window, took_us);
        }
    }

    fn times(&self, now: Duration) -> Option<RoundTripTimes> {
        let average_us = self.average.load(Ordering::Relaxed).checked_sub(1)? / WEIGHT;
        let first = window_of(now).saturating_sub(1);
        let recent = [self.latest.load(), self.before.load()];
        let recent = recent.into_iter().filter(|(window, _)| *window >= first);
        let greatest_us = recent.map(|(_, took_us)| took_us).max().unwrap_or(average_us);
        Some(RoundTripTimes { average_us, greatest_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn took(round_trip: &RoundTrip, sent_at: Duration, took: Duration) {
        round_trip.ping_goes(sent_at);
        round_trip.pong_came(sent_at + took);
    }

    fn times(average_us: u64, greatest_us: u64) -> Option<RoundTripTimes> {
        Some(RoundTripTimes { average_us, greatest_us })
    }

    #[test]
    fn a_round_trip_lasts_from_the_ping_to_its_pong() {
        let round_trip = RoundTrip::default();
        assert_eq!(round_trip.times(MS), None);
        took(&round_trip, Duration::ZERO, 3 * MS);
        assert_eq!(round_trip.times(MS), times(3_000, 3_000));
        // An eighth of the way to the new one.
        took(&round_trip, 10 * MS, 11 * MS);
        assert_eq!(round_trip.times(MS), times(4_000, 11_000));
    }

    #[test]
    fn a_pong_that_answers_nothing_is_no_round_trip() {
        let round_trip = RoundTrip::default();
        round_trip.pong_came(MS);
        assert_eq!(round_trip.times(MS), None);
        took(&round_trip, 2 * MS, MS);
        round_trip.pong_came(900 * MS);
        assert_eq!(round_trip.times(MS), times(1_000, 1_000));
    }

    #[test]
    fn of_two_pings_on_their_way_the_first_is_measured() {
        let round_trip = RoundTrip::default();
        round_trip.ping_goes(Duration::ZERO);
        round_trip.ping_goes(4 * MS);
        round_trip.pong_came(5 * MS);
        round_trip.pong_came(6 * MS);
        assert_eq!(round_trip.times(MS), times(5_000, 5_000));
    }

    #[test]
    fn the_greatest_is_forgotten_after_a_minute_or_two() {
        let round_trip = RoundTrip::default();
        took(&round_trip, WINDOW - 100 * MS, 50 * MS);
        took(&round_trip, WINDOW, MS);
        assert_eq!(round_trip.times(WINDOW).map(|times| times.greatest_us), Some(50_000));
        took(&round_trip, 2 * WINDOW, 2 * MS);
        assert_eq!(round_trip.times(2 * WINDOW).map(|times| times.greatest_us), Some(2_000));
        let average_us = round_trip.times(WINDOW).expect("there were PONGs").average_us;
        assert_eq!(round_trip.times(9 * WINDOW), times(average_us, average_us), "none is recent");
    }
}
