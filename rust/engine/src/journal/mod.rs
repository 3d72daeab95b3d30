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

use crate::journal::event::Event;
use crate::journal::stats::Counters;
use crate::link_id::LinkId;
use crate::links::{Origin, Up};
use crate::reason::{LossReason, RefusalReason};
use crate::transport::tls::PeerIdentity;
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
    pub(crate) fn up(&mut self, link: LinkId, up: &Up, identity: Option<Box<PeerIdentity>>) {
        let (peer, local_ip) = (up.peer, up.local_ip);
        self.events.push(match up.origin {
            Origin::Dialled { owner } => Event::Connected { link, owner, local_ip, identity },
            Origin::Accepted { listener } => {
                Event::Accepted { link, listener, peer, local_ip, identity }
            }
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

    /// Packets came, in order.
    pub(crate) fn received(
        &mut self,
        link: LinkId,
        is_inbound: bool,
        received: Vec<Received>,
        dropped: Vec<PacketError>,
    ) {
        if !received.is_empty() || !dropped.is_empty() {
            // A PING belongs on a link that the peer dialled, a PONG on one that we dialled. Anything else is for the
            // state to judge whole.
            let mut packets = received;
            for Received { verdict, .. } in &mut packets {
                verdict.take_if(|verdict| verdict.is_pong == is_inbound);
            }
            self.events.push(Event::Packets { link, packets, dropped });
        }
    }

    /// Heartbeats were taken where they were read. Told first, as they came before what is told with them.
    pub(crate) fn quiet(&mut self, answered: u64, noted: u64, pongs: Vec<(LinkId, u64)>) {
        if answered + noted > 0 {
            self.events.insert(0, Event::Quiet { answered, noted, pongs });
        }
    }
}
