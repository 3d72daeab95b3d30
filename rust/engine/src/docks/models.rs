//! Tests the taking of halves in every interleaving that loom can find: the real `Dock` and the real halves, over a
//! stream of packets that notices when two threads read at once. Run by `make loom` only.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{After, Answering, Dock, Edge, Io, Side, Work};
use crate::gossip::{GossipScratch, IdBytes, Verdict, Version, View, ViewHeader};
use crate::lease::Lease;
use crate::link_id::LinkId;
use crate::sync::Arc;
use crate::transport::socket::Socket;
use crate::transport::times::LinkTimes;
use crate::transport::transfer::OutMessage;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7);
const READABLE: Edge = Edge { is_readable: true, is_writable: false, is_ended: false };
const WRITABLE: Edge = Edge { is_readable: false, is_writable: true, is_ended: false };

/// The time of the state when it made the view. 0 would mean that no PONG came.
const NOW_MS: u64 = 1_000;

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
    /// How many messages the socket has room for.
    room: AtomicUsize,
    is_being_written: AtomicBool,
    sent_bytes: AtomicUsize,
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

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.is_being_written.swap(true, Ordering::Relaxed), "two threads write at once");
        let len_bytes = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let room_bytes = self.room.load(Ordering::Relaxed) * PACKET.len();
        let sent_bytes = len_bytes.min(room_bytes);
        self.room.fetch_sub(sent_bytes / PACKET.len(), Ordering::Relaxed);
        self.sent_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
        self.is_being_written.store(false, Ordering::Relaxed);
        if sent_bytes == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(sent_bytes)
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
        Self::of(true)
    }

    /// One that we dialled.
    fn outbound() -> Arc<Self> {
        Self::of(false)
    }

    fn of(is_inbound: bool) -> Arc<Self> {
        let stream = StdArc::new(Stream {
            unread: AtomicUsize::new(0),
            is_being_read: AtomicBool::new(false),
            room: AtomicUsize::new(0),
            is_being_written: AtomicBool::new(false),
            sent_bytes: AtomicUsize::new(0),
        });
        let io = Io::plain(stream.clone(), LinkTimes::new(Instant::now(), None), PEER);
        let dock = Dock::new(LinkId::new(0, 1), is_inbound, io);
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

    /// A quiet heartbeat of the node comes, and this thread reads it, beside nobody else. PONG on a link that we dialled.
    fn hear(&self, view: &View, node: IdBytes) -> After {
        self.stream.unread.fetch_add(1, Ordering::Relaxed);
        self.dock.note_edge(READABLE);
        let Some(Work::Read(mut half)) = self.dock.take(Side::Receive) else {
            unreachable!("nobody else reads");
        };
        let mut report = half.read(None);
        report.packets[0].verdict = Some(Verdict {
            version: view.version,
            sender: node,
            is_pong: !self.dock.is_inbound,
            header_is_known: true,
            claims_are_known: true,
            news: Vec::new(),
        });
        let lease = Lease::new(Instant::now(), Duration::from_secs(60));
        self.dock.read_done(half, &mut report, Some(Answering { view, lease: &lease }))
    }

    /// Writes as long as this thread finds the half and something to send.
    fn write(&self) {
        let mut scratch = GossipScratch::default();
        while let Some(Work::Write(mut half)) = self.dock.take(Side::Send) {
            let report = half.write(None, &mut scratch);
            let after = self.dock.write_done(half, &report);
            self.drained.fetch_add(usize::from(after.is_drained), Ordering::Relaxed);
        }
    }

    /// The socket has room for so many messages more, and this thread hears the edge.
    fn make_room(&self, messages: usize) {
        self.stream.room.fetch_add(messages, Ordering::Relaxed);
        self.dock.note_edge(WRITABLE);
        self.write();
    }

    /// Queues a message, and sends what can be sent.
    fn say(&self) {
        let message = OutMessage::new(Bytes::from_static(&PACKET));
        self.dock.push(message, usize::MAX).expect("there is room");
        self.write();
    }

    fn sent(&self) -> usize {
        self.stream.sent_bytes.load(Ordering::Relaxed) / PACKET.len()
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
    View::new(version.clone(), NOW_MS, header, Vec::new())
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
                let after = link.hear(&view, node);
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

/// R9, R13: a socket gets room while a job meets it full. The edge is remembered, and the message goes out.
#[test]
fn a_writable_edge_while_the_half_is_away_is_remembered() {
    explore(|| {
        let link = Link::new();
        let kernel = {
            let link = link.clone();
            loom::thread::spawn(move || link.make_room(1))
        };
        link.say();
        kernel.join().expect("the thread ends");
        assert_eq!(link.sent(), 1);
        assert_eq!(link.dock.send_queue(), (0, 0));
    });
}

/// R9, R31: two threads queue a message each, and either may find the half away. Both messages go out, by one thread at a
/// time.
#[test]
fn a_message_that_meets_an_empty_place_is_sent_by_whoever_has_the_half() {
    explore(|| {
        let link = Link::new();
        link.stream.room.store(2, Ordering::Relaxed);
        let worker = {
            let link = link.clone();
            loom::thread::spawn(move || link.say())
        };
        link.say();
        worker.join().expect("the thread ends");
        assert_eq!(link.sent(), 2);
    });
}

/// R33: a worker notes a PONG while the main loop takes the one before. Each is taken, or the worker says that there is one
/// to take: none waits unheard of.
#[test]
fn a_pong_that_is_noted_is_told_unless_one_waits_already() {
    explore(|| {
        let link = Link::outbound();
        let node = [b'a'; 40];
        link.dock.bind(node);
        let version = StdArc::new(Version::default());
        let view = empty_view(&version);
        let worker = {
            let (link, view) = (link.clone(), view.clone());
            loom::thread::spawn(move || [0, 1].map(|_| link.hear(&view, node).is_first_pong))
        };
        let mut taken = usize::from(link.dock.take_pong().is_some());
        let told = worker.join().expect("the thread ends").into_iter().filter(|told| *told).count();
        taken += usize::from(link.dock.take_pong().is_some());
        assert!(link.dock.take_pong().is_none());
        assert_eq!(told, taken, "told once for each that is there to take");
    });
}

/// R15: a closing link whose both halves may be away is drained once, by whoever brings the last one home.
#[test]
fn a_closing_link_with_both_halves_away_drains_once() {
    explore(|| {
        let link = Link::new();
        link.stream.room.store(1, Ordering::Relaxed);
        let worker = {
            let link = link.clone();
            loom::thread::spawn(move || link.deliver())
        };
        let main = {
            let link = link.clone();
            loom::thread::spawn(move || link.say())
        };
        let was_home = link.dock.close();
        worker.join().expect("the thread ends");
        main.join().expect("the thread ends");
        assert_eq!(usize::from(was_home) + link.drained.load(Ordering::Relaxed), 1);
    });
}
