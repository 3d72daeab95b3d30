//! CPU time and memory of a process as the kernel counts them, read from outside.
//!
//! `/proc/PID/task/*/schedstat` gives each thread's time on a CPU in nanoseconds, including the kernel's work for it.

use std::collections::BTreeMap;
use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::Failure;

const NS_PER_S: u64 = 1_000_000_000;

/// CPU time of the threads of one process at one moment.
pub struct CpuTimes {
    pid: u32,
    thread_ns: BTreeMap<u32, u64>,
}

/// CPU time between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuSpent {
    /// CPU time of the main thread, nanoseconds.
    pub main_ns: u64,
    /// CPU time of all threads, including the main one, nanoseconds.
    pub all_ns: u64,
    /// The number of threads that used any CPU time.
    pub busy_threads: u64,
}

impl CpuTimes {
    /// The times of a process at its start.
    pub fn at_start(pid: u32) -> CpuTimes {
        CpuTimes { pid, thread_ns: BTreeMap::new() }
    }

    /// Reads the times now.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn read(pid: u32) -> Result<CpuTimes, Failure> {
        let mut thread_ns = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread may end before it is read; its time is then missing.
            if let Ok(text) = fs::read_to_string(entry.path().join("schedstat"))
                && let Some(spent) = text.split_whitespace().next()
                && let Some(id) = entry.file_name().to_str()
            {
                thread_ns.insert(id.parse()?, spent.parse()?);
            }
        }
        Ok(CpuTimes { pid, thread_ns })
    }

    /// The CPU time used since `earlier`.
    pub fn since(&self, earlier: &CpuTimes) -> CpuSpent {
        let spent = |id: &u32, now: &u64| {
            now.saturating_sub(earlier.thread_ns.get(id).copied().unwrap_or_default())
        };
        let each: Vec<u64> = self.thread_ns.iter().map(|(id, now)| spent(id, now)).collect();
        CpuSpent {
            main_ns: self.thread_ns.get(&self.pid).map_or(0, |now| spent(&self.pid, now)),
            all_ns: each.iter().sum(),
            busy_threads: each.iter().filter(|&&ns| ns > 0).count() as u64,
        }
    }
}

/// The clock that all processes of the machine share (`CLOCK_MONOTONIC`), nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * NS_PER_S + now.tv_nsec as u64
}

/// Resident memory of a process, bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// How long the machine's CPUs have been busy since it started, for all processes together, nanoseconds.
///
/// # Errors
/// When `/proc/stat` is not there.
pub fn machine_busy_ns() -> Result<u64, Failure> {
    const TICK_NS: u64 = 10_000_000;
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().ok_or("/proc/stat is empty")?;
    let fields: Vec<u64> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The columns: user, nice, system, idle, waiting for I/O, interrupts, and time taken by the host.
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    let total: u64 = fields.iter().take(8).sum();
    Ok((total - idle) * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_thread_shows_as_time_of_this_process() {
        let pid = std::process::id();
        let before = CpuTimes::read(pid).expect("this process runs");
        let mut value = 1u64;
        for step in 0..20_000_000u64 {
            value = std::hint::black_box(value.wrapping_mul(step | 1));
        }
        let spent = CpuTimes::read(pid).expect("this process runs").since(&before);
        assert!(spent.all_ns > 1_000_000, "{spent:?}");
        assert!(spent.busy_threads >= 1 && spent.all_ns >= spent.main_ns);
        assert!(resident_bytes(pid).expect("this process runs") > 100_000);
        assert!(machine_busy_ns().expect("Linux") > 0);
    }
}
