//! How long PINGs to one node take until their PONG is read: the moving average, and the greatest of late.
//!
//! Owns these figures of a node; they outlive its links. The job that reads on our link to the node adds to them, on
//! whatever thread it runs; any thread reads them. Knows nothing of links: `transport/times` decides what a round trip is.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The weight of a new round trip in the average is one in so many, as for TCP's smoothed round-trip time (RFC 6298).
const WEIGHT: u64 = 8;
/// The greatest round trip is that of this window and the one before. One bad minute is seen at several scrapes, and
/// is forgotten soon enough to show that it is over.
const WINDOW: Duration = Duration::from_secs(60);
/// The instant that windows are counted from, in this process.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The round trips of PINGs to one node. Relaxed throughout: each value stands alone, and a node has one link that takes
/// PINGs at a time.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
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

/// Round trips to a node, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTripTimes {
    /// The moving average.
    pub average_us: u64,
    /// The greatest of the last minute or two; of the last window that had one, if none is as recent as that.
    pub greatest_us: u64,
}

impl RoundTrip {
    /// The answer to a PING was read at `now`.
    pub(crate) fn add(&self, took: Duration, now: Instant) {
        self.add_in(window_of(now), took);
    }

    /// None before the first PONG.
    pub(crate) fn times(&self, now: Instant) -> Option<RoundTripTimes> {
        self.times_in(window_of(now))
    }

    fn add_in(&self, window: u64, took: Duration) {
        let took_us = (took.as_micros() as u64).min(u64::from(u32::MAX));
        let average = match self.average.load(Ordering::Relaxed) {
            0 => took_us * WEIGHT,
            average => average - 1 - (average - 1) / WEIGHT + took_us,
        };
        self.average.store(average + 1, Ordering::Relaxed);
        let (latest, greatest_us) = self.latest.load();
        if latest == window {
            self.latest.store(window, greatest_us.max(took_us));
        } else {
            self.before.store(latest, greatest_us);
            self.latest.store(window, took_us);
        }
    }

    fn times_in(&self, window: u64) -> Option<RoundTripTimes> {
        let average_us = self.average.load(Ordering::Relaxed).checked_sub(1)? / WEIGHT;
        let (latest, of_latest_us) = self.latest.load();
        let (before, of_before_us) = self.before.load();
        // While no PONG comes the last figures stay, so those of a node that has gone are to be seen.
        let first = window.saturating_sub(1).min(latest);
        let greatest_us =
            if before >= first { of_latest_us.max(of_before_us) } else { of_latest_us };
        Some(RoundTripTimes { average_us, greatest_us })
    }
}

fn window_of(now: Instant) -> u64 {
    now.saturating_duration_since(*ZERO).as_secs() / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(average_us: u64, greatest_us: u64) -> Option<RoundTripTimes> {
        Some(RoundTripTimes { average_us, greatest_us })
    }

    #[test]
    fn a_new_round_trip_weighs_an_eighth() {
        let round_trip = RoundTrip::default();
        assert_eq!(round_trip.times_in(0), None);
        round_trip.add_in(0, 3 * MS);
        assert_eq!(round_trip.times_in(0), times(3_000, 3_000));
        round_trip.add_in(0, 11 * MS);
        assert_eq!(round_trip.times_in(0), times(4_000, 11_000));
    }

    #[test]
    fn the_greatest_is_that_of_this_minute_and_the_one_before() {
        let round_trip = RoundTrip::default();
        let greatest_us = |window| round_trip.times_in(window).map(|times| times.greatest_us);
        round_trip.add_in(4, 50 * MS);
        round_trip.add_in(5, MS);
        assert_eq!(greatest_us(5), Some(50_000));
        assert_eq!(greatest_us(6), Some(1_000));
        round_trip.add_in(6, 2 * MS);
        assert_eq!(greatest_us(6), Some(2_000));
    }

    #[test]
    fn what_was_measured_last_stays_while_no_pong_comes() {
        let round_trip = RoundTrip::default();
        round_trip.add_in(3, 7 * MS);
        round_trip.add_in(8, 5 * MS);
        assert_eq!(round_trip.times_in(90), times(6_750, 5_000));
    }

    #[test]
    fn the_windows_are_minutes_of_the_clock() {
        let round_trip = RoundTrip::default();
        let (now, later) = (Instant::now(), Instant::now() + 3 * WINDOW);
        round_trip.add(50 * MS, now);
        round_trip.add(MS, later);
        assert_eq!(round_trip.times(later).map(|times| times.greatest_us), Some(1_000));
        round_trip.add(2 * MS, later + WINDOW);
        assert_eq!(round_trip.times(later + WINDOW).map(|times| times.greatest_us), Some(2_000));
    }
}
