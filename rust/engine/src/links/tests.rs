//! The bookkeeping of `Links` and their docks under random events: after each event, what is counted is there.
//!
//! Halves are taken and brought home at any time, over a socket that does what the seed decides; no thread, no kernel.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Connection, ServerConfig, ServerConnection};

use super::{Links, NewLink, Origin};
use crate::completion::{apply, end, lose, tell_up};
use crate::docks::{Dock, Edge, Io, Side, Work};
use crate::job::{JobRunner, JobScratch, Task};
use crate::journal::Journal;
use crate::lease::Lease;
use crate::link_id::LinkId;
use crate::pool::Hands;
use crate::reason::{EndReason, LossReason};
use crate::sync::Arc as SharedArc;
use crate::transport::socket::Socket;
use crate::transport::times::LinkTimes;
use crate::transport::transfer::OutMessage;

const SEEDS: u64 = 300;
const EVENTS: usize = 200;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(50);
const FIRST_PACKET_TIMEOUT: Duration = Duration::from_millis(150);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7);

/// A small random generator with a seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}

/// A socket whose every call does what the test set last.
#[derive(Default)]
struct Fickle {
    /// What the next calls do. Relaxed, since the test has only one thread.
    mood: AtomicU8,
    incoming: Mutex<Vec<u8>>,
}

impl Fickle {
    fn strike(&self) -> io::Result<()> {
        match self.mood.load(Ordering::Relaxed) {
            0 => Err(ErrorKind::WouldBlock.into()),
            1 => Err(ErrorKind::ConnectionReset.into()),
            2 => panic!("the socket was told to panic"),
            _ => Ok(()),
        }
    }
}

impl Socket for Fickle {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().expect("the lock is never poisoned");
        let taken = incoming.len().min(buffer.len());
        if taken == 0 {
            drop(incoming);
            return self.strike().map(|()| 0);
        }
        buffer[..taken].copy_from_slice(&incoming[..taken]);
        incoming.drain(..taken);
        Ok(taken)
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.strike()?;
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// A TLS connection that waits for the client's first message.
fn tls_connection() -> Connection {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    ServerConnection::new(Arc::new(config)).expect("the setup is valid").into()
}

/// A PUBLISH with a light header and nothing after it.
fn packet() -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[..4].copy_from_slice(b"RCmb");
    bytes[7] = 24;
    bytes[9] = 1;
    bytes[12..14].copy_from_slice(&0x8004u16.to_be_bytes());
    bytes
}

struct World {
    runner: JobRunner,
    random: Random,
    links: Links,
    journal: Journal,
    now: Instant,
    sockets: Vec<(LinkId, Arc<Fickle>)>,
    /// Tasks that were queued.
    queued: Vec<Task>,
    /// Halves that were taken.
    away: Vec<(SharedArc<Dock>, Side, Work)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let runner = JobRunner {
            view: Arc::default(),
            lease: Arc::new(Lease::new(now, Duration::from_secs(60))),
            roster: Arc::default(),
            tally: Arc::default(),
        };
        Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            links: Links::new(runner.roster.clone(), HANDSHAKE_TIMEOUT, FIRST_PACKET_TIMEOUT),
            journal: Journal::default(),
            now,
            runner,
            sockets: Vec::new(),
            queued: Vec::new(),
            away: Vec::new(),
        }
    }

    fn insert(&mut self) {
        let fickle = Arc::new(Fickle::default());
        let socket: Arc<dyn Socket> = fickle.clone();
        let times = LinkTimes::new(self.now, None);
        let accepted = Origin::Accepted { listener: 1 };
        let (origin, io) = match self.random.below(3) {
            0 => (Origin::Dialled { owner: 2 }, Io::Connecting { tls: false }),
            1 => (accepted, Io::plain(socket.clone(), times.clone(), PEER)),
            _ => {
                let connection = tls_connection();
                (accepted, Io::handshake(socket.clone(), connection, times.clone(), PEER))
            }
        };
        let is_plain = matches!(io, Io::Plain { .. });
        let new = NewLink { origin, peer: PEER, tcp: None, socket, times, io };
        let link = self.links.insert(new);
        self.sockets.push((link, fickle));
        if is_plain {
            tell_up(&mut self.links, &mut self.journal, link, None, self.now);
        } else {
            self.links.must_open(link, self.now);
        }
    }

    /// Makes one random event happen.
    fn step(&mut self) {
        if self.sockets.is_empty() || self.random.below(12) == 0 {
            return self.insert();
        }
        let (link, socket) = self.sockets[self.random.below(self.sockets.len())].clone();
        let (links, journal) = (&mut self.links, &mut self.journal);
        match self.random.below(14) {
            0 => socket.mood.store(self.random.below(12) as u8, Ordering::Relaxed),
            1 => socket.incoming.lock().expect("the lock is never poisoned").extend(packet()),
            2..=4 => {
                let edge = Edge {
                    is_readable: self.random.below(2) == 0,
                    is_writable: self.random.below(2) == 0,
                    is_ended: self.random.below(20) == 0,
                };
                links.edge(link, edge);
            }
            5 | 6 => {
                let _ = links.queue(link, OutMessage::new(Bytes::from(packet())), usize::MAX);
            }
            7 => {
                links.news_told();
                links.news_applied();
            }
            8 => {
                self.queued.extend(links.next_ready().into_iter().flat_map(|(_, job)| job.tasks()));
                self.take_one();
            }
            9 | 10 => self.bring_one_home(),
            11 => match self.random.below(4) {
                0 => lose(links, journal, link, LossReason::SendbufLimit, String::new()),
                1 => end(links, journal, link, EndReason::Error, String::new()),
                _ => {
                    self.now += Duration::from_millis(self.random.below(40) as u64);
                    while let Some((link, _)) = links.next_overdue(self.now) {
                        end(links, journal, link, EndReason::HandshakeTimeout, String::new());
                    }
                }
            },
            12 if self.random.below(2) == 0 => tell_up(links, journal, link, None, self.now),
            12 => {
                links.close(link);
            }
            _ => links.free(link),
        }
    }

    /// A task begins: it takes its half, unless somebody else has.
    fn take_one(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let Task { dock, side } = self.queued.swap_remove(self.random.below(self.queued.len()));
        if let Some(work) = dock.take(side) {
            self.away.push((dock, side, work));
        }
    }

    fn bring_one_home(&mut self) {
        if self.away.is_empty() {
            return;
        }
        let (dock, side, work) = self.away.swap_remove(self.random.below(self.away.len()));
        let mut hands = Hands::default();
        self.runner.finish(&dock, side, work, &mut JobScratch::default(), true, &mut hands);
        JobRunner::go_on(&dock, &mut hands);
        for completion in hands.done {
            apply(&mut self.links, &mut self.journal, completion, self.now);
        }
        self.queued.extend(hands.more.into_iter().flat_map(|(_, job)| job.tasks()));
    }

    fn check(&self) {
        self.links.check(self.away.len());
    }
}

/// The seeds to run: all, or the one in the environment variable `SEED`.
fn seeds() -> RangeInclusive<u64> {
    let asked = std::env::var("SEED").ok();
    asked.map_or(1..=SEEDS, |seed| {
        let seed = seed.parse().expect("SEED is a number");
        seed..=seed
    })
}

/// Prints how to repeat a seed when the test fails in it.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = "links::tests::what_is_counted_is_what_is_there";
            println!("repeat: SEED={} cargo test --package clusterbus-engine --lib {test}", self.0);
        }
    }
}

#[test]
fn what_is_counted_is_what_is_there() {
    // The socket panics on purpose, inside a job that catches it.
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("told to panic") {
            eprintln!("{info}");
        }
    }));
    for seed in seeds() {
        let _playing = Playing(seed);
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.step();
            world.check();
        }
        for (link, _) in world.sockets.clone() {
            world.links.close(link);
            end(&mut world.links, &mut world.journal, link, EndReason::Eof, String::new());
            world.check();
        }
        while !world.away.is_empty() {
            world.bring_one_home();
            world.check();
        }
        for (link, _) in world.sockets.clone() {
            world.links.free(link);
        }
        world.check();
        assert_eq!((world.links.len(), world.links.handshakes()), (0, 0));
    }
}
