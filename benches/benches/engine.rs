//! What the engine costs on top of the bytes: a job's way to a worker and back, and a PING answered over loopback TCP.
#![allow(missing_docs, reason = "a benchmark has no API")]

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use clusterbus_engine::{Engine, EngineConfig, Event, LinkId, OutMessage, Socket};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// How many gossip entries a heartbeat has in a cluster of 200 nodes.
const GOSSIP_ENTRIES: u16 = 20;

/// A socket that never has anything to read, so that a job on it costs only the hand-over.
struct Silent;

impl Socket for Silent {
    fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn recv_spare(&self, _buffer: &mut Vec<u8>) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn send(&self, _buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

fn engine(io_threads: usize) -> Engine {
    let config =
        EngineConfig { io_threads, io_threads_always_active: true, ..EngineConfig::default() };
    Engine::new(config).expect("an engine")
}

/// Read jobs on links that have nothing to read: a whole batch goes to the workers and back before the next one.
fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand_over");
    for (io_threads, links) in [(1, 1), (2, 1), (1, 64), (2, 64), (3, 64)] {
        let mut engine = engine(io_threads);
        let ids: Vec<_> = (0..links)
            .map(|_| engine.attach(Arc::new(Silent), 0, None).expect("no keys are needed"))
            .collect();
        engine.flush();
        engine.drain().expect("the kernel waits");
        group.throughput(Throughput::Elements(links));
        let name = BenchmarkId::new(format!("io_threads_{io_threads}"), links);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for id in &ids {
                    engine.edge(*id, true, false);
                }
                engine.flush();
                engine.drain().expect("the kernel waits");
            });
        });
    }
    group.finish();
}

fn ping() -> Vec<u8> {
    let len = 2256 + usize::from(GOSSIP_ENTRIES) * 104;
    let mut bytes = vec![0; len];
    bytes[..4].copy_from_slice(b"RCmb");
    bytes[4..8].copy_from_slice(&(len as u32).to_be_bytes());
    bytes[8..10].copy_from_slice(&1u16.to_be_bytes());
    bytes[14..16].copy_from_slice(&GOSSIP_ENTRIES.to_be_bytes());
    bytes[40..80].copy_from_slice(b"0123456789abcdef0123456789abcdef01234567");
    bytes
}

/// Steps the engine until `expected` packets have come in, and answers each on its link.
fn answer(engine: &mut Engine, mut expected: usize, pong: &Bytes) {
    while expected > 0 {
        for event in engine.poll(None).expect("the kernel waits") {
            if let Event::Packets { link, packets, .. } = event {
                expected -= packets.len();
                for _ in packets {
                    engine.send(link, OutMessage::new(pong.clone()));
                }
            }
        }
    }
    engine.flush();
}

/// Every peer sends a PING over loopback TCP, and the engine answers each.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_trip");
    let ping = ping();
    let pong = Bytes::from(ping.clone());
    for (io_threads, links) in [(1, 1), (2, 1), (1, 64), (2, 64), (3, 64)] {
        let mut engine = engine(io_threads);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = engine.listen(address, false, 128).expect("a port");
        let port = engine.listener_port(listener).expect("ours");
        let mut peers: Vec<_> = (0..links)
            .map(|_| {
                let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
                peer.set_nodelay(true).expect("a live socket");
                peer
            })
            .collect();
        let mut accepted: Vec<LinkId> = Vec::new();
        while accepted.len() < peers.len() {
            for event in engine.poll(None).expect("the kernel waits") {
                if let Event::Accepted { link, .. } = event {
                    accepted.push(link);
                }
            }
        }
        let mut received = vec![0; pong.len()];
        group.throughput(Throughput::Elements(links));
        let name = BenchmarkId::new(format!("io_threads_{io_threads}"), links);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for peer in &mut peers {
                    peer.write_all(&ping).expect("the engine reads");
                }
                answer(&mut engine, peers.len(), &pong);
                for peer in &mut peers {
                    peer.read_exact(&mut received).expect("the engine answers");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hand_over, round_trip);
criterion_main!(benches);
