//! What a job's end does to its link, and what is told of it. Main thread only.
//!
//! Owns the order: the half comes home first, then what was read is told, then the reason reading or writing ended (R6,
//! R14). A link's states are changed by `Links`, events are made by `Journal`; what is here only brings the two
//! together.

use std::time::Instant;

use crate::job::{Completion, Outcome};
use crate::journal::Journal;
use crate::limits::DROPPED_CLOSES;
use crate::link_id::LinkId;
use crate::links::{AfterRead, Links, Origin};
use crate::reason::{EndReason, LossReason, RefusalReason};
use crate::transport::tls::{TlsReport, TlsTransport};
use crate::transport::transfer::{ReadReport, ReadStop};

/// Takes a job's end: the half comes home, its results are counted and told.
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
        // Sound packets prove that the handshake was good, whatever came after them: then the link comes up and is
        // lost. Without any, a failure means that it never came up.
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

/// Tells what a read brought: the good packets first, then the reason it ended (R6), and with it the reason writing
/// ended, if it did (R14).
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

/// Tells the main loop of a link that is up.
pub(crate) fn tell_up(links: &mut Links, journal: &mut Journal, link: LinkId, now: Instant) {
    if let Some(up) = links.up(link, now) {
        journal.up(link, &up);
    }
}

/// The link cannot go on. The main loop hears of it once, and of nothing after it but `Drained`.
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

/// The connection ended. One that the main loop has never heard of was refused; any other link is lost.
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
