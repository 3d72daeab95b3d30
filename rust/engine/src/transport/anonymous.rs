//! The budget of what strangers leave unfinished: bytes of partial packets on links whose node is not known (H30).
//!
//! A stranger may send most of a long packet on each of many links, and never the rest. Each link holds some bytes
//! freely, as many as an honest first packet has; what goes beyond comes out of one budget for all links of an engine.
//! Any thread; a link's part belongs to the job that has its receiving half.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget of an engine.
#[derive(Debug)]
pub(crate) struct AnonymousBytes {
    /// The sum of what all [`Held`] hold; never more than `max_bytes`. Relaxed, since the value stands alone: it lends no
    /// memory to another thread, and changes of one atomic come one after another in any case, so the sum is exact.
    held_bytes: AtomicUsize,
    max_bytes: usize,
}

impl AnonymousBytes {
    /// 0 means no limit.
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        let max_bytes = if max_bytes == 0 { usize::MAX } else { max_bytes };
        Arc::new(Self { held_bytes: AtomicUsize::new(0), max_bytes })
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, more_bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(more_bytes).filter(|sum| *sum <= self.max_bytes);
        self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, less_bytes: usize) {
        self.held_bytes.fetch_sub(less_bytes, Ordering::Relaxed);
    }
}

/// The part of the budget that one link holds, given back when it is dropped. Without a budget it holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Held {
    of: Option<Arc<AnonymousBytes>>,
    bytes: usize,
}

impl Held {
    /// A part of `all`, nothing yet.
    pub(crate) fn of(all: &Arc<AnonymousBytes>) -> Self {
        Self { of: Some(all.clone()), bytes: 0 }
    }

    /// From now on the link holds so many. False if that is more than is left: then it holds what it did before.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let Some(all) = &self.of else { return true };
        if bytes > self.bytes {
            if !all.take(bytes - self.bytes) {
                return false;
            }
        } else if bytes < self.bytes {
            all.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }

    /// The link holds nothing any more.
    pub(crate) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let (Some(all), 1..) = (&self.of, bytes) {
            all.give_back(bytes);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn h30_links_hold_the_budget_to_the_byte_and_no_more() {
        let all = AnonymousBytes::new(100);
        let (mut one, mut other) = (Held::of(&all), Held::of(&all));
        assert!(one.hold(60) && other.hold(40));
        assert!(!other.hold(41), "one byte too many");
        assert_eq!(all.held_bytes(), 100, "what did not fit is not counted");
        assert!(one.hold(59) && other.hold(41), "as many as the other gave back");
        assert!(!one.hold(usize::MAX));
        assert_eq!(all.held_bytes(), 100);
    }

    #[test]
    fn h30_what_is_released_or_dropped_is_given_back_once() {
        let all = AnonymousBytes::new(100);
        let mut one = Held::of(&all);
        let mut other = Held::of(&all);
        assert!(one.hold(60) && other.hold(30));
        one.release();
        one.release();
        assert_eq!(all.held_bytes(), 30);
        drop(one);
        assert_eq!(all.held_bytes(), 30);
        drop(other);
        assert_eq!(all.held_bytes(), 0);
    }

    #[test]
    fn h30_zero_is_no_limit_and_is_counted_all_the_same() {
        let all = AnonymousBytes::new(0);
        let mut one = Held::of(&all);
        assert!(one.hold(usize::MAX));
        assert_eq!(all.held_bytes(), usize::MAX);
        let mut unlinked = Held::default();
        assert!(unlinked.hold(usize::MAX), "without a budget nothing counts");
    }

    /// Many threads at once: never more than the budget, and nothing stays behind.
    #[test]
    fn h30_the_sum_is_exact_among_threads() {
        const THREADS: usize = 4;
        const MAX: usize = 1000;
        let all = AnonymousBytes::new(MAX);
        let start = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (all, start) = (&all, &start);
                scope.spawn(move || {
                    let mut held = Held::of(all);
                    start.wait();
                    for step in 0..100_000 {
                        let _ = held.hold((step * (thread + 3)) % (MAX / 2));
                        assert!(all.held_bytes() <= MAX);
                    }
                });
            }
        });
        assert_eq!(all.held_bytes(), 0);
    }
}
