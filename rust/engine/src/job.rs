//! Jobs and completions, which cross the queues. A job owns what it works on, and its completion gives that back.
//!
//! Runs on workers and on the main thread by the same code (R3). A panic in a job is caught here (R36).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::gossip::{GossipScratch, View};
use crate::limits::TLS_CHUNK_BYTES;
use crate::link_id::LinkId;
use crate::pool::Run;
use crate::transport::plain::{RecvHalf, SendHalf};
use crate::transport::tls::{TlsReport, TlsTransport};
use crate::transport::transfer::{ReadReport, ReadStop, WriteReport};

/// Work on one half of a link.
pub(crate) enum Job {
    Read(LinkId, RecvHalf),
    Write(LinkId, SendHalf),
    Tls(LinkId, Box<TlsTransport>),
}

/// Which half of a link a job has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobKind {
    Read,
    Write,
    Tls,
}

/// The end of a job.
pub(crate) struct Completion {
    pub(crate) link: LinkId,
    pub(crate) on_worker: bool,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Read(RecvHalf, ReadReport),
    Write(SendHalf, WriteReport),
    Tls(Box<TlsTransport>, TlsReport),
    /// The half is gone: the panic dropped it with the rest of the stack.
    Panicked(JobKind, String),
}

/// Memory that a thread keeps between jobs.
pub(crate) struct JobScratch {
    /// The buffer that TLS sockets are read into.
    pub(crate) records: Vec<u8>,
    pub(crate) gossip: GossipScratch,
}

impl Default for JobScratch {
    fn default() -> Self {
        Self { records: vec![0; TLS_CHUNK_BYTES], gossip: GossipScratch::default() }
    }
}

/// Runs jobs, for the pool's workers and for the main thread.
#[derive(Clone, Default)]
pub(crate) struct JobRunner {
    /// The last published view: the main thread swaps it, and each job loads it once.
    pub(crate) view: Arc<ArcSwapOption<View>>,
}

impl JobRunner {
    pub(crate) fn complete(
        &self,
        job: Job,
        scratch: &mut JobScratch,
        on_worker: bool,
    ) -> Completion {
        let (link, kind) = match &job {
            Job::Read(link, _) => (*link, JobKind::Read),
            Job::Write(link, _) => (*link, JobKind::Write),
            Job::Tls(link, _) => (*link, JobKind::Tls),
        };
        let view = self.view.load();
        let view = view.as_deref();
        // Going on after a panic is safe: what the job owned is dropped with the stack, and no job relies on what an
        // earlier one left in the scratch.
        let outcome = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Read(_, mut half) => {
                let report = half.read(view);
                Outcome::Read(half, report)
            }
            Job::Write(_, mut half) => {
                let report = half.write(view, &mut scratch.gossip);
                Outcome::Write(half, report)
            }
            Job::Tls(_, mut transport) => {
                let JobScratch { records, gossip } = scratch;
                let report = transport.serve(view, records, gossip);
                Outcome::Tls(transport, report)
            }
        }))
        .unwrap_or_else(|panic| Outcome::Panicked(kind, panic_text(&*panic)));
        Completion { link, on_worker, outcome }
    }
}

impl Run<Job, Completion> for JobRunner {
    type Scratch = JobScratch;

    fn run(&self, job: Job, scratch: &mut JobScratch) -> Completion {
        self.complete(job, scratch, true)
    }

    /// A write that sent everything is not urgent: if the link's next message waits for the half, the link is awaited,
    /// and that already wakes the main thread.
    fn is_urgent(&self, completion: &Completion) -> bool {
        match &completion.outcome {
            Outcome::Write(half, report) => report.error.is_some() || !half.batch.is_empty(),
            Outcome::Tls(transport, report) => {
                report.was_handshaking
                    || report.write.error.is_some()
                    // A writable edge may have come since the socket was full, and rustls may hold bytes that the batch
                    // does not show.
                    || report.write.blocked
                    || report.read.stop != ReadStop::WouldBlock
                    || !report.read.packets.is_empty()
                    || report.read.dropped_len > 0
                    || !transport.batch.is_empty()
            }
            Outcome::Read(..) | Outcome::Panicked(..) => true,
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a job panicked".to_owned())
}
