//! The beat of a paced load: one PING at a time, evenly spaced, on a clock of nanoseconds.
//!
//! Owns a timer of the kernel that epoll waits for (the timeout of `epoll_wait` is rounded to milliseconds). A beat that
//! comes late is never made up for by a burst: the beats before it are counted as missed, and how late it came is told.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::Failure;
use crate::observe::monotonic_ns;

const NS_PER_S: u64 = 1_000_000_000;

/// A beat of the metronome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// How many beats before this one passed unnoticed.
    pub missed: u64,
    /// How long ago it was due.
    pub late_ns: u64,
}

/// A timer that beats at a fixed rate from its start on.
pub struct Metronome {
    timer: OwnedFd,
    started_ns: u64,
    interval_ns: u64,
    beats: u64,
}

impl Metronome {
    /// Starts the beats; the first is due after one interval.
    ///
    /// # Errors
    /// A rate of none, or more than one a nanosecond, or no timer to be had.
    pub fn start(rate_per_s: u64) -> Result<Metronome, Failure> {
        let interval_ns = NS_PER_S.checked_div(rate_per_s).unwrap_or(0);
        if interval_ns == 0 {
            return Err(format!("{rate_per_s} a second is no pace").into());
        }
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let started_ns = monotonic_ns();
        let beats = Itimerspec {
            it_interval: timespec(interval_ns),
            it_value: timespec(started_ns + interval_ns),
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &beats)?;
        Ok(Metronome { timer, started_ns, interval_ns, beats: 0 })
    }

    /// The beat that is due now, if any.
    ///
    /// # Errors
    /// Those of reading a timer; in practice none.
    pub fn poll_beat(&mut self) -> Result<Option<Beat>, Failure> {
        let mut passed = [0u8; 8];
        match rustix::io::read(&self.timer, &mut passed) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let passed = u64::from_ne_bytes(passed);
        self.beats += passed;
        let due_ns = self.started_ns + self.beats * self.interval_ns;
        let late_ns = monotonic_ns().saturating_sub(due_ns);
        Ok(Some(Beat { missed: passed.saturating_sub(1), late_ns }))
    }
}

impl AsFd for Metronome {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / NS_PER_S) as i64, tv_nsec: (ns % NS_PER_S) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_comes_late_says_how_late_and_how_many_were_missed() {
        const INTERVAL_NS: u64 = 1_000_000;
        let mut metronome = Metronome::start(NS_PER_S / INTERVAL_NS).expect("a timer");
        let before_ns = monotonic_ns();
        while monotonic_ns() < before_ns + 20 * INTERVAL_NS {
            std::hint::spin_loop();
        }
        let beat = metronome.poll_beat().expect("a timer").expect("due");
        let passed_ns = monotonic_ns() - metronome.started_ns;
        assert!(beat.missed >= 19 && beat.missed < passed_ns / INTERVAL_NS, "{beat:?}");
        // It is at most so late as the time since the last beat that was counted.
        assert!((beat.missed + 1) * INTERVAL_NS + beat.late_ns <= passed_ns, "{beat:?}");
    }

    #[test]
    fn a_beat_comes_after_each_interval_and_none_between() {
        let mut metronome = Metronome::start(1000).expect("a timer");
        let (mut beats, mut polls) = (0, 0);
        while beats < 20 {
            polls += 1;
            if let Some(beat) = metronome.poll_beat().expect("a timer") {
                beats += 1 + beat.missed;
            }
        }
        assert!(monotonic_ns() - metronome.started_ns >= 20_000_000);
        assert!(polls > 20, "{polls}");
        assert!(Metronome::start(0).is_err() && Metronome::start(2 * NS_PER_S).is_err());
    }
}
