//! Jobs and completions, which cross the queues, and the code that does the work of a job.
//!
//! A job takes a half from its link's dock, owns it while it works, and brings it back. Runs on workers and on the main
//! thread by the same code (R3). A panic in a job is caught here (R36). Never touches what only the main loop may: what
//! it must hear goes into a completion.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc as StdArc;
use std::sync::{Mutex as StdMutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::docks::{After, Answering, Dock, Edge, Roster, SIDES, Side, Work};
use crate::gossip::{GossipScratch, View};
use crate::journal::stats::Tally;
use crate::lease::Lease;
use crate::limits::TLS_CHUNK_BYTES;
use crate::link_id::{LinkId, LinkTag};
use crate::pool::{Hands, Lane, Run};
use crate::reason::EndReason;
use crate::sync::Arc;
use crate::transport::tls::{PeerIdentity, TlsReport, TlsTransport};
use crate::transport::transfer::{ReadReport, ReadStop};

/// Work on one half of a link, for whoever takes it.
pub(crate) struct Task {
    pub(crate) dock: Arc<Dock>,
    pub(crate) side: Side,
}

/// Work that one thread does in one go.
pub(crate) enum Job {
    One(Task),
    /// The sending sides of several links: the heartbeats of a tick, or a message to many.
    Sends(Vec<Task>),
}

impl Job {
    pub(crate) fn tasks(self) -> impl Iterator<Item = Task> {
        let (one, sends) = match self {
            Self::One(task) => (Some(task), Vec::new()),
            Self::Sends(sends) => (None, sends),
        };
        one.into_iter().chain(sends)
    }
}

/// What the main loop must hear of a job.
pub(crate) struct Completion {
    pub(crate) link: LinkId,
    pub(crate) outcome: Outcome,
}

#[expect(clippy::large_enum_variant, reason = "nearly every completion is a read")]
pub(crate) enum Outcome {
    /// Something was read that the main loop must act on, or nothing can be written any more.
    Read { report: ReadReport, write_error: Option<String> },
    /// A TLS handshake is done. The peer may have shown a certificate.
    Up(Option<Box<PeerIdentity>>),
    /// A TLS handshake has failed.
    NoHandshake { reason: EndReason, detail: String },
    /// The half is gone: the panic dropped it with the rest of the stack.
    Panicked(String),
    /// The last half of a closing link is home.
    Drained,
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

/// Runs jobs, for the pool's workers and for the main thread. Clones share everything.
#[derive(Clone)]
pub(crate) struct JobRunner {
    /// The last published view. The main thread swaps it; a job loads it once its half is taken, and a TLS job again
    /// before it writes.
    pub(crate) view: StdArc<ArcSwapOption<View>>,
    pub(crate) lease: StdArc<Lease>,
    pub(crate) roster: StdArc<Roster>,
    /// What jobs have done that the main loop need not hear of at once.
    pub(crate) tally: StdArc<StdMutex<Tally>>,
}

impl JobRunner {
    pub(crate) fn count<T>(&self, count: impl FnOnce(&mut Tally) -> T) -> T {
        count(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what there is to do on one side of a link. What the main loop must hear is added to `hands`, as is the rest
    /// of the work if there is more than one job may do.
    pub(crate) fn serve(
        &self,
        dock: &Arc<Dock>,
        side: Side,
        scratch: &mut JobScratch,
        on_worker: bool,
        hands: &mut Hands<Job, Completion>,
    ) {
        if let Some(work) = dock.take(side) {
            self.finish(dock, side, work, scratch, on_worker, hands);
        }
    }

    /// Works on a half that was taken, and brings it home.
    pub(crate) fn finish(
        &self,
        dock: &Dock,
        side: Side,
        work: Work,
        scratch: &mut JobScratch,
        on_worker: bool,
        hands: &mut Hands<Job, Completion>,
    ) {
        // Going on after a panic is safe: what the job owned is dropped with the stack, and no job relies on what an
        // earlier one left in the scratch.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.perform(dock, work, scratch, on_worker, &mut hands.done);
        }));
        if let Err(panic) = outcome {
            let after = dock.half_is_gone(side);
            let outcome = Outcome::Panicked(panic_text(&*panic));
            hands.done.push_back(Completion { link: dock.id, outcome });
            tell_drained(dock, after.is_drained, &mut hands.done);
        }
    }

    /// Queues what is left to do on both sides.
    pub(crate) fn go_on(dock: &Arc<Dock>, hands: &mut Hands<Job, Completion>) {
        for side in SIDES {
            if let Some(lane) = dock.queue_job(side) {
                hands.more.push((lane, Job::One(Task { dock: dock.clone(), side })));
            }
        }
    }

    fn perform(
        &self,
        dock: &Dock,
        work: Work,
        scratch: &mut JobScratch,
        on_worker: bool,
        done: &mut VecDeque<Completion>,
    ) {
        // After the half was taken: a view that was published before a heartbeat was queued must be seen.
        let view = self.view.load();
        let view = view.as_deref();
        let answering = view.map(|view| Answering { view, lease: &self.lease });
        match work {
            Work::Read(mut half) => {
                let mut report = half.read(view);
                let after = dock.read_done(half, &mut report, answering);
                self.count(|tally| {
                    tally.counters.count_read(&report, on_worker);
                    tally.note_quiet(dock.id, &after);
                });
                tell_read(dock, report, after, done);
            }
            Work::Write(mut half) => {
                let report = half.write(view, &mut scratch.gossip);
                // Before the half is home: whoever hears that the link is drained finds its bytes counted.
                self.count(|tally| tally.counters.count_write(&report, on_worker));
                let after = dock.write_done(half, &report);
                tell_drained(dock, after.is_drained, done);
            }
            Work::Tls { transport, reads } => {
                self.serve_tls(dock, transport, reads, view, answering, scratch, on_worker, done);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one job's things, used once")]
    fn serve_tls(
        &self,
        dock: &Dock,
        mut transport: Box<TlsTransport>,
        reads: bool,
        view: Option<&View>,
        answering: Option<Answering<'_>>,
        scratch: &mut JobScratch,
        on_worker: bool,
        done: &mut VecDeque<Completion>,
    ) {
        let JobScratch { records, gossip } = scratch;
        let was_handshaking = transport.is_handshaking();
        let mut read = match reads {
            true => transport.read(view, records),
            false => ReadReport::new(),
        };
        let after = dock.between_read_and_write(&mut read, &mut transport.batch, answering);
        // The batch was filled just now, so a view that was published before its heartbeats were queued must be seen.
        let latest = self.view.load();
        let TlsReport { is_handshaking, write } =
            transport.write(latest.as_deref(), gossip, &mut read);
        let handshake = match was_handshaking {
            true => Handshake::of(is_handshaking, &read),
            false => Handshake::WasDone,
        };
        self.count(|tally| {
            if matches!(handshake, Handshake::Up | Handshake::Failed(..)) {
                tally.counters.count_handshake(dock.is_inbound, on_worker);
            }
            if read.read_bytes > 0 || read.stop != ReadStop::WouldBlock {
                tally.counters.count_read(&read, on_worker);
            }
            if write.bytes_by_class != [0; 3] {
                tally.counters.count_write(&write, on_worker);
            }
            tally.note_quiet(dock.id, &after);
        });
        let is_up = matches!(handshake, Handshake::Up);
        let identity = if is_up { transport.peer_identity().map(Box::new) } else { None };
        let what_was_read = reads.then_some(&read);
        let after = dock.tls_done(transport, is_handshaking, is_up, what_was_read, &write, after);
        let tell = |outcome| Completion { link: dock.id, outcome };
        match handshake {
            Handshake::UnderWay => return tell_drained(dock, after.is_drained, done),
            Handshake::Failed(reason, detail) => {
                done.push_back(tell(Outcome::NoHandshake { reason, detail }));
                return tell_drained(dock, after.is_drained, done);
            }
            Handshake::Up => done.push_back(tell(Outcome::Up(identity))),
            Handshake::WasDone => {}
        }
        tell_read(dock, read, after, done);
    }
}

/// How a job left a TLS handshake.
enum Handshake {
    /// It was done before the job.
    WasDone,
    UnderWay,
    Up,
    Failed(EndReason, String),
}

impl Handshake {
    fn of(is_handshaking: bool, read: &ReadReport) -> Self {
        // A good packet proves that the handshake succeeded, so a failure after one makes the link come up and then be
        // lost. A failure without one means that the link never came up.
        match &read.stop {
            ReadStop::Ended { reason, detail } if is_handshaking || read.packets.is_empty() => {
                Self::Failed(*reason, detail.clone())
            }
            _ if is_handshaking => Self::UnderWay,
            _ => Self::Up,
        }
    }
}

/// A link whose handshake is done is told before what it read, and a link that drains last of all.
fn tell_read(dock: &Dock, report: ReadReport, after: After, done: &mut VecDeque<Completion>) {
    let is_drained = after.is_drained;
    if after.is_news {
        let outcome = Outcome::Read { report, write_error: after.write_error };
        done.push_back(Completion { link: dock.id, outcome });
    }
    tell_drained(dock, is_drained, done);
}

fn tell_drained(dock: &Dock, is_drained: bool, done: &mut VecDeque<Completion>) {
    if is_drained {
        done.push_back(Completion { link: dock.id, outcome: Outcome::Drained });
    }
}

impl Run<Job, Completion, (LinkTag, Edge)> for JobRunner {
    type Scratch = JobScratch;

    fn run(&self, job: Job, scratch: &mut JobScratch, hands: &mut Hands<Job, Completion>) {
        for Task { dock, side } in job.tasks() {
            self.serve(&dock, side, scratch, true, hands);
            Self::go_on(&dock, hands);
        }
    }

    /// An edge is served where it was heard of, both directions one after the other; handshakes take long, so they
    /// wait in their lane.
    fn attend(
        &self,
        (link, edge): (LinkTag, Edge),
        scratch: &mut JobScratch,
        hands: &mut Hands<Job, Completion>,
    ) {
        let Some(dock) = self.roster.get(link) else { return };
        if !dock.note_edge(edge) {
            return;
        }
        if dock.lane() == Lane::Established {
            for side in SIDES {
                self.serve(&dock, side, scratch, true, hands);
            }
        }
        Self::go_on(&dock, hands);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a job panicked".to_owned())
}
