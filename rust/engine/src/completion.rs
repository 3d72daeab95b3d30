//! What happens to a link when one of its jobs ends, when it comes up and when it must go, and what is reported of it.
//!
//! Owns the order: first the half comes home, then what was read is reported, then the reason why reading or writing
//! ended (R6, R14). `Links` changes the link and `Journal` makes the events; the code here only connects the two. Main
//! thread only.

use std::time::Instant;

use crate::job::{Completion, Outcome};
use crate::journal::Journal;
use crate::limits::DROPPED_CLOSES;
use crate::link_id::LinkId;
use crate::links::{AfterRead, Links, Origin};
use crate::reason::{EndReason, LossReason, RefusalReason};
use crate::transport::tls::{TlsReport, TlsTransport};
use crate::transport::transfer::{ReadReport, ReadStop};

/// Applies a completion: the half comes home, and the results are counted and reported.
pub(crate) fn apply(
    links: &mut Links,
    journal: &mut Journal,
    completion: Completion,
    now: Instant,
) {
    let Completion { link, on_worker, outcome } = completion;
    match outcome {
        Outcome::Read(half, report) => {
            journal.counters.count_read(&report, on_worker);
            let after = links.read_came_home(link, half, &report);
            tell_read(links, journal, link, after, report);
        }
        Outcome::Write(half, report) => {
            journal.counters.count_write(&report, on_worker);
            links.write_came_home(link, half, &report);
        }
        Outcome::Tls(transport, report) => {
            apply_tls(links, journal, link, transport, report, on_worker, now);
        }
        Outcome::Panicked(kind, detail) => {
            journal.counters.job_panics += 1;
            links.half_is_gone(link, kind);
            end(links, journal, link, EndReason::Panic, detail);
        }
    }
    if links.settle_closing(link) {
        journal.drained(link);
    }
}

fn apply_tls(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    transport: Box<TlsTransport>,
    report: TlsReport,
    on_worker: bool,
    now: Instant,
) {
    let TlsReport { was_handshaking, is_handshaking, read, write } = report;
    let Some(origin) = links.transport_came_home(link, transport, is_handshaking) else { return };
    if was_handshaking {
        if is_handshaking && read.stop == ReadStop::WouldBlock {
            return links.tls_wrote(link, &write);
        }
        let is_inbound = matches!(origin, Origin::Accepted { .. });
        journal.counters.count_handshake(is_inbound, on_worker);
        // A good packet proves that the handshake succeeded, so a failure after one makes the link come up and then be
        // lost. A failure without one means that the link never came up.
        if let ReadStop::Ended { reason, detail } = &read.stop
            && (is_handshaking || read.packets.is_empty())
        {
            return end(links, journal, link, *reason, detail.clone());
        }
        tell_up(links, journal, link, now);
    }
    if read.read_bytes > 0 || read.stop != ReadStop::WouldBlock {
        journal.counters.count_read(&read, on_worker);
    }
    if write.bytes_by_class != [0; 3] {
        journal.counters.count_write(&write, on_worker);
    }
    links.tls_wrote(link, &write);
    let after = links.tls_read(link, &read);
    tell_read(links, journal, link, after, read);
}

/// Reports what a read brought: the good packets first, then the reason why reading ended (R6), together with the
/// reason why writing ended, if it did (R14).
fn tell_read(
    links: &mut Links,
    journal: &mut Journal,
    link: LinkId,
    after: Option<AfterRead>,
    report: ReadReport,
) {
    let Some(after) = after else { return };
    journal.received(link, &after, report.packets, report.dropped);
    let read_end = match report.stop {
        ReadStop::Ended { reason, detail } => Some((LossReason::End(reason), detail)),
        ReadStop::WouldBlock | ReadStop::Budget if after.has_too_many_dropped => {
            Some((LossReason::BadPackets, format!("{DROPPED_CLOSES} packets refused")))
        }
        ReadStop::WouldBlock | ReadStop::Budget => None,
    };
    let (reason, detail) = match (read_end, after.write_error) {
        (Some((reason, read)), Some(write)) => (reason, format!("{read}; writing: {write}")),
        (Some((reason, read)), None) => (reason, read),
        (None, Some(write)) => (LossReason::End(EndReason::Error), format!("writing: {write}")),
        (None, None) => return,
    };
    lose(links, journal, link, reason, detail);
}

/// Reports a link that is up to the main loop.
pub(crate) fn tell_up(links: &mut Links, journal: &mut Journal, link: LinkId, now: Instant) {
    if let Some(up) = links.up(link, now) {
        journal.up(link, &up);
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
