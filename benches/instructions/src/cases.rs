//! The measured paths, as a table. Each case prepares its data, runs once to fill the buffers that are kept between
//! packets, and then runs once more to be measured.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clusterbus_engine::{Engine, EngineConfig, Event, LinkId, OutMessage};
use clusterbus_wire::{
    HeartbeatKind, IP_LEN_BYTES, MessageType, Packet, check_packet, peek_frame_len,
};

use crate::cluster::{NOW_MS, encoded, heartbeat, id, view};
use crate::measured;
use crate::memory_socket::MemorySocket;

/// Number of packets that every case works on.
const PACKETS: usize = 64;
const NODES: usize = 2_000;
const PING: u16 = MessageType::Ping.number();
const PONG: u16 = MessageType::Pong.number();

/// Runs a path and returns the number of packets it worked on.
pub type Case = fn() -> usize;

/// Every path by its name; the number in a name is the number of gossip entries.
pub const CASES: &[(&str, Case)] = &[
    ("deframe-and-check-20", || deframe_and_check(20)),
    ("deframe-and-check-200", || deframe_and_check(200)),
    ("decode-gossip-20", || decode_gossip(20)),
    ("decode-gossip-200", || decode_gossip(200)),
    ("encode-pong-20", || encode_pong(20)),
    ("encode-pong-200", || encode_pong(200)),
    ("compare-20", || compare(20)),
    ("compare-200", || compare(200)),
    ("encode-from-view-20", || encode_from_view(201)),
    ("encode-from-view-200", || encode_from_view(NODES)),
    ("engine-read-and-write-20", || read_and_write(20)),
    ("engine-read-and-write-200", || read_and_write(200)),
    ("engine-quiet-read-and-write-20", || quiet_read_and_write(20, 201)),
    ("engine-quiet-read-and-write-200", || quiet_read_and_write(200, NODES)),
];

/// Runs the path once to warm up, and once to be measured.
fn run(mut path: impl FnMut()) -> usize {
    path();
    measured(&mut path);
    PACKETS
}

fn pings(entries: usize, nodes: usize) -> Vec<Vec<u8>> {
    (1..=PACKETS).map(|sender| encoded(HeartbeatKind::Ping, sender, entries, nodes)).collect()
}

fn packets(entries: usize) -> Vec<Packet> {
    let frames = pings(entries, NODES).into_iter().map(Bytes::from);
    frames.map(|frame| Packet::new(frame).expect("a valid packet")).collect()
}

/// Finds where each PING of a stream ends, and checks it.
fn deframe_and_check(entries: usize) -> usize {
    let stream = pings(entries, NODES).concat();
    run(|| {
        let mut rest = &stream[..];
        while let Ok(Some(len)) = peek_frame_len(black_box(rest)) {
            let (frame, after) = rest.split_at(len);
            black_box(check_packet(frame)).expect("a valid packet");
            rest = after;
        }
        assert!(rest.is_empty());
    })
}

/// Decodes every gossip entry into an owned value, which is what a packet that is not quiet costs the main thread.
fn decode_gossip(entries: usize) -> usize {
    let packets = packets(entries);
    run(|| {
        for packet in &packets {
            let count = packet.packet_ref().gossip_entries().map(black_box).count();
            assert_eq!(count, entries);
        }
    })
}

/// Encodes PONGs from messages, which is what they cost the main thread without a view.
fn encode_pong(entries: usize) -> usize {
    let senders = 1..=PACKETS;
    let pongs: Vec<_> =
        senders.map(|n| heartbeat(HeartbeatKind::Pong, n, entries, NODES)).collect();
    run(|| {
        for pong in &pongs {
            black_box(pong.encode()).expect("a valid message");
        }
    })
}

/// Compares quiet PINGs with the view.
fn compare(entries: usize) -> usize {
    let (view, packets) = (view(NODES), packets(entries));
    run(|| {
        for packet in &packets {
            let verdict = view.compare(black_box(packet), &[0; IP_LEN_BYTES], NOW_MS);
            assert!(verdict.is_some_and(|verdict| verdict.is_quiet()));
        }
    })
}

/// Encodes PONGs from the view.
fn encode_from_view(nodes: usize) -> usize {
    let view = view(nodes);
    run(|| {
        for number in 1..=PACKETS {
            black_box(view.encode_heartbeat(PONG, id(number).as_bytes(), number as u64));
        }
    })
}

/// One link over a socket in memory, on the main thread only: the code of jobs without threads and system calls.
struct OneLink {
    engine: Engine,
    socket: Arc<MemorySocket>,
    link: LinkId,
}

impl OneLink {
    fn new() -> OneLink {
        let config = EngineConfig { io_threads: 1, ..EngineConfig::default() };
        let mut engine = Engine::new(config).expect("no threads, an eventfd and an epoll");
        let socket = Arc::new(MemorySocket::default());
        let link = engine.attach(socket.clone(), 0, None).expect("no TLS asked for");
        OneLink { engine, socket, link }
    }

    /// Gives the link `bytes` and steps the engine until `handle` has counted all packets in its events.
    fn receive(&mut self, bytes: &[u8], mut handle: impl FnMut(&mut Engine, Event) -> usize) {
        self.socket.give(bytes);
        self.engine.edge(self.link, true, true);
        let mut seen = 0;
        while seen < PACKETS {
            let events = self.engine.poll(Some(Duration::ZERO)).expect("nothing to refuse");
            assert!(!events.is_empty(), "{seen} of {PACKETS} packets and no more events");
            for event in events {
                seen += handle(&mut self.engine, event);
            }
            self.engine.flush();
        }
    }
}

/// A read job hands over 64 PINGs, a prepared PONG is queued for each, and write jobs send them.
fn read_and_write(entries: usize) -> usize {
    let stream = pings(entries, NODES).concat();
    let pong = Bytes::from(encoded(HeartbeatKind::Pong, 1, entries, NODES));
    let mut one = OneLink::new();
    let link = one.link;
    let taken = run(|| {
        one.receive(&stream, |engine, event| {
            let Event::Packets { packets, .. } = event else { return 0 };
            for packet in &packets {
                black_box(packet);
                assert!(engine.send(link, OutMessage::new(pong.clone())));
            }
            packets.len()
        });
    });
    one.finish(2 * PACKETS * pong.len());
    taken
}

/// The same with a view: the read job compares, the write job encodes. An attached link counts as dialled, so PONGs
/// come in and PINGs go out; they take the same path through the code.
fn quiet_read_and_write(entries: usize, nodes: usize) -> usize {
    let one_sender = encoded(HeartbeatKind::Pong, 1, entries, nodes);
    let stream = one_sender.repeat(PACKETS);
    let mut one = OneLink::new();
    let link = one.link;
    one.engine.publish(view(nodes));
    one.engine.bind(link, *id(1).as_bytes());
    let taken = run(|| {
        one.receive(&stream, |engine, event| {
            let Event::Quiet { noted, .. } = event else { return 0 };
            for _ in 0..noted {
                assert!(engine.send_heartbeat(link, PING));
            }
            noted as usize
        });
    });
    one.finish(2 * PACKETS * one_sender.len());
    taken
}

impl OneLink {
    /// Checks that everything queued in both runs has been sent.
    fn finish(mut self, sent_bytes: usize) {
        while self.engine.send_queue(self.link).0 > 0 {
            self.engine.poll(Some(Duration::ZERO)).expect("nothing to refuse");
        }
        assert_eq!(self.socket.sent_bytes(), sent_bytes);
    }
}
