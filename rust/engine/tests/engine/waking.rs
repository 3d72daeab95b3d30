//! `Engine::fd` is readable exactly when there is something to do. A lost edge or wake-up makes a test hang, and a hang
//! is a failure.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clusterbus_engine::{Engine, EngineConfig, Event, LinkId, Received};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::support::packets::{self, ping, publish};
use crate::support::{
    DEADLINE, Mode, Rig, Side, WORKERS_PLAIN, certs, four_ways, message, node_setup,
};

/// Waits for the descriptor as an event loop does; false after `wait`. A new `Poll` each time sees whether it is
/// readable now, not whether it became so.
fn is_readable(engine: &Engine, wait: Duration) -> bool {
    let mut poll = Poll::new().expect("a descriptor is to be had");
    let fd = engine.fd();
    poll.registry()
        .register(&mut SourceFd(&fd), Token(0), Interest::READABLE)
        .expect("an epoll instance can be watched");
    let mut events = Events::with_capacity(1);
    poll.poll(&mut events, Some(wait)).expect("the kernel polls");
    !events.is_empty()
}

/// Waits for what other threads do.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::yield_now();
    }
}

/// The descriptor is not readable at rest, after a flush. A waiting connection or packet makes it readable.
#[test]
fn readable_exactly_when_there_is_something_to_do() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (_, port) = rig.listen();
        rig.settle();
        assert!(!rig.engine.flush() && !is_readable(&rig.engine, Duration::ZERO));

        let peer = rig.dial(port);
        assert!(is_readable(&rig.engine, DEADLINE), "a connection is waiting");
        rig.until("the link", |rig| rig.accepted().len() == 1);
        rig.settle();
        assert!(!is_readable(&rig.engine, Duration::ZERO), "the connection was accepted");

        peer.send(&ping(1, 0));
        assert!(is_readable(&rig.engine, DEADLINE), "a packet is waiting");
        let link = rig.accepted()[0];
        rig.until("its packet", |rig| rig.numbers(link) == [1]);
        rig.settle();
        assert!(!is_readable(&rig.engine, Duration::ZERO));
    });
}

/// A completion that comes after `flush` makes the descriptor readable, once.
#[test]
fn a_completion_after_flush_is_told() {
    for tls in [false, true] {
        let mut rig = Rig::all_active(Mode { io_threads: 3, tls });
        let link = rig.link();
        for number in 1..=20 {
            link.socket.hold(Side::Recv);
            link.peer.send(&ping(number, 0));
            rig.tell_edges();
            assert!(!rig.engine.flush());
            link.socket.wait_inside(Side::Recv);
            assert!(!is_readable(&rig.engine, Duration::ZERO), "nothing is done yet");
            link.socket.release(Side::Recv);
            assert!(is_readable(&rig.engine, DEADLINE), "the completion woke nobody");
            let events = rig.engine.poll(Some(Duration::ZERO)).expect("no wait");
            rig.log.extend(events);
            assert_eq!(rig.numbers(link.id).len() as u64, number);
            rig.settle();
        }
    }
}

/// What is left of a write that met a full socket goes out when an edge came while the half was away, and so do the
/// messages that were queued meanwhile, whether the main thread sleeps or not.
#[test]
fn a_write_that_leaves_something_behind_needs_no_main_thread() {
    for tls in [false, true] {
        let mut rig = Rig::all_active(Mode { io_threads: 3, tls });
        let link = rig.link();
        for number in 1..=20 {
            link.socket.stall_sends();
            link.socket.hold(Side::Send);
            rig.engine.send(link.id, message(ping(number, 0)));
            assert!(!rig.engine.flush());
            link.socket.wait_inside(Side::Send);
            rig.engine.edge(link.id, false, true);
            assert!(!rig.engine.flush());
            link.socket.grant(usize::MAX);
            link.socket.release(Side::Send);
            wait_for("the message", || link.peer.pumped_len() as u64 == number * 2256);
            rig.settle();
        }
        link.socket.hold(Side::Send);
        rig.engine.send(link.id, message(ping(21, 0)));
        assert!(!rig.engine.flush());
        link.socket.wait_inside(Side::Send);
        rig.engine.send(link.id, message(ping(22, 0)));
        assert!(!rig.engine.flush());
        link.socket.release(Side::Send);
        wait_for("both", || link.peer.pumped_len() == 22 * 2256);
    }
}

/// An event that the engine has queued itself makes no edge, so `flush` must say that `poll` has something to do.
#[test]
fn flush_tells_of_what_poll_would_return() {
    let mut rig = Rig::new(WORKERS_PLAIN);
    let link = rig.link();
    rig.engine.close(link.id);
    assert!(rig.engine.flush(), "a Drained event is waiting");
    rig.step();
    assert!(!rig.engine.flush());
}

const LINKS: usize = 16;
const MESSAGES_EACH: u64 = 400;

/// Random traffic over TCP from other threads, while the main thread waits on the descriptor only. Every message is
/// echoed, so a single lost edge or wake-up leaves both sides waiting.
#[test]
fn no_edge_is_lost_under_random_traffic() {
    four_ways(|mode| {
        let config = EngineConfig {
            io_threads: mode.io_threads,
            tls: mode.tls.then(node_setup),
            ..EngineConfig::default()
        };
        let mut engine = Engine::new(config).expect("an engine");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = engine.listen(address, mode.tls, 128).expect("a port");
        let port = engine.listener_port(listener).expect("ours");
        let clients: Vec<_> = (0..4)
            .map(|seed| std::thread::spawn(move || ask_at_random(port, mode.tls, seed)))
            .collect();
        let mut answered: HashMap<LinkId, u64> = HashMap::new();
        let mut ended = 0;
        while ended < LINKS {
            if !engine.flush() {
                assert!(is_readable(&engine, DEADLINE), "not woken for work: {:?}", engine.stats());
            }
            for event in engine.poll(Some(Duration::ZERO)).expect("no wait") {
                match event {
                    Event::Packets { link, packets, .. } => {
                        for Received { packet, .. } in packets {
                            let next = answered.entry(link).or_default();
                            assert_eq!(
                                packets::number_of(packet.bytes()),
                                *next,
                                "lost or doubled"
                            );
                            *next += 1;
                            assert!(engine.send(link, message(packet.bytes().to_vec())));
                        }
                    }
                    Event::Lost { link, reason, detail, .. } => {
                        assert_eq!(reason.name(), "eof", "{detail}");
                        engine.close(link);
                    }
                    Event::Drained { link } => {
                        engine.free(link);
                        ended += 1;
                    }
                    Event::Accepted { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        for client in clients {
            client.join().expect("every message was echoed");
        }
        assert_eq!(answered.values().sum::<u64>(), MESSAGES_EACH * LINKS as u64);
    });
}

/// Sends on a quarter of the links, in bursts, and reads every echo before it goes on to the next link.
fn ask_at_random(port: u16, tls: bool, seed: u64) {
    let mut random = Random(seed + 1);
    let mut links: Vec<_> = (0..LINKS / 4).map(|_| (Client::dial(port, tls), 0)).collect();
    while links.iter().any(|(_, sent)| *sent < MESSAGES_EACH) {
        let pick = random.below(links.len() as u64) as usize;
        let (client, sent) = &mut links[pick];
        let burst = random.below(6).min(MESSAGES_EACH - *sent);
        let mut bytes = Vec::new();
        for number in *sent..*sent + burst {
            let packet = match random.below(3) {
                0 => publish(number, random.below(100_000) as usize),
                gossip => ping(number, gossip as u16),
            };
            bytes.extend(packet);
        }
        // Two writes, so that the cut may fall inside a packet.
        let cut = random.below(bytes.len() as u64 + 1) as usize;
        client.write(&bytes[..cut]);
        client.write(&bytes[cut..]);
        assert!(client.read(bytes.len()) == bytes, "the echo differs");
        *sent += burst;
    }
}

enum Client {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Client {
    fn dial(port: u16, tls: bool) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the engine listens");
        stream.set_nodelay(true).expect("a live socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a live socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a live socket");
        if !tls {
            return Self::Plain(stream);
        }
        let rustls::Connection::Client(client) = certs().client(Some(&certs().peer)) else {
            unreachable!("a client is a client");
        };
        Self::Tls(Box::new(rustls::StreamOwned::new(client, stream)))
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
        .expect("the engine reads");
    }

    fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self {
            Self::Plain(stream) => stream.read_exact(&mut bytes),
            Self::Tls(stream) => stream.read_exact(&mut bytes),
        }
        .expect("the engine answers");
        bytes
    }
}

/// A small random generator with a seed (xorshift64*), so that the traffic of a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}
