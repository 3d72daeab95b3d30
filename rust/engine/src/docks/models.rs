//! Tests the taking of halves in every interleaving that loom can find: the real `Dock` and the real halves, over a
//! stream of packets that notices when two threads read at once. Run by `make loom` only.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Answering, Dock, Edge, Io, Side, Work};
use crate::gossip::{Verdict, Version, View, ViewHeader};
use crate::lease::Lease;
use crate::link_id::LinkId;
use crate::sync::Arc;
use crate::transport::socket::Socket;
use crate::transport::transfer::{LastRead, OutMessage};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7);
const READABLE: Edge = Edge { is_readable: true, is_writable: false, is_ended: false };

/// A PUBLISH with a light header and nothing after it.
const PACKET: [u8; 24] = {
    let mut bytes = [0; 24];
    bytes[0] = b'R';
    bytes[1] = b'C';
    bytes[2] = b'm';
    bytes[3] = b'b';
    bytes[7] = 24;
    bytes[9] = 1;
    bytes[12] = 0x80;
    bytes[13] = 4;
    bytes
};

struct Stream {
    unread: AtomicUsize,
    is_being_read: AtomicBool,
}

impl Socket for Stream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!self.is_being_read.swap(true, Ordering::Relaxed), "two threads read at once");
        let packets = self.unread.swap(0, Ordering::Relaxed);
        self.is_being_read.store(false, Ordering::Relaxed);
        if packets == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = PACKET.repeat(packets);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn send(&self, _buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// A link, and how many of its packets have been read.
struct Link {
    dock: Dock,
    stream: StdArc<Stream>,
    read: AtomicUsize,
    drained: AtomicUsize,
}

impl Link {
    fn new() -> Arc<Self> {
        let unread = AtomicUsize::new(0);
        let stream = StdArc::new(Stream { unread, is_being_read: AtomicBool::new(false) });
        let io = Io::plain(stream.clone(), LastRead::new(Instant::now()), PEER);
        let dock = Dock::new(LinkId::new(0, 1), true, io);
        let (read, drained) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { dock, stream, read, drained })
    }

    /// A packet comes, and this thread hears the edge.
    fn deliver(&self) {
        self.stream.unread.fetch_add(1, Ordering::Relaxed);
        self.dock.note_edge(READABLE);
        self.serve();
    }

    /// Reads as long as there is something that this thread may read. Returns whether any of it was news.
    fn serve(&self) -> bool {
        let mut was_news = false;
        while let Some(Work::Read(mut half)) = self.dock.take(Side::Receive) {
            let mut report = half.read(None);
            let after = self.dock.read_done(half, &mut report, None);
            self.read.fetch_add(report.packets.len(), Ordering::Relaxed);
            self.drained.fetch_add(usize::from(after.is_drained), Ordering::Relaxed);
            was_news |= after.is_news;
        }
        was_news
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }
}

fn empty_view(version: &StdArc<Version>) -> StdArc<View> {
    let header = ViewHeader {
        template: Bytes::new(),
        extensions: Bytes::new(),
        extensions_len: 0,
        current_epoch: 0,
        table_len: 0,
        gossip_percent: 10,
    };
    View::new(version.clone(), 0, header, Vec::new())
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// R13: two threads hear an edge each. Whoever comes second finds an empty place or a half; either way both packets are
/// read, by one thread at a time.
#[test]
fn an_edge_that_meets_an_empty_place_is_remembered() {
    explore(|| {
        let link = Link::new();
        let other = {
            let link = link.clone();
            loom::thread::spawn(move || link.deliver())
        };
        link.deliver();
        other.join().expect("the thread ends");
        // The main loop applies what came; what was held back meanwhile is read now.
        link.dock.news_applied();
        link.serve();
        assert_eq!(link.read(), 2);
    });
}

/// R33: what came after news is read when the main loop has applied the news, whether its edge came before or after.
#[test]
fn what_news_held_back_is_read_when_it_is_applied() {
    explore(|| {
        let link = Link::new();
        link.deliver();
        let worker = {
            let link = link.clone();
            loom::thread::spawn(move || link.deliver())
        };
        link.dock.news_applied();
        link.serve();
        worker.join().expect("the thread ends");
        assert_eq!(link.read(), 2);
    });
}

/// R33: the main loop changes the state and says so to the peer, while a worker has a quiet PING. Either the worker leaves
/// the PING to the main loop, or its answer, which says less, goes out before the message that says more.
#[test]
fn no_answer_that_says_less_follows_a_message_that_says_more() {
    explore(|| {
        let link = Link::new();
        let node = [b'a'; 40];
        link.dock.bind(node);
        let version = StdArc::new(Version::default());
        let view = empty_view(&version);
        let worker = {
            let (link, view) = (link.clone(), view.clone());
            loom::thread::spawn(move || {
                link.stream.unread.fetch_add(1, Ordering::Relaxed);
                link.dock.note_edge(READABLE);
                let Some(Work::Read(mut half)) = link.dock.take(Side::Receive) else {
                    unreachable!("nobody else reads");
                };
                let mut report = half.read(None);
                report.packets[0].verdict = Some(Verdict {
                    version: view.version,
                    sender: node,
                    is_pong: false,
                    header_is_known: true,
                    claims_are_known: true,
                    news: Vec::new(),
                });
                let lease = Lease::new(Instant::now(), Duration::from_secs(60));
                let answering = Answering { view: &view, lease: &lease };
                let after = link.dock.read_done(half, &mut report, Some(answering));
                assert_ne!(after.answered == 1, after.is_news);
                after.answered == 1
            })
        };
        version.advance();
        let message = OutMessage::new(Bytes::from_static(&PACKET));
        link.dock.push(message, usize::MAX).expect("there is room");
        let was_answered = worker.join().expect("the thread ends");
        let Some(Work::Write(half)) = link.dock.take(Side::Send) else {
            unreachable!("nobody else writes");
        };
        let kinds = half.batch.heartbeats();
        assert_eq!(kinds, if was_answered { vec![true, false] } else { vec![false] });
    });
}

/// R15: a link that is closed while a worker may have its half is reported as drained once, by one of the two.
#[test]
fn a_closing_link_drains_once() {
    explore(|| {
        let link = Link::new();
        let worker = {
            let link = link.clone();
            loom::thread::spawn(move || link.deliver())
        };
        let was_home = link.dock.close();
        worker.join().expect("the thread ends");
        assert_eq!(usize::from(was_home) + link.drained.load(Ordering::Relaxed), 1);
    });
}
