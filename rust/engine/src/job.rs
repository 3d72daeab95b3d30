//! Jobs and completions: what crosses the queues. A job owns what it works on and its completion gives it back.
//!
//! Runs on workers and on the main thread alike: one code path (R3). A panic ends here (R36).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::LinkId;
use crate::plain::{RecvHalf, SendHalf};
use crate::pool::Run;
use crate::tls::{TlsReport, TlsScratch, TlsTransport};
use crate::transfer::{ReadReport, WriteReport};

/// Work on one link.
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

/// A job's end.
pub(crate) struct Completion {
    pub(crate) link: LinkId,
    pub(crate) on_worker: bool,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Read(RecvHalf, ReadReport),
    Write(SendHalf, WriteReport),
    Tls(Box<TlsTransport>, TlsReport),
    /// The half is gone with the stack that held it.
    Panicked(JobKind, String),
}

/// Runs jobs; the pool's workers and the main thread call the same function.
pub(crate) struct JobRunner;

impl JobRunner {
    pub(crate) fn complete(job: Job, scratch: &mut TlsScratch, on_worker: bool) -> Completion {
        let (link, kind) = match &job {
            Job::Read(link, _) => (*link, JobKind::Read),
            Job::Write(link, _) => (*link, JobKind::Write),
            Job::Tls(link, _) => (*link, JobKind::Tls),
        };
        // What the job owned is dropped by the unwinding and the scratch holds nothing between jobs.
        let outcome = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Read(_, mut half) => {
                let report = half.read();
                Outcome::Read(half, report)
            }
            Job::Write(_, mut half) => {
                let report = half.write();
                Outcome::Write(half, report)
            }
            Job::Tls(_, mut transport) => {
                let report = transport.serve(scratch);
                Outcome::Tls(transport, report)
            }
        }))
        .unwrap_or_else(|panic| Outcome::Panicked(kind, panic_text(&*panic)));
        Completion { link, on_worker, outcome }
    }
}

impl Run<Job, Completion> for JobRunner {
    type Scratch = TlsScratch;

    fn run(&self, job: Job, scratch: &mut TlsScratch) -> Completion {
        Self::complete(job, scratch, true)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a job panicked".to_owned())
}
