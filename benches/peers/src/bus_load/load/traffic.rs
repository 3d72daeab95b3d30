//! The traffic on the links: PINGs, PONGs, PUBLISH commands, and the answers.

use clusterbus_peers_bench::Failure;
use clusterbus_peers_bench::publish_command;
use clusterbus_peers_bench::tls::Tls;
use clusterbus_peers_bench::transport::{Received, Transport};
use clusterbus_wire::{MessageType, NodeId, check_packet};
use rustix::event::epoll;

use crate::link::{Link, Role};
use crate::plan::Mode;

use super::{Load, Phase};

const PING: u16 = MessageType::Ping.number();
const PONG: u16 = MessageType::Pong.number();
const PUBLISH: u16 = MessageType::Publish.number();
const UPDATE: u16 = MessageType::Update.number();
const SENDER_AT: std::ops::Range<usize> = 40..80;

impl Load {
    // ------------------------------------------------------------ sending

    pub(super) fn dial_all(&mut self) -> Result<(), Failure> {
        for peer in self.plan.first_peer..self.plan.first_peer + self.plan.links {
            let token = self.dial(peer)?;
            self.dialled.push(token);
        }
        Ok(())
    }

    /// Dials the server as this node and queues a PING, which leaves as soon as the link is up.
    fn dial(&mut self, peer: usize) -> Result<usize, Failure> {
        let node = &self.roster.peers[peer];
        let tls = self.tls.as_ref().map(Tls::dialling).transpose()?;
        let transport = Transport::dial(node.ip, self.roster.server.bus_address(), tls)?;
        let mut link = Link::new(transport, Role::Dialled(peer));
        link.sent_ns.push_back(self.now_ns());
        link.transport.send(&self.packets.ping_of(peer))?;
        self.links.insert(&self.epoll, link)
    }

    /// Sends a PING on a dialled link, which must be in the table.
    pub(super) fn ping_on(&mut self, token: usize) -> Result<(), Failure> {
        let mut link = self.links.take(token).ok_or("a dialled link is gone")?;
        if let Role::Dialled(peer) = link.role {
            link.sent_ns.push_back(self.now_ns());
            link.transport.send(&self.packets.ping_of(peer))?;
        }
        self.links.put_back(&self.epoll, token, link)
    }

    /// Sends the one PING of a beat, on the next link in turn.
    pub(super) fn send_paced(&mut self) -> Result<(), Failure> {
        let Some(metronome) = &mut self.metronome else { return Ok(()) };
        let Some(beat) = metronome.poll_beat()? else { return Ok(()) };
        self.counts.missed += beat.missed;
        self.counts.lateness.record(beat.late_ns);
        self.beats += 1;
        if self.plan.churn_every > 0 && self.beats.is_multiple_of(self.plan.churn_every) {
            return self.announce_change();
        }
        self.next_paced = (self.next_paced + 1) % self.dialled.len().max(1);
        self.ping_on(self.dialled[self.next_paced])
    }

    /// Changes the cluster, and has the node that announces it send its PING.
    fn announce_change(&mut self) -> Result<(), Failure> {
        let change = self.churn.make_next(&mut self.roster)?;
        self.packets.renew(&self.roster, &change.changed)?;
        self.counts.changes += 1;
        let token =
            *self.dialled.get(change.announcer).ok_or("a change of a node without a link")?;
        self.ping_on(token)
    }

    /// Sends PUBLISH commands until the allowed number is in flight.
    pub(super) fn publish(&mut self) -> Result<(), Failure> {
        let Some(token) = self.client else { return Ok(()) };
        let missing = self.plan.in_flight - self.published_in_flight;
        if missing == 0 {
            return Ok(());
        }
        let mut link = self.links.take(token).ok_or("the client's connection is gone")?;
        let command = publish_command();
        for _ in 0..missing {
            link.sent_ns.push_back(self.now_ns());
            link.transport.send(&[&command])?;
        }
        self.published_in_flight = self.plan.in_flight;
        self.links.put_back(&self.epoll, token, link)
    }

    // ------------------------------------------------------------ receiving

    pub(super) fn accept(&mut self, peer: usize) -> Result<(), Failure> {
        loop {
            match self.listeners[peer].accept() {
                Ok((stream, _)) => {
                    let tls = self.tls.as_ref().map(Tls::accepting).transpose()?;
                    let link = Link::new(Transport::new(stream, tls)?, Role::Accepted(peer));
                    self.links.insert(&self.epoll, link)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn handle_link(
        &mut self,
        token: usize,
        flags: epoll::EventFlags,
    ) -> Result<(), Failure> {
        let Some(mut link) = self.links.take(token) else { return Ok(()) };
        if flags.contains(epoll::EventFlags::OUT) && !flags.contains(epoll::EventFlags::ERR) {
            link.transport.flush()?;
        }
        let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if !flags.intersects(readable) {
            return self.links.put_back(&self.epoll, token, link);
        }
        let is_open = self.receive(&mut link);
        let storm = self.plan.mode == Mode::Storm;
        match (link.role, is_open) {
            (Role::Dialled(peer), is_open)
                if storm && (link.is_linked || !matches!(is_open, Ok(true))) =>
            {
                self.counts.refused += u64::from(!link.is_linked);
                drop(link);
                self.links.forget(token);
                self.dial(peer)?;
            }
            (_, Ok(true)) => self.links.put_back(&self.epoll, token, link)?,
            (_, Err(failure)) => return Err(failure),
            (Role::Accepted(_), Ok(false)) => {
                self.accepted_up -= usize::from(link.is_linked);
                self.links.forget(token);
            }
            (role, Ok(false)) => return Err(format!("the server closed {role:?}").into()),
        }
        if self.plan.mode == Mode::Publish {
            self.publish()?;
        }
        Ok(())
    }

    /// Reads once and handles what came. False at the end of the stream.
    fn receive(&mut self, link: &mut Link) -> Result<bool, Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut seen = std::mem::take(&mut self.seen);
        let mut received = link.transport.receive(&mut buffer);
        let is_open = loop {
            match received {
                Ok(Received::Bytes(len)) => {
                    if let Err(failure) = self.take_bytes(link, &buffer[..len], &mut seen) {
                        break Err(failure);
                    }
                    received = link.transport.receive_more(&mut buffer);
                }
                Ok(Received::Nothing) => break Ok(true),
                Ok(Received::Closed) => break Ok(false),
                Err(failure) => break Err(failure),
            }
        };
        self.buffer = buffer;
        self.seen = seen;
        is_open
    }

    fn take_bytes(
        &mut self,
        link: &mut Link,
        bytes: &[u8],
        seen: &mut Vec<u16>,
    ) -> Result<(), Failure> {
        if link.role == Role::Client {
            return take_replies(bytes);
        }
        let is_dialled = matches!(link.role, Role::Dialled(_));
        self.received += 1;
        if is_dialled && self.received.is_multiple_of(self.plan.check_every) {
            link.framer.keep_next();
        }
        let (server, counts) = (self.roster.server.id, &mut self.counts);
        let mut joined = Vec::new();
        let is_joining = matches!(self.phase, Phase::Starting(_));
        seen.clear();
        link.framer.feed(bytes, |message_type, kept| {
            if let Some(packet) = kept {
                check_answer(packet, server)?;
                counts.checked += 1;
                if is_joining {
                    joined.push(packet.to_vec());
                }
            }
            seen.push(message_type);
            Ok(())
        })?;
        for packet in joined {
            self.note_gossip(&packet)?;
        }
        for &message_type in seen.iter() {
            match (link.role, message_type) {
                (Role::Dialled(peer), PONG) => self.handle_pong(link, peer)?,
                (Role::Accepted(peer), PING) => self.handle_ping(link, peer)?,
                (_, PUBLISH) => self.handle_delivery(),
                (_, UPDATE) => self.counts.updates += 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn handle_pong(&mut self, link: &mut Link, peer: usize) -> Result<(), Failure> {
        let sent_ns = link.sent_ns.pop_front().ok_or("a PONG to no PING")?;
        let now_ns = self.now_ns();
        self.counts.latency.record(now_ns - sent_ns);
        self.note_answer(sent_ns);
        if !link.is_linked {
            link.is_linked = true;
            self.dialled_up += 1;
        }
        if self.plan.mode == Mode::Storm {
            self.counts.handshakes += 1;
            return Ok(());
        }
        self.counts.pongs += 1;
        if self.plan.mode == Mode::Ping && !matches!(self.phase, Phase::Joining { .. }) {
            link.sent_ns.push_back(now_ns);
            link.transport.send(&self.packets.ping_of(peer))?;
        }
        Ok(())
    }

    fn handle_ping(&mut self, link: &mut Link, peer: usize) -> Result<(), Failure> {
        link.transport.send(&self.packets.pong_of(peer))?;
        self.counts.pings_answered += 1;
        if !link.is_linked {
            link.is_linked = true;
            self.accepted_up += 1;
        }
        if self.plan.mode == Mode::Idle
            && !matches!(self.phase, Phase::Joining { .. })
            && let Some(&token) = self.dialled.get(peer)
        {
            self.ping_on(token)?;
        }
        Ok(())
    }

    fn handle_delivery(&mut self) {
        self.counts.deliveries += 1;
        self.delivered += 1;
        let targets = if self.plan.expect_dials > 0 { self.accepted_up } else { self.plan.links };
        if self.delivered < targets {
            return;
        }
        self.delivered -= targets;
        self.counts.published += 1;
        self.published_in_flight -= 1;
        let sent_ns = self.client.and_then(|token| {
            let mut client = self.links.take(token)?;
            let sent_ns = client.sent_ns.pop_front();
            self.links.put_back(&self.epoll, token, client).ok()?;
            sent_ns
        });
        if let Some(sent_ns) = sent_ns {
            self.counts.latency.record(self.now_ns() - sent_ns);
        }
    }
}

/// Checks the replies to the client: a line that begins with `-` is an error with the server's text.
fn take_replies(bytes: &[u8]) -> Result<(), Failure> {
    let starts = std::iter::once(0).chain(
        bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(index, _)| index + 1),
    );
    if starts.into_iter().any(|start| bytes.get(start) == Some(&b'-')) {
        return Err(format!("PUBLISH: {}", String::from_utf8_lossy(bytes)).into());
    }
    Ok(())
}

/// Checks that an answer is a valid packet from the server.
fn check_answer(packet: &[u8], server: NodeId) -> Result<(), Failure> {
    let checked = check_packet(packet)?;
    if checked.is_light || packet[SENDER_AT] != server.as_bytes()[..] {
        return Err("an answer that is not the server's".into());
    }
    Ok(())
}
