//! One measured window: the generator's counts, and the server's CPU time and memory.

use std::time::{Duration, Instant};

use clusterbus_peers_bench::Failure;
use clusterbus_peers_bench::histogram::Histogram;
use clusterbus_peers_bench::observe::{CpuTimes, machine_busy_ns, monotonic_ns, resident_bytes};
use clusterbus_peers_bench::record::Record;

/// Counts of everything since the last [`Counts::clear`].
#[derive(Default)]
pub struct Counts {
    /// PONGs to our PINGs.
    pub pongs: u64,
    /// PINGs of the server that were answered.
    pub pings_answered: u64,
    /// UPDATEs of the server: a claim of ours is outdated, it says.
    pub updates: u64,
    /// Changes of the cluster that were announced.
    pub changes: u64,
    /// PUBLISH messages received on links.
    pub deliveries: u64,
    /// PUBLISH commands that were delivered on all links.
    pub published: u64,
    /// Connections that got a PONG.
    pub handshakes: u64,
    /// Connections that ended without a PONG.
    pub refused: u64,
    /// PONGs that were checked completely; all of them were valid, since a bad one ends the run.
    pub checked: u64,
    /// Beats of the pace at which no PING left, because the generator came too late.
    pub missed: u64,
    /// How late the PINGs of a pace left.
    pub lateness: Histogram,
    /// From PING to PONG, from PUBLISH to its last delivery, or from dial to PONG.
    pub latency: Histogram,
}

impl Counts {
    /// Sets everything to zero.
    pub fn clear(&mut self) {
        let mut latency = std::mem::take(&mut self.latency);
        let mut lateness = std::mem::take(&mut self.lateness);
        latency.clear();
        lateness.clear();
        *self = Counts { latency, lateness, ..Counts::default() };
    }

    /// The number that `--max-count` limits.
    pub fn messages(&self) -> u64 {
        self.pongs + self.deliveries + self.handshakes
    }
}

/// A window that has begun.
pub struct Window {
    server: u32,
    started: Instant,
    began_ns: u64,
    server_cpu: CpuTimes,
    own_cpu: CpuTimes,
    machine_ns: u64,
}

impl Window {
    /// Begins a window now.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn begin(server: u32) -> Result<Window, Failure> {
        Window::begin_with(server, CpuTimes::read(server)?)
    }

    /// Begins a window at the start of the server, whose process has just been made.
    ///
    /// # Errors
    /// Those of reading the generator's own times; in practice none.
    pub fn begin_at_start(server: u32) -> Result<Window, Failure> {
        Window::begin_with(server, CpuTimes::at_start(server))
    }

    fn begin_with(server: u32, server_cpu: CpuTimes) -> Result<Window, Failure> {
        let machine_ns = machine_busy_ns()?;
        let own_cpu = CpuTimes::read(std::process::id())?;
        let (started, began_ns) = (Instant::now(), monotonic_ns());
        Ok(Window { server, started, began_ns, server_cpu, own_cpu, machine_ns })
    }

    /// The CPU time that all threads of the server have used in it so far, nanoseconds.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn server_all_ns(&self) -> Result<u64, Failure> {
        Ok(CpuTimes::read(self.server)?.since(&self.server_cpu).all_ns)
    }

    /// How long it has lasted.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the window and returns its record.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn end(self, counts: &Counts) -> Result<Record, Failure> {
        let elapsed = self.started.elapsed();
        let spent = CpuTimes::read(self.server)?.since(&self.server_cpu);
        let own = CpuTimes::read(std::process::id())?.since(&self.own_cpu);
        let machine_ns = machine_busy_ns()?.saturating_sub(self.machine_ns);
        Ok(Record::new("window")
            .number("began_ns", self.began_ns)
            .number("elapsed_ns", elapsed.as_nanos() as u64)
            .number("pongs", counts.pongs)
            .number("pings_answered", counts.pings_answered)
            .number("updates", counts.updates)
            .number("changes", counts.changes)
            .number("deliveries", counts.deliveries)
            .number("published", counts.published)
            .number("handshakes", counts.handshakes)
            .number("refused", counts.refused)
            .number("checked", counts.checked)
            .number("missed", counts.missed)
            .number("late_p99_ns", counts.lateness.quantile_ns(990))
            .number("latency_p50_ns", counts.latency.quantile_ns(500))
            .number("latency_p99_ns", counts.latency.quantile_ns(990))
            .number("latency_max_ns", counts.latency.max_ns())
            .number("server_main_ns", spent.main_ns)
            .number("server_all_ns", spent.all_ns)
            .number("server_busy_threads", spent.busy_threads)
            .number("server_rss_bytes", resident_bytes(self.server)?)
            .number("generator_ns", own.all_ns)
            .number("elsewhere_ns", machine_ns.saturating_sub(spent.all_ns + own.all_ns)))
    }
}
