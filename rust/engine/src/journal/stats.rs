//! The engine's counters (R10, R24), and the tally of what jobs have done without the main loop.

use std::collections::BTreeMap;

use clusterbus_wire::{MessageType, PacketError};

use crate::docks::After;
use crate::link_id::LinkId;
use crate::reason::{LossReason, RefusalReason};
use crate::transport::transfer::{ByClass, ReadReport, WriteReport};

const CLASSES: [&str; 3] = ["cluster", "pubsub", "module"];

/// What has been counted since the start or the last reset.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) threaded_reads: u64,
    pub(crate) threaded_writes: u64,
    pub(crate) threaded_accepts: u64,
    pub(crate) threaded_connects: u64,
    pub(crate) main_reads: u64,
    pub(crate) main_writes: u64,
    pub(crate) main_accepts: u64,
    pub(crate) main_connects: u64,
    pub(crate) main_thread_fallbacks: u64,
    pub(crate) job_panics: u64,
    pub(crate) sendbuf_limit_exceeded: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_dropped: u64,
    pub(crate) bytes_received: ByClass,
    pub(crate) bytes_sent: ByClass,
    pub(crate) messages_sent: ByClass,
    /// Refused packets, by `PacketError::name`.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// Refused packets, by the message type that they announce (P35).
    pub(crate) dropped_by_type: [u64; MessageType::ALL.len()],
    pub(crate) refused: BTreeMap<RefusalReason, u64>,
    pub(crate) lost: BTreeMap<LossReason, u64>,
    /// Microseconds that the main thread was awake.
    pub(crate) main_thread_us: u64,
}

/// What jobs have done that the main loop need not hear of at once. Written by whoever runs a job.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) counters: Counters,
    /// PINGs answered and PONGs noted since `take_quiet`.
    answered: u64,
    noted: u64,
    /// The links of these PONGs, each once.
    pongs: Vec<LinkId>,
}

impl Tally {
    /// Notes the quiet heartbeats that a job has taken.
    pub(crate) fn note_quiet(&mut self, link: LinkId, after: &After) {
        self.answered += after.answered;
        self.noted += after.noted;
        if after.is_first_pong {
            self.pongs.push(link);
        }
    }

    /// The PINGs answered, the PONGs noted, and the links of these, since the last call.
    pub(crate) fn take_quiet(&mut self) -> (u64, u64, Vec<LinkId>) {
        let Self { answered, noted, pongs, .. } = self;
        (std::mem::take(answered), std::mem::take(noted), std::mem::take(pongs))
    }
}

fn add_by_class(total: &mut ByClass, more: &ByClass) {
    for (total, more) in total.iter_mut().zip(more) {
        *total += more;
    }
}

impl Counters {
    pub(crate) fn count_read(&mut self, report: &ReadReport, on_worker: bool) {
        *(if on_worker { &mut self.threaded_reads } else { &mut self.main_reads }) += 1;
        self.packets_received += (report.taken_len + report.packets.len()) as u64;
        self.packets_dropped += u64::from(report.dropped_len);
        add_by_class(&mut self.bytes_received, &report.bytes_by_class);
        if report.dropped_len > 0 {
            for (name, count) in PacketError::NAMES.iter().zip(report.dropped_by_kind) {
                if count > 0 {
                    *self.dropped.entry(name).or_default() += u64::from(count);
                }
            }
            for (total, more) in self.dropped_by_type.iter_mut().zip(report.dropped_by_type) {
                *total += u64::from(more);
            }
        }
    }

    pub(crate) fn count_write(&mut self, report: &WriteReport, on_worker: bool) {
        *(if on_worker { &mut self.threaded_writes } else { &mut self.main_writes }) += 1;
        add_by_class(&mut self.bytes_sent, &report.bytes_by_class);
        add_by_class(&mut self.messages_sent, &report.messages_by_class);
    }

    pub(crate) fn count_handshake(&mut self, is_inbound: bool, on_worker: bool) {
        *(match (is_inbound, on_worker) {
            (true, true) => &mut self.threaded_accepts,
            (true, false) => &mut self.main_accepts,
            (false, true) => &mut self.threaded_connects,
            (false, false) => &mut self.main_connects,
        }) += 1;
    }

    /// Adds what others have counted.
    fn add(&mut self, other: &Self) {
        for (total, more) in [
            (&mut self.threaded_reads, other.threaded_reads),
            (&mut self.threaded_writes, other.threaded_writes),
            (&mut self.threaded_accepts, other.threaded_accepts),
            (&mut self.threaded_connects, other.threaded_connects),
            (&mut self.main_reads, other.main_reads),
            (&mut self.main_writes, other.main_writes),
            (&mut self.main_accepts, other.main_accepts),
            (&mut self.main_connects, other.main_connects),
            (&mut self.main_thread_fallbacks, other.main_thread_fallbacks),
            (&mut self.job_panics, other.job_panics),
            (&mut self.sendbuf_limit_exceeded, other.sendbuf_limit_exceeded),
            (&mut self.packets_received, other.packets_received),
            (&mut self.packets_dropped, other.packets_dropped),
            (&mut self.main_thread_us, other.main_thread_us),
        ] {
            *total += more;
        }
        add_by_class(&mut self.bytes_received, &other.bytes_received);
        add_by_class(&mut self.bytes_sent, &other.bytes_sent);
        add_by_class(&mut self.messages_sent, &other.messages_sent);
        for (name, more) in &other.dropped {
            *self.dropped.entry(name).or_default() += more;
        }
        for (total, more) in self.dropped_by_type.iter_mut().zip(other.dropped_by_type) {
            *total += more;
        }
        for (reason, more) in &other.refused {
            *self.refused.entry(*reason).or_default() += more;
        }
        for (reason, more) in &other.lost {
            *self.lost.entry(*reason).or_default() += more;
        }
    }

    /// Every counter with its name, the main thread's and those of jobs together.
    pub(crate) fn entries_with(&self, of_jobs: &Self) -> Vec<(String, u64)> {
        let mut sum = Self::default();
        sum.add(self);
        sum.add(of_jobs);
        sum.entries()
    }

    /// Every counter with its name.
    fn entries(&self) -> Vec<(String, u64)> {
        let fixed = [
            ("threaded_reads", self.threaded_reads),
            ("threaded_writes", self.threaded_writes),
            ("threaded_accepts", self.threaded_accepts),
            ("threaded_connects", self.threaded_connects),
            ("main_reads", self.main_reads),
            ("main_writes", self.main_writes),
            ("main_accepts", self.main_accepts),
            ("main_connects", self.main_connects),
            ("main_thread_fallbacks", self.main_thread_fallbacks),
            ("job_panics", self.job_panics),
            ("sendbuf_limit_exceeded", self.sendbuf_limit_exceeded),
            ("packets_received", self.packets_received),
            ("packets_dropped", self.packets_dropped),
            ("used_active_time_us_main_thread", self.main_thread_us),
        ];
        let mut entries: Vec<_> = fixed.map(|(name, value)| (name.to_owned(), value)).into();
        for (prefix, by_class) in [
            ("bytes_received", &self.bytes_received),
            ("bytes_sent", &self.bytes_sent),
            ("messages_sent", &self.messages_sent),
        ] {
            for (class, value) in CLASSES.iter().zip(by_class) {
                entries.push((format!("{prefix}_{class}"), *value));
            }
        }
        for (message_type, value) in MessageType::ALL.iter().zip(self.dropped_by_type) {
            entries.push((format!("messages_{}_refused", message_type.name()), value));
        }
        let dropped = self.dropped.iter().map(|(name, value)| ("dropped", *name, value));
        let refused = self.refused.iter();
        let refused = refused.map(|(reason, value)| ("accepts_refused", reason.name(), value));
        let lost = self.lost.iter().map(|(reason, value)| ("links_lost", reason.name(), value));
        for (prefix, name, value) in dropped.chain(refused).chain(lost) {
            entries.push((format!("{prefix}_{}", name.replace('-', "_")), *value));
        }
        entries
    }
}
