//! Heartbeats that the engine encodes itself: when it accepts one, and that a seed decides which nodes it mentions. And
//! how long a PING takes until its PONG is read: on every kind of link, and for the answer alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clusterbus_engine::{LinkId, NodeRow, NodeTimes, NodeTraits, View, ViewHeader};
use clusterbus_wire::{
    FLAG_PRIMARY, GOSSIP_PERCENT, GossipEntry, Header, Heartbeat, HeartbeatKind, IpText, Message,
    MessageType, NodeId, Packet,
};

use crate::support::packets::ping;
use crate::support::{DEADLINE, Peer, Rig, certs, four_ways, message, peer_listener};

const PING: u16 = MessageType::Ping.number();
/// Enough that a tenth of them is more than the minimum in a heartbeat, so that there is a choice.
const NODES: usize = 100;
const SEEDS: u64 = 20;

fn id(number: usize) -> NodeId {
    NodeId::new(format!("{number:040x}").as_bytes()).expect("forty hex characters")
}

/// A view of nodes 1 to `nodes`, as node 0 publishes it.
fn view(nodes: usize) -> Arc<View> {
    let ours = Heartbeat::new(HeartbeatKind::Ping, Header::new(id(0)), Vec::new(), Vec::new());
    let header = ViewHeader {
        template: Message::Heartbeat(ours).encode().expect("a valid message").into(),
        extensions: Bytes::new(),
        extensions_len: 0,
        current_epoch: 0,
        table_len: nodes + 1,
        gossip_percent: GOSSIP_PERCENT,
    };
    let rows = (1..=nodes).map(|number| {
        let mut entry = GossipEntry::new(id(number));
        entry.ip = IpText::new("ip", "10.0.0.1").expect("an address");
        entry.flags = FLAG_PRIMARY;
        let traits = NodeTraits { is_gossiped: true, ..NodeTraits::default() };
        NodeRow::new(entry.to_layout(), traits, None, Arc::default())
    });
    View::new(Arc::default(), 0, header, rows.collect())
}

/// R34: a link may be bound before a view has a row for its node. Until there is one, the engine accepts no heartbeat
/// to it.
#[test]
fn r34_a_heartbeat_to_a_node_that_the_view_lacks_is_left_to_the_caller() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        assert!(!rig.engine.send_heartbeat(link.id, PING), "not bound, and no view");
        rig.engine.bind(link.id, *id(2).as_bytes());
        assert!(!rig.engine.send_heartbeat(link.id, PING), "no view");
        rig.engine.publish(view(1));
        assert!(!rig.engine.send_heartbeat(link.id, PING), "the view has no row for the node");
        assert_eq!(rig.engine.send_queue(link.id), (0, 0), "a refused heartbeat is not queued");
        rig.engine.publish(view(2));
        assert!(rig.engine.send_heartbeat(link.id, PING));
        rig.until("the heartbeat", |_| link.peer.received_len() > 0);
        let packet = Packet::new(link.peer.received().into()).expect("a valid packet");
        assert_eq!(packet.packet_ref().message_type(), Some(MessageType::Ping));
    });
}

/// R34: the same seed mentions the same nodes in the same order; another seed mentions others.
#[test]
fn r34_whom_a_heartbeat_mentions_follows_from_the_seed() {
    let (view, receiver) = (view(NODES), id(1));
    let encoded = |seed| view.encode_heartbeat(PING, receiver.as_bytes(), seed);
    let all: HashSet<Bytes> = (0..SEEDS).map(encoded).collect();
    assert_eq!(all.len() as u64, SEEDS, "two seeds chose the same nodes");
    for seed in 0..SEEDS {
        assert_eq!(encoded(seed), encoded(seed), "seed {seed}");
    }
}

fn pong() -> Vec<u8> {
    let mut header = Header::new(id(1));
    header.flags = FLAG_PRIMARY;
    let heartbeat = Heartbeat::new(HeartbeatKind::Pong, header, Vec::new(), Vec::new());
    Message::Heartbeat(heartbeat).encode().expect("a valid message")
}

/// A link that the engine has dialled, its peer, and the times of the node.
fn dialled(rig: &mut Rig) -> (LinkId, Peer, Arc<NodeTimes>) {
    let (listener, address) = peer_listener();
    let (tls, node) = (rig.mode.tls, Arc::<NodeTimes>::default());
    let link = rig.engine.connect(address, 5, tls, None, Some(node.clone())).expect("a socket");
    let (stream, _) = listener.accept().expect("the engine dialled");
    let peer = Peer::over_tcp(stream, tls.then(|| certs().server(&certs().peer)));
    rig.adopt(&peer);
    rig.until("the link is up", |rig| rig.story(link) == "c");
    (link, peer, node)
}

/// Sends so many PINGs in one go, and waits until the peer has them.
fn send_pings(rig: &mut Rig, link: LinkId, peer: &Peer, count: usize) {
    let before = peer.received_len();
    for _ in 0..count {
        assert!(rig.engine.send(link, message(ping(1, 0))));
    }
    let all = before + count * ping(1, 0).len();
    rig.until("the PINGs have come", |_| peer.received_len() == all);
}

/// Sends so many PONGs, and waits until the main loop has them.
fn send_pongs(rig: &mut Rig, link: LinkId, peer: &Peer, count: usize) {
    let all = rig.packets(link).len() + count;
    for _ in 0..count {
        peer.send(&pong());
    }
    rig.until("the PONGs have come", |rig| rig.packets(link).len() == all);
}

#[test]
fn a_pong_is_measured_if_it_answers_the_ping_that_was_stamped() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (link, peer, node) = dialled(&mut rig);
        send_pongs(&mut rig, link, &peer, 1);
        assert_eq!(node.round_trip_times(), None, "it answers nothing");

        let begun = Instant::now();
        send_pings(&mut rig, link, &peer, 2);
        let delay = Duration::from_millis(20);
        std::thread::sleep(delay);
        send_pongs(&mut rig, link, &peer, 1);
        let first = node.round_trip_times().expect("the first PING is answered");
        assert!(delay.as_micros() as u64 <= first.average_us);
        assert!(first.average_us <= begun.elapsed().as_micros() as u64);
        assert_eq!(first.average_us, first.greatest_us);

        // The PONG that comes next is the second PING's, not this one's.
        send_pings(&mut rig, link, &peer, 1);
        send_pongs(&mut rig, link, &peer, 1);
        assert_eq!(node.round_trip_times(), Some(first));
        send_pongs(&mut rig, link, &peer, 1);
        assert_eq!(node.round_trip_times(), Some(first));

        send_pings(&mut rig, link, &peer, 1);
        send_pongs(&mut rig, link, &peer, 1);
        assert_ne!(node.round_trip_times(), Some(first), "none other was on its way");
    });
}

#[test]
fn a_pong_is_stamped_where_it_is_read_not_where_it_is_applied() {
    four_ways(|mode| {
        if mode.io_threads == 1 {
            return;
        }
        let mut rig = Rig::new(mode);
        let (link, peer, node) = dialled(&mut rig);
        send_pings(&mut rig, link, &peer, 1);
        peer.send(&pong());
        // The main thread takes no step meanwhile.
        let begun = Instant::now();
        while node.round_trip_times().is_none() {
            assert!(begun.elapsed() < DEADLINE, "a worker reads it");
            std::thread::yield_now();
        }
        let times = node.round_trip_times();
        std::thread::sleep(Duration::from_millis(50));
        rig.until("the PONG", |rig| rig.packets(link).len() == 1);
        assert_eq!(node.round_trip_times(), times);
    });
}
