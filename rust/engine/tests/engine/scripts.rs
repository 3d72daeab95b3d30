//! Random scripts of everything that can happen to a link, in any order. After any script, what was received is what
//! was sent or its beginning, in order and nothing twice; the counters match what went over the socket; and nothing is
//! left.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::packets::{self, module, ping, publish};
use crate::support::{FOUR_WAYS, MemoryLink, Mode, Rig, Side, message, seeded};

const LINKS: usize = 3;
const CASES: u32 = 60;

/// One thing that happens; the first number is the link's.
#[derive(Clone, Debug)]
enum Act {
    /// This many more bytes of the peer's stream come in.
    Deliver(usize, usize),
    /// The peer ends its stream, even inside a packet.
    End(usize),
    /// This many messages are queued.
    Send(usize, usize),
    Stall(usize),
    Grant(usize, usize),
    Split(usize, Side, usize),
    /// All real edges are reported, and false edges of both kinds on this link.
    Edges(usize),
    Poll,
    Flush,
    Drain,
    Resize(usize),
    Close(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let link = || 0..LINKS;
    prop_oneof![
        8 => (link(), 1..6000usize).prop_map(|(link, bytes)| Act::Deliver(link, bytes)),
        1 => link().prop_map(Act::End),
        6 => (link(), 1..5usize).prop_map(|(link, count)| Act::Send(link, count)),
        2 => link().prop_map(Act::Stall),
        4 => (link(), 1..9000usize).prop_map(|(link, bytes)| Act::Grant(link, bytes)),
        2 => (link(), any::<bool>(), 1..3000usize).prop_map(|(link, recv, bytes)| {
            Act::Split(link, if recv { Side::Recv } else { Side::Send }, bytes)
        }),
        8 => link().prop_map(Act::Edges),
        8 => Just(Act::Poll),
        6 => Just(Act::Flush),
        1 => Just(Act::Drain),
        2 => (1..5usize).prop_map(Act::Resize),
        1 => link().prop_map(Act::Close),
    ]
}

/// The message numbered `number`, in either direction; kinds and lengths rotate.
fn nth(number: u64) -> Vec<u8> {
    match number % 4 {
        0 => ping(number, (number % 7) as u16),
        1 => publish(number, (number as usize * 37) % 900),
        2 => module(number, (number as usize * 11) % 300),
        _ => publish(number, 0),
    }
}

struct Scripted {
    link: MemoryLink,
    /// The peer's stream as made so far, of which `delivered` bytes were sent.
    stream: Vec<u8>,
    stream_messages: u64,
    delivered: usize,
    ended: bool,
    /// How many messages the engine took.
    queued: u64,
    closed: bool,
}

impl Scripted {
    fn deliver(&mut self, bytes: usize) {
        while self.stream.len() < self.delivered + bytes {
            self.stream.extend(nth(self.stream_messages));
            self.stream_messages += 1;
        }
        if !self.ended {
            self.link.peer.send(&self.stream[self.delivered..self.delivered + bytes]);
            self.delivered += bytes;
        }
    }

    /// How many messages the peer has sent in full.
    fn delivered_messages(&self) -> u64 {
        let mut at = 0;
        (0..)
            .take_while(|number| {
                at += nth(*number).len();
                at <= self.delivered
            })
            .count() as u64
    }

    /// Everything that was queued for the peer.
    fn queued_bytes(&self) -> Vec<u8> {
        (0..self.queued).flat_map(nth).collect()
    }
}

fn perform(rig: &mut Rig, links: &mut [Scripted], act: Act) {
    match act {
        Act::Deliver(link, bytes) => links[link].deliver(bytes),
        Act::End(link) => {
            links[link].ended = true;
            links[link].link.peer.end();
        }
        Act::Send(link, count) => {
            let scripted = &mut links[link];
            for _ in 0..count {
                if rig.engine.send(scripted.link.id, message(nth(scripted.queued))) {
                    scripted.queued += 1;
                }
            }
        }
        Act::Stall(link) => links[link].link.socket.stall_sends(),
        Act::Grant(link, bytes) => links[link].link.socket.grant(bytes),
        Act::Split(link, side, bytes) => links[link].link.socket.split(side, bytes),
        Act::Edges(link) => {
            rig.tell_edges();
            rig.engine.edge(links[link].link.id, true, true);
        }
        Act::Poll => {
            let events = rig.engine.poll(Some(std::time::Duration::ZERO)).expect("no wait");
            rig.log.extend(events);
        }
        Act::Flush => drop(rig.engine.flush()),
        Act::Drain => rig.engine.drain().expect("the kernel waits"),
        Act::Resize(io_threads) => rig.engine.resize(io_threads).expect("threads can be had"),
        Act::Close(link) => {
            links[link].closed = true;
            rig.engine.close(links[link].link.id);
        }
    }
}

fn check(mode: Mode, script: Vec<Act>) {
    let mut rig = Rig::with(mode, |config| config.outbox_completions = 2);
    let mut links: Vec<_> = (0..LINKS)
        .map(|_| Scripted {
            link: rig.link(),
            stream: Vec::new(),
            stream_messages: 0,
            delivered: 0,
            ended: false,
            queued: 0,
            closed: false,
        })
        .collect();
    rig.engine.reset_stats();
    let sent_before: usize = links.iter().map(|scripted| scripted.link.socket.sent_len()).sum();
    for act in script {
        perform(&mut rig, &mut links, act);
    }
    for scripted in &links {
        for side in [Side::Recv, Side::Send] {
            scripted.link.socket.split(side, usize::MAX);
        }
        scripted.link.socket.grant(usize::MAX);
    }
    rig.settle();
    rig.tell_edges();
    for scripted in &links {
        check_link(&rig, scripted);
    }
    if !mode.tls {
        let sent: usize = links.iter().map(|scripted| scripted.link.socket.sent_len()).sum();
        let counted: u64 = ["cluster", "pubsub", "module"]
            .iter()
            .map(|class| rig.stat(&format!("bytes_sent_{class}")))
            .sum();
        assert_eq!(counted, (sent - sent_before) as u64, "R10");
    }
    for scripted in links {
        rig.close_and_free(&scripted.link);
        assert_eq!(rig.drained(scripted.link.id), 1);
        let Scripted { link: MemoryLink { socket, peer, .. }, .. } = scripted;
        drop(peer);
        assert_eq!(Arc::strong_count(&socket), 1, "somebody still holds the socket");
    }
    assert_eq!((rig.stat("links"), rig.stat("jobs_in_flight")), (0, 0));
}

fn check_link(rig: &Rig, scripted: &Scripted) {
    let link = &scripted.link;
    let received = rig.numbers(link.id);
    let whole = scripted.delivered_messages();
    assert!(received.iter().copied().eq(0..received.len() as u64), "{received:?}");
    assert!(received.len() as u64 <= whole);
    let sent = link.peer.received();
    assert!(scripted.queued_bytes().starts_with(&sent), "lost, doubled or out of order");
    assert!(rig.lost(link.id).len() <= 1);
    assert_eq!(link.socket.overlaps(), 0, "R13");
    if scripted.closed {
        return;
    }
    assert_eq!(received.len() as u64, whole, "every whole message was received");
    if scripted.ended {
        assert_eq!(rig.lost(link.id).len(), 1);
        assert!(rig.story(link.id).ends_with('l'));
    } else {
        assert!(rig.lost(link.id).is_empty());
        assert_eq!(sent.len(), scripted.queued_bytes().len(), "everything queued was sent");
        assert_eq!(rig.engine.send_queue(link.id), (0, 0));
        packets::split(&sent);
    }
}

fn check_many(mode: Mode) {
    let mut runner = TestRunner::new(seeded::config(CASES));
    let outcome = runner.run(&vec(act(), 1..120), |script| {
        check(mode, script);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{mode:?}: {failure}"));
}

#[test]
fn scripts_on_the_main_thread() {
    check_many(FOUR_WAYS[0]);
}

#[test]
fn scripts_on_workers() {
    check_many(FOUR_WAYS[1]);
}

#[test]
fn scripts_on_the_main_thread_over_tls() {
    check_many(FOUR_WAYS[2]);
}

#[test]
fn scripts_on_workers_over_tls() {
    check_many(FOUR_WAYS[3]);
}
