//! A server that starts into a cluster of known nodes, from its first moment until its heartbeats are quiet.
//!
//! What counts can be seen from outside: the server has dialled every node and got a PONG, and then answers one whole
//! round of PINGs, one on each link, with PONGs in which each node mentioned has answered and none is suspected.

use std::time::Instant;

use clusterbus_peers_bench::Failure;
use clusterbus_wire::{Message, decode};

use crate::window::Window;

use super::{Load, Phase};

/// Flags that a node has while something is wrong with it or unknown: PFAIL, FAIL, handshake, no address.
const FLAGS_OF_UNSETTLED: u16 = 4 | 8 | 32 | 64;

/// How far a server has come.
pub struct Join {
    window: Window,
    deadline: Instant,
    /// When the server dialled first, from its start, and the CPU time it had used by then.
    first_dial: Option<(u64, u64)>,
    /// When the last of its dials was answered, from its start.
    dialled_ns: Option<u64>,
    round: Option<Round>,
}

/// A round of PINGs: those sent since it began, until every link has had one answered.
struct Round {
    began_ns: u64,
    answered: usize,
    is_settled: bool,
}

impl Join {
    /// Begins at the start of the server's process.
    ///
    /// # Errors
    /// Those of [`Window::begin_at_start`].
    pub fn begin(server: u32, deadline: Instant) -> Result<Join, Failure> {
        let window = Window::begin_at_start(server)?;
        Ok(Join { window, deadline, first_dial: None, dialled_ns: None, round: None })
    }

    fn elapsed_ns(&self) -> u64 {
        self.window.elapsed().as_nanos() as u64
    }
}

impl Load {
    pub(super) fn step_join(&mut self) -> Result<(), Failure> {
        let (now_ns, accepted) = (self.now_ns(), self.accepted_up);
        let Phase::Starting(join) = &mut self.phase else { return Ok(()) };
        if Instant::now() >= join.deadline {
            return Err(format!(
                "not quiet in time: {accepted} of {} dials",
                self.plan.expect_dials
            )
            .into());
        }
        if accepted > 0 && join.first_dial.is_none() {
            join.first_dial = Some((join.elapsed_ns(), join.window.server_all_ns()?));
            return self.dial_all();
        }
        if accepted >= self.plan.expect_dials && join.dialled_ns.is_none() {
            join.dialled_ns = Some(join.elapsed_ns());
        }
        if self.metronome.is_none() && self.dialled_up == self.plan.links {
            return self.begin_load();
        }
        let is_over = |round: &Round| round.answered >= self.plan.links;
        match &join.round {
            Some(round) if is_over(round) && round.is_settled => self.end_join(),
            None if join.dialled_ns.is_none() || self.metronome.is_none() => Ok(()),
            Some(round) if !is_over(round) => Ok(()),
            _ => {
                join.round = Some(Round { began_ns: now_ns, answered: 0, is_settled: true });
                Ok(())
            }
        }
    }

    fn end_join(&mut self) -> Result<(), Failure> {
        if let Phase::Starting(join) = std::mem::replace(&mut self.phase, Phase::Done) {
            let (first_dial_ns, start_all_ns) = join.first_dial.unwrap_or_default();
            let record = join.window.end(&self.counts)?;
            record
                .number("first_dial_ns", first_dial_ns)
                .number("start_all_ns", start_all_ns)
                .number("dialled_ns", join.dialled_ns.unwrap_or_default())
                .print()?;
        }
        Ok(())
    }

    /// Notes an answer to a PING that was sent at `sent_ns`.
    pub(super) fn note_answer(&mut self, sent_ns: u64) {
        if let Phase::Starting(Join { round: Some(round), .. }) = &mut self.phase
            && sent_ns >= round.began_ns
        {
            round.answered += 1;
        }
    }

    /// Looks at what a PONG says of the nodes that it mentions.
    pub(super) fn note_gossip(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let Phase::Starting(Join { round: Some(round), .. }) = &mut self.phase else {
            return Ok(());
        };
        if let Message::Heartbeat(heartbeat) = decode(packet)? {
            round.is_settled &= heartbeat
                .gossip
                .iter()
                .all(|entry| entry.pong_received_s > 0 && entry.flags & FLAGS_OF_UNSETTLED == 0);
        }
        Ok(())
    }
}
