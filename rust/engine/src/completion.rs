//! What happens to a link when the main thread hears of one of its jobs, when it comes up and when it must go, and what
//! is reported of it.
//!
//! Owns the order: first what was read is reported, then the reason why reading or writing ended (R6, R14). `Links`
//! changes the link and `Journal` makes the events; the code here only connects the two. Main thread only.

use std::time::Instant;

use crate::job::{Completion, Outcome};
use crate::journal::Journal;
use crate::limits::DROPPED_CLOSES;
use crate::link_id::LinkId;
use crate::links::Links;
use crate::reason::{EndReason, LossReason, RefusalReason};
use crate::transport::tls::PeerIdentity;
use crate::transport::transfer::{ReadReport, ReadStop};

/// Applies a completion.
pub(crate) fn apply(
    links: &mut Links,
    journal: &mut Journal,
    completion: Completion,
    now: Instant,
) {
    let Completion { link, outcome } = completion;
    match outcome {
        Outcome::Read { report, write_error } => {
            tell_read(links, journal, link, report, write_error)
        }
        Outcome::Up(identity) => tell_up(links, journal, link, identity, now),
        Outcome::NoHandshake { reason, detail } => end(links, journal, link, reason, detail),
        Outcome::Panicked(detail) => {
            journal.counters.job_panics += 1;
            end(links, journal, link, EndReason::Panic, detail);
        }
        Outcome::Drained => {
            if links.drained(link) {
                journal.drained(link);
            }
        }
    }
}

/// Reports what a read brought: the good packets first, then the reason why reading ended (R6), together with the
/// reason why writing ended, if it did (R14).
fn tell_read(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    report: ReadReport,
    write_error: Option<String>,
) {
    let Some(after) = links.read(link, &report) else { return };
    journal.received(link, after.is_inbound, report.packets, report.dropped);
    let read_end = match report.stop {
        ReadStop::Ended { reason, detail } => Some((LossReason::End(reason), detail)),
        ReadStop::WouldBlock | ReadStop::Budget if after.has_too_many_dropped => {
            Some((LossReason::BadPackets, format!("{DROPPED_CLOSES} packets refused")))
        }
        ReadStop::WouldBlock | ReadStop::Budget => None,
    };
    let (reason, detail) = match (read_end, write_error) {
        (Some((reason, read)), Some(write)) => (reason, format!("{read}; writing: {write}")),
        (Some((reason, read)), None) => (reason, read),
        (None, Some(write)) => (LossReason::End(EndReason::Error), format!("writing: {write}")),
        (None, None) => return,
    };
    lose(links, journal, link, reason, detail);
}

/// Reports a link that is up to the main loop, with what its peer's certificate says if it showed one.
pub(crate) fn tell_up(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    identity: Option<Box<PeerIdentity>>,
    now: Instant,
) {
    if let Some(up) = links.up(link, now) {
        journal.up(link, &up, identity);
    }
}

/// The link cannot go on. The main loop is told once, and hears nothing more of the link but `Drained`.
pub(crate) fn lose(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    reason: LossReason,
    detail: String,
) {
    if let Some(owner) = links.lost(link) {
        journal.lost(link, owner, reason, detail);
    }
}

/// The connection ended. A link that the main loop does not know yet is refused; any other is lost.
pub(crate) fn end(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    reason: EndReason,
    detail: String,
) {
    match links.discard(link) {
        Some((listener, peer)) => {
            journal.refused(listener, peer, RefusalReason::End(reason), detail);
        }
        None => lose(links, journal, link, LossReason::End(reason), detail),
    }
}
