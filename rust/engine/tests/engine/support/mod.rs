//! An engine with peers around it, and the loop that drives them: edges go in, events come out and are logged.
//!
//! Nothing in here sleeps. Whatever takes time is waited for, with a deadline that only a hang reaches.

pub mod certs;
pub mod memory;
pub mod packets;
pub mod peer;
#[path = "../../../../wire/tests/support/seeded.rs"]
pub mod seeded;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clusterbus_engine::{Engine, EngineConfig, Event, LinkId, OutMessage, TlsSide};
use clusterbus_wire::Packet;

pub use certs::{certs, node_setup};
pub use memory::{Fault, MemorySocket, Side};
pub use peer::Peer;

/// Longer than anything in these tests takes; reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One of the ways in which a row must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub io_threads: usize,
    pub tls: bool,
}

pub const FOUR_WAYS: [Mode; 4] = [
    Mode { io_threads: 1, tls: false },
    Mode { io_threads: 3, tls: false },
    Mode { io_threads: 1, tls: true },
    Mode { io_threads: 3, tls: true },
];

pub const WORKERS_PLAIN: Mode = Mode { io_threads: 3, tls: false };
pub const WORKERS_TLS: Mode = Mode { io_threads: 3, tls: true };

/// Runs a test in every way. When it fails, the last line printed names the way.
pub fn four_ways(test: impl Fn(Mode)) {
    for mode in FOUR_WAYS {
        println!("{mode:?}");
        test(mode);
    }
}

/// A link over a memory socket: its id, the socket and the peer.
#[derive(Clone)]
pub struct MemoryLink {
    pub id: LinkId,
    pub socket: Arc<MemorySocket>,
    pub peer: Peer,
}

pub struct Rig {
    pub engine: Engine,
    pub mode: Mode,
    pub log: Vec<Event>,
    links: Vec<MemoryLink>,
    peers: Vec<Peer>,
}

pub fn message(bytes: Vec<u8>) -> OutMessage {
    OutMessage::new(Bytes::from(bytes))
}

impl Rig {
    pub fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {})
    }

    pub fn with(mode: Mode, configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config = EngineConfig {
            io_threads: mode.io_threads,
            tls: mode.tls.then(node_setup),
            ..EngineConfig::default()
        };
        configure(&mut config);
        let engine = Engine::new(config).expect("an engine");
        Self { engine, mode, log: Vec::new(), links: Vec::new(), peers: Vec::new() }
    }

    /// An engine whose workers are all active, for tests that hold one of them in a call.
    pub fn all_active(mode: Mode) -> Self {
        Self::with(mode, |config| config.io_threads_always_active = true)
    }

    // ---- links

    /// Attaches a memory socket; its TLS handshake, if any, has not begun. On every second TLS link the engine is the
    /// dialler.
    pub fn attach(&mut self) -> MemoryLink {
        let socket = Arc::new(MemorySocket::new());
        let dials = self.links.len() % 2 == 1;
        let (side, tls) = match (self.mode.tls, dials) {
            (false, _) => (None, None),
            (true, false) => (Some(TlsSide::Accepts), Some(certs().client(Some(&certs().peer)))),
            (true, true) => (Some(TlsSide::Dials), Some(certs().server(&certs().peer))),
        };
        let id = self.engine.attach(socket.clone(), 7, side).expect("keys are set");
        let link = MemoryLink { id, socket: socket.clone(), peer: Peer::in_memory(socket, tls) };
        self.links.push(link.clone());
        link
    }

    /// A memory link that is up and at rest, with no edge left to report.
    pub fn link(&mut self) -> MemoryLink {
        let link = self.attach();
        if self.mode.tls {
            self.until("the handshake", |rig| {
                !link.peer.is_handshaking()
                    && rig.log.iter().any(
                        |event| matches!(event, Event::Connected { link: id, .. } if *id == link.id),
                    )
            });
        }
        self.settle();
        link
    }

    /// A TCP peer that dials the engine's `port`, with TLS if the mode has it.
    pub fn dial(&mut self, port: u16) -> Peer {
        let tls = self.mode.tls.then(|| certs().client(Some(&certs().peer)));
        self.dial_with(port, tls)
    }

    pub fn dial_with(&mut self, port: u16, tls: Option<rustls::Connection>) -> Peer {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the engine listens");
        let peer = Peer::over_tcp(stream, tls);
        self.peers.push(peer.clone());
        peer
    }

    /// Lets the rig pump a peer that was made elsewhere.
    pub fn adopt(&mut self, peer: &Peer) {
        self.peers.push(peer.clone());
    }

    /// Makes the engine listen on a loopback port; returns the listener's number and the port.
    pub fn listen(&mut self) -> (u64, u16) {
        let tls = self.mode.tls;
        self.listen_with(tls)
    }

    pub fn listen_with(&mut self, tls: bool) -> (u64, u16) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = self.engine.listen(address, tls, 128).expect("a port");
        (listener, self.engine.listener_port(listener).expect("a listener of ours"))
    }

    // ---- the loop

    /// Moves the peers, reports edges and takes one step of the engine, which waits a moment for jobs that are away and
    /// for TCP.
    pub fn step(&mut self) {
        self.tell_edges();
        let waits =
            !self.engine.flush() && (!self.peers.is_empty() || self.stat("jobs_in_flight") > 0);
        let wait = if waits { Duration::from_millis(1) } else { Duration::ZERO };
        let events = self.engine.poll(Some(wait)).expect("the kernel waits");
        self.log.extend(events);
    }

    pub fn tell_edges(&mut self) {
        for peer in &self.peers {
            peer.pump();
        }
        for link in &self.links {
            link.peer.pump();
            let (readable, writable) = link.socket.take_edges();
            if readable || writable {
                self.engine.edge(link.id, readable, writable);
            }
        }
    }

    /// Steps until `is_so` holds.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            let late =
                || format!("{what} never came ({:?}); stats {:?}", self.mode, self.engine.stats());
            assert!(Instant::now() < deadline, "{}", late());
            self.step();
        }
    }

    /// Steps until no job is away and nothing is left to do.
    pub fn settle(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.step();
            self.tell_edges();
            if !self.engine.flush() && self.stat("jobs_in_flight") == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "never came to rest: {:?}", self.engine.stats());
        }
    }

    // ---- what happened

    pub fn stat(&self, name: &str) -> u64 {
        self.engine.stats().get(name).copied().unwrap_or(0)
    }

    pub fn packets(&self, link: LinkId) -> Vec<Packet> {
        let of_link = self.log.iter().filter_map(|event| match event {
            Event::Packets { link: id, packets, .. } if *id == link => Some(packets),
            _ => None,
        });
        of_link.flatten().map(|received| received.packet.clone()).collect()
    }

    pub fn numbers(&self, link: LinkId) -> Vec<u64> {
        packets::numbers_of(&self.packets(link))
    }

    /// The kind and detail of every `Lost` of the link.
    pub fn lost(&self, link: LinkId) -> Vec<(&'static str, String)> {
        let of_link = self.log.iter().filter_map(|event| match event {
            Event::Lost { link: id, reason, detail, .. } if *id == link => {
                Some((reason.name(), detail.clone()))
            }
            _ => None,
        });
        of_link.collect()
    }

    pub fn drained(&self, link: LinkId) -> usize {
        let of_link = |event: &&Event| matches!(event, Event::Drained { link: id } if *id == link);
        self.log.iter().filter(of_link).count()
    }

    /// Every inbound link reported so far.
    pub fn accepted(&self) -> Vec<LinkId> {
        let accepted = self.log.iter().filter_map(|event| match event {
            Event::Accepted { link, .. } => Some(*link),
            _ => None,
        });
        accepted.collect()
    }

    pub fn refused(&self) -> Vec<(&'static str, String)> {
        let refused = self.log.iter().filter_map(|event| match event {
            Event::Refused { reason, detail, .. } => Some((reason.name(), detail.clone())),
            _ => None,
        });
        refused.collect()
    }

    /// The events of one link in order: p(ackets), l(ost), d(rained), c(onnected), a(ccepted).
    pub fn story(&self, link: LinkId) -> String {
        let letter = |event: &Event| match event {
            Event::Packets { link, .. } => Some((*link, 'p')),
            Event::Lost { link, .. } => Some((*link, 'l')),
            Event::Drained { link } => Some((*link, 'd')),
            Event::Connected { link, .. } => Some((*link, 'c')),
            Event::Accepted { link, .. } => Some((*link, 'a')),
            Event::Refused { .. } | Event::Quiet { .. } => None,
        };
        self.log.iter().filter_map(letter).filter(|(id, _)| *id == link).map(|(_, l)| l).collect()
    }

    /// Closes and frees a link; afterwards only the test holds its socket.
    pub fn close_and_free(&mut self, link: &MemoryLink) {
        self.engine.close(link.id);
        self.until("the drain", |rig| rig.drained(link.id) > 0);
        self.engine.free(link.id);
        self.links.retain(|kept| kept.id != link.id);
    }
}

impl Drop for Rig {
    /// Releases the threads that a failed test still holds, so that the engine can stop them.
    fn drop(&mut self) {
        for link in &self.links {
            link.socket.release(Side::Recv);
            link.socket.release(Side::Send);
        }
    }
}

/// A std listener on loopback, for the engine to dial.
pub fn peer_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a bound socket");
    (listener, address)
}
