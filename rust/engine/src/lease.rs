//! The main loop's word that it lives, which lets workers answer for it for a little while.
//!
//! Owns the time until which workers may answer. The main loop renews it at each step; a main loop that hangs does not,
//! and is not answered for any more: it must look dead to its peers. Any thread may read it.

use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, Ordering};

/// A time that lies ahead as long as the main loop lives. All accesses are Relaxed: the time stands alone.
pub(crate) struct Lease {
    clock_zero: Instant,
    /// How far one renewal reaches, microseconds; 0 means that workers never answer.
    len_us: AtomicU64,
    /// Microseconds since `clock_zero`.
    until_us: AtomicU64,
}

impl Lease {
    pub(crate) fn new(clock_zero: Instant, len: Duration) -> Self {
        let lease = Self { clock_zero, len_us: AtomicU64::new(0), until_us: AtomicU64::new(0) };
        lease.set_len(len);
        lease
    }

    fn now_us(&self) -> u64 {
        self.clock_zero.elapsed().as_micros() as u64
    }

    /// Main thread: it lives.
    pub(crate) fn renew(&self) {
        let len_us = self.len_us.load(Ordering::Relaxed);
        let until_us = if len_us == 0 { 0 } else { self.now_us() + len_us };
        self.until_us.store(until_us, Ordering::Relaxed);
    }

    /// Main thread: from now on a renewal reaches this far. A lease that is shorter than before is so at once.
    pub(crate) fn set_len(&self, len: Duration) {
        self.len_us.store(len.as_micros() as u64, Ordering::Relaxed);
        self.renew();
    }

    /// Whether the main loop has shown lately that it lives.
    pub(crate) fn holds(&self) -> bool {
        self.now_us() < self.until_us.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_unless_it_is_renewed() {
        let lease = Lease::new(Instant::now(), Duration::from_millis(2));
        while lease.holds() {
            std::thread::yield_now();
        }
        lease.set_len(Duration::from_secs(60));
        assert!(lease.holds());
        lease.set_len(Duration::ZERO);
        lease.renew();
        assert!(!lease.holds(), "no lease at all");
    }
}
