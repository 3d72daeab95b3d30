//! What the engine reports: events for the main loop, counters for whoever asks. Main thread only.
//!
//! Every event is made here, in the order in which things happened; losses and refusals are counted as they are
//! reported. Decides nothing: `Links` knows whether the main loop must hear of something.
//!
//! In reading order: `event` (what can happen), `stats` (what is counted).

pub(crate) mod event;
pub(crate) mod stats;

use std::net::SocketAddr;

use clusterbus_wire::PacketError;

use crate::journal::event::{Event, QuietHeartbeat};
use crate::journal::stats::Counters;
use crate::link_id::LinkId;
use crate::links::{AfterRead, Origin, Up};
use crate::reason::{LossReason, RefusalReason};
use crate::transport::transfer::Received;

/// Events not taken yet, and the counters.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) counters: Counters,
    events: Vec<Event>,
}

impl Journal {
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// A link is up.
    pub(crate) fn up(&mut self, link: LinkId, up: &Up) {
        let (peer, local_ip) = (up.peer, up.local_ip);
        self.events.push(match up.origin {
            Origin::Dialled { owner } => Event::Connected { link, owner, local_ip },
            Origin::Accepted { listener } => Event::Accepted { link, listener, peer, local_ip },
        });
    }

    /// A link cannot go on.
    pub(crate) fn lost(&mut self, link: LinkId, owner: u64, reason: LossReason, detail: String) {
        *self.counters.lost.entry(reason).or_default() += 1;
        self.events.push(Event::Lost { link, owner, reason, detail });
    }

    /// A closed link's last job is home.
    pub(crate) fn drained(&mut self, link: LinkId) {
        self.events.push(Event::Drained { link });
    }

    /// An inbound connection did not become a link.
    pub(crate) fn refused(
        &mut self,
        listener: u64,
        peer: SocketAddr,
        reason: RefusalReason,
        detail: String,
    ) {
        self.count_refusal(reason);
        self.events.push(Event::Refused { listener, peer, reason, detail });
    }

    /// Counts a refusal for which there is no connection to report.
    pub(crate) fn count_refusal(&mut self, reason: RefusalReason) {
        *self.counters.refused.entry(reason).or_default() += 1;
    }

    /// Packets came, in order. Quiet ones join the quiet ones of other links in the last event, unless an event of
    /// another kind has been made since.
    pub(crate) fn received(
        &mut self,
        link: LinkId,
        from: &AfterRead,
        received: Vec<Received>,
        dropped: Vec<PacketError>,
    ) {
        let mut packets = Vec::new();
        for Received { packet, verdict } in received {
            // A PING belongs on a link that the peer dialled, a PONG on one that we dialled. Anything else is for the
            // state to judge.
            let is_expected_here = |is_pong: bool| is_pong != from.is_inbound;
            let verdict = verdict
                .filter(|verdict| Some(verdict.sender) == from.node)
                .filter(|verdict| is_expected_here(verdict.is_pong));
            let Some(quiet) = verdict.as_ref().filter(|verdict| verdict.is_quiet()) else {
                packets.push(Received { packet, verdict });
                continue;
            };
            if !packets.is_empty() {
                let packets = std::mem::take(&mut packets);
                self.events.push(Event::Packets { link, packets, dropped: Vec::new() });
            }
            let heartbeat = QuietHeartbeat { link, is_pong: quiet.is_pong, packet };
            match self.events.last_mut() {
                Some(Event::Quiet { version, heartbeats }) if *version == quiet.version => {
                    heartbeats.push(heartbeat);
                }
                _ => {
                    let (version, heartbeats) = (quiet.version, vec![heartbeat]);
                    self.events.push(Event::Quiet { version, heartbeats });
                }
            }
        }
        if !packets.is_empty() || !dropped.is_empty() {
            self.events.push(Event::Packets { link, packets, dropped });
        }
    }
}
