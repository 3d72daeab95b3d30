//! Heartbeats that the engine encodes itself: when it accepts one, and that a seed decides which nodes it mentions.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use clusterbus_engine::{NodeRow, NodeTraits, View, ViewHeader};
use clusterbus_wire::{
    FLAG_PRIMARY, GOSSIP_PERCENT, GossipEntry, Header, Heartbeat, HeartbeatKind, IpText, Message,
    MessageType, NodeId, Packet,
};

use crate::support::{Rig, four_ways};

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
