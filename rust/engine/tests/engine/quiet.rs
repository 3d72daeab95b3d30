//! Heartbeats that say nothing new: taken where they were read, under the main loop's lease and at the state's present
//! version, and never out of their order.
//!
//! Where workers do it, the tests take no step of the engine meanwhile: nothing here needs the main thread.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clusterbus_engine::{
    Event, ExpectedHeartbeat, LinkId, NodeRow, NodeTraits, Reports, Version, View, ViewHeader,
    limits,
};
use clusterbus_wire::{
    FLAG_PRIMARY, GOSSIP_PERCENT, GossipEntry, Header, Heartbeat, HeartbeatKind, IpText, Message,
    MessageType, NodeId,
};

use crate::support::{DEADLINE, FOUR_WAYS, Mode, Peer, Rig, Side, four_ways, packets};

const LONG: Duration = Duration::from_secs(60);

fn id(number: usize) -> NodeId {
    NodeId::new(format!("{number:040x}").as_bytes()).expect("forty hex characters")
}

fn encoded(kind: HeartbeatKind, sender: usize, current_epoch: u64) -> Vec<u8> {
    let mut header = Header::new(id(sender));
    header.current_epoch = current_epoch;
    header.flags = FLAG_PRIMARY;
    let heartbeat = Heartbeat::new(kind, header, Vec::new(), Vec::new());
    Message::Heartbeat(heartbeat).encode().expect("a valid message")
}

/// A PING or PONG of node 1 that says what the view says of it.
fn quiet(kind: HeartbeatKind) -> Vec<u8> {
    encoded(kind, 1, 0)
}

/// A PING of node 1 whose epoch is news.
fn news(epoch: u64) -> Vec<u8> {
    encoded(HeartbeatKind::Ping, 1, epoch)
}

/// A view of node 1, as node 0 publishes it at the present `version`.
fn view(version: &Arc<Version>) -> Arc<View> {
    view_at(version, 0)
}

/// The same, when node 0 is in the epoch `current_epoch`.
fn view_at(version: &Arc<Version>, current_epoch: u64) -> Arc<View> {
    let header = ViewHeader {
        template: encoded(HeartbeatKind::Ping, 0, current_epoch).into(),
        extensions: Bytes::new(),
        extensions_len: 0,
        current_epoch,
        table_len: 2,
        gossip_percent: GOSSIP_PERCENT,
    };
    let expected = ExpectedHeartbeat {
        config_epoch: Some(0),
        myslots: vec![0; 2048].into(),
        replicaof: [0; 40],
        flags: 0,
        flags_mask: 0,
        extensions: Bytes::new(),
        extensions_len: 0,
        reports: Reports::new(std::iter::empty()),
        is_unsettled: false,
    };
    let mut entry = GossipEntry::new(id(1));
    entry.ip = IpText::new("ip", "127.0.0.1").expect("an address");
    entry.flags = FLAG_PRIMARY;
    let traits = NodeTraits { is_gossiped: true, ..NodeTraits::default() };
    let row = NodeRow::new(entry.to_layout(), traits, Some(Arc::new(expected)), Arc::default());
    View::new(version.clone(), 0, header, vec![row])
}

/// An engine with a published view, and node 1 at the other end of a TCP link that it has dialled.
struct Cluster {
    rig: Rig,
    version: Arc<Version>,
    link: LinkId,
    peer: Peer,
}

impl Cluster {
    fn new(mode: Mode) -> Self {
        let mut rig = Rig::with(mode, |config| config.lease = LONG);
        let (_, port) = rig.listen();
        let peer = rig.dial(port);
        rig.until("the link", |rig| !rig.accepted().is_empty());
        let link = rig.accepted()[0];
        let version = Arc::new(Version::default());
        rig.engine.publish(view(&version));
        rig.engine.bind(link, *id(1).as_bytes());
        rig.settle();
        rig.log.clear();
        Self { rig, version, link, peer }
    }

    /// Another link of node 1.
    fn dial_again(&mut self) -> Peer {
        let (_, port) = self.rig.listen();
        let peer = self.rig.dial(port);
        self.rig.until("the link", |rig| !rig.accepted().is_empty());
        self.rig.engine.bind(self.rig.accepted()[0], *id(1).as_bytes());
        self.rig.settle();
        self.rig.log.clear();
        peer
    }

    /// Waits until the peer has `count` answers. With workers the engine takes no step meanwhile.
    fn wait_for_answers(&mut self, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.answers() < count {
            assert!(Instant::now() < deadline, "{} of {count} answers came", self.answers());
            if self.rig.mode.io_threads == 1 {
                self.rig.step();
            }
        }
    }

    fn answers(&self) -> usize {
        self.peer.pump();
        let received = self.peer.received();
        let whole = received.len() / 2256 * 2256;
        packets::split(&received[..whole]).len()
    }

    /// The packets that came to the main loop, and the quiet heartbeats that it was told of: answered and noted.
    fn told(&mut self) -> (usize, (u64, u64)) {
        let mut quiet = (0, 0);
        for event in &self.rig.log {
            if let Event::Quiet { answered, noted, .. } = event {
                quiet = (quiet.0 + answered, quiet.1 + noted);
            }
        }
        (self.rig.packets(self.link).len(), quiet)
    }
}

/// R33: a quiet PING is answered where it was read. With workers that takes no step of the main loop, and does not wake
/// it; its next step hears how many there were.
#[test]
fn r33_a_quiet_ping_is_answered_without_the_main_loop() {
    four_ways(|mode| {
        let mut cluster = Cluster::new(mode);
        for count in 1..=20 {
            cluster.peer.send(&quiet(HeartbeatKind::Ping));
            cluster.wait_for_answers(count);
        }
        let frames = packets::split(&cluster.peer.received());
        for frame in frames {
            let packet = clusterbus_wire::Packet::new(frame).expect("a valid packet");
            assert_eq!(packet.packet_ref().message_type(), Some(MessageType::Pong));
            assert_eq!(packet.packet_ref().header().expect("full").sender, *id(0).as_bytes());
        }
        if mode.io_threads > 1 {
            assert!(!cluster.rig.engine.flush(), "there is nothing to do for the main loop");
            assert_eq!(cluster.rig.stat("main_reads"), 0);
        }
        cluster.rig.step();
        assert_eq!(cluster.told(), (0, (20, 0)));
        assert!(cluster.rig.stat("packets_received") >= 20);
    });
}

/// R33: PONGs on a link that we dialled are noted, and each link is told once with the time of its last one.
#[test]
fn r33_quiet_pongs_are_noted_once_for_each_link() {
    four_ways(|mode| {
        let mut cluster = Cluster::new(mode);
        let dialled = cluster.rig.link();
        cluster.rig.engine.bind(dialled.id, *id(1).as_bytes());
        for _ in 0..3 {
            dialled.peer.send(&quiet(HeartbeatKind::Pong));
        }
        cluster.rig.until("three PONGs", |rig| {
            let noted = rig.log.iter().map(|event| match event {
                Event::Quiet { noted, .. } => *noted,
                _ => 0,
            });
            noted.sum::<u64>() == 3
        });
        let links = cluster.rig.log.iter().filter_map(|event| match event {
            Event::Quiet { pongs, .. } => Some(pongs.clone()),
            _ => None,
        });
        for pongs in links {
            assert_eq!(pongs.len(), 1);
            assert_eq!(pongs[0].0, dialled.id);
        }
        assert!(cluster.rig.packets(dialled.id).is_empty());
    });
}

/// R34: a heartbeat that was queued after a view was published is encoded from that view or a later one, also by a TLS job
/// that had begun before.
#[test]
fn r34_a_job_that_began_before_a_view_sends_what_the_view_says() {
    for tls in [false, true] {
        let mut rig = Rig::all_active(Mode { io_threads: 3, tls });
        let link = rig.link();
        let version = Arc::new(Version::default());
        rig.engine.publish(view_at(&version, 1));
        rig.engine.bind(link.id, *id(1).as_bytes());
        link.socket.hold(Side::Recv);
        link.peer.send(&quiet(HeartbeatKind::Pong));
        rig.tell_edges();
        rig.engine.flush();
        link.socket.wait_inside(Side::Recv);
        version.advance();
        rig.engine.publish(view_at(&version, 2));
        assert!(rig.engine.send_heartbeat(link.id, MessageType::Ping.number()));
        link.socket.release(Side::Recv);
        rig.until("the PING", |_| link.peer.received_len() >= 2256);
        let packet = clusterbus_wire::Packet::new(link.peer.received().into());
        let packet = packet.expect("a valid packet");
        let header = packet.packet_ref().header().expect("a full header").current_epoch.get();
        assert_eq!(header, 2, "tls: {tls}");
    }
}

/// R33: without a lease, or once the state has another version, a quiet PING is the main loop's, whole.
#[test]
fn r33_without_a_lease_or_at_another_version_the_main_loop_decides() {
    four_ways(|mode| {
        let mut cluster = Cluster::new(mode);
        cluster.rig.engine.set_lease(Duration::ZERO);
        cluster.peer.send(&quiet(HeartbeatKind::Ping));
        let link = cluster.link;
        cluster.rig.until("the packet", |rig| rig.packets(link).len() == 1);
        cluster.rig.engine.set_lease(LONG);
        cluster.version.advance();
        cluster.peer.send(&quiet(HeartbeatKind::Ping));
        cluster.rig.until("the packet", |rig| rig.packets(link).len() == 2);
        assert_eq!((cluster.answers(), cluster.told().1), (0, (0, 0)));
        cluster.rig.engine.publish(view(&cluster.version));
        cluster.rig.engine.flush();
        cluster.peer.send(&quiet(HeartbeatKind::Ping));
        cluster.wait_for_answers(1);
    });
}

/// H21: a PONG on a link that its sender dialled, and the heartbeat of another node, are the main loop's.
#[test]
fn h21_heartbeats_where_they_do_not_belong_are_not_taken() {
    four_ways(|mode| {
        let mut cluster = Cluster::new(mode);
        cluster.peer.send(&quiet(HeartbeatKind::Pong));
        cluster.peer.send(&encoded(HeartbeatKind::Ping, 2, 0));
        let link = cluster.link;
        cluster.rig.until("the packets", |rig| rig.packets(link).len() == 2);
        assert_eq!((cluster.answers(), cluster.told().1), (0, (0, 0)));
    });
}

/// R33: what follows news on a link is not even read before the main loop has applied the news, so packets of one link
/// never overtake each other.
#[test]
fn r33_what_follows_news_waits_until_the_news_is_applied() {
    for tls in [false, true] {
        // One worker serves edges in their order.
        let mut cluster = Cluster::new(Mode { io_threads: 2, tls });
        let link = cluster.link;
        let other = cluster.dial_again();
        cluster.peer.send(&news(7));
        while cluster.rig.packets(link).is_empty() {
            // Without a flush, which would say that what was told is applied.
            let events = cluster.rig.engine.poll(Some(Duration::from_millis(20)));
            cluster.rig.log.extend(events.expect("the kernel waits"));
        }
        cluster.peer.send(&quiet(HeartbeatKind::Ping));
        other.send(&quiet(HeartbeatKind::Ping));
        let deadline = Instant::now() + DEADLINE;
        while other.pumped_len() < 2256 {
            assert!(Instant::now() < deadline, "the other link is free");
        }
        assert_eq!(cluster.answers(), 0, "it came later, but it must not be taken first");
        cluster.rig.engine.flush();
        cluster.wait_for_answers(1);
    }
}

/// R33: a main loop that hangs is answered for no longer than its lease. No PING that is sent after that gets an answer
/// until it goes on, and then each does.
#[test]
fn r33_a_hung_main_loop_is_answered_for_until_its_lease_ends() {
    for mode in FOUR_WAYS.into_iter().filter(|mode| mode.io_threads > 1) {
        let mut cluster = Cluster::new(mode);
        let lease = Duration::from_millis(250);
        cluster.rig.engine.set_lease(lease);
        cluster.rig.engine.flush();
        let hangs_since = Instant::now();
        let (mut asked, mut last_answer) = (0, Duration::ZERO);
        let mut asked_in_vain = 0;
        while asked_in_vain < 20 {
            let asked_at = hangs_since.elapsed();
            cluster.peer.send(&quiet(HeartbeatKind::Ping));
            asked += 1;
            let patience = Instant::now() + Duration::from_millis(10);
            while cluster.answers() < asked - asked_in_vain && Instant::now() < patience {}
            if cluster.answers() == asked {
                last_answer = hangs_since.elapsed();
            } else if asked_at > lease {
                asked_in_vain += 1;
            }
            assert!(hangs_since.elapsed() < DEADLINE, "never stopped answering");
        }
        println!("{mode:?}: the last answer came {last_answer:?} after the last step");
        assert!(last_answer > Duration::ZERO, "it was answered for at first");
        let answered = cluster.answers();
        assert!(answered <= asked - 20);
        let link = cluster.link;
        cluster.rig.until("what came in vain", |rig| !rig.packets(link).is_empty());
    }
}

/// H40: with too much unsent on a link its PINGs are the main loop's, which accounts for a peer that does not read.
#[test]
fn h40_a_peer_that_does_not_read_is_not_answered_for_ever() {
    for io_threads in [1, 3] {
        let mut cluster = Cluster::new(Mode { io_threads, tls: false });
        let (_, port) = cluster.rig.listen();
        let mut deaf = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the engine listens");
        deaf.set_nonblocking(true).expect("a live socket");
        cluster.rig.until("the link", |rig| !rig.accepted().is_empty());
        let link = cluster.rig.accepted()[0];
        cluster.rig.engine.bind(link, *id(1).as_bytes());
        let pings = quiet(HeartbeatKind::Ping).repeat(100);
        let mut rest = &pings[..];
        cluster.rig.until("a PING for the main loop", |rig| {
            while let Ok(sent) = deaf.write(rest) {
                rest = if sent == rest.len() { &pings } else { &rest[sent..] };
            }
            !rig.packets(link).is_empty()
        });
        let (_, unsent_bytes) = cluster.rig.engine.send_queue(link);
        assert!(unsent_bytes < 2 * limits::ANSWERS_UNSENT_MAX_BYTES);
    }
}
