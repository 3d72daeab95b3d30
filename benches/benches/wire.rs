//! What the wire crate costs: framing a batch, checking a packet, decoding and encoding PINGs with gossip.
//!
//! Run with `cargo bench --bench wire`. Times are for one thread; throughput is in packets.

use std::hint::black_box;

use clusterbus_wire::{
    Extension, ExtensionType, GossipEntry, Header, Heartbeat, HeartbeatKind, IpText, Message,
    NodeId, PacketRef, SLOT_BITMAP_LEN_BYTES, SlotBitmap, check_packet, peek_frame_len,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH_PACKETS: usize = 64;
/// How many gossip entries a PING has in a cluster of 2, 200 and 2,000 nodes.
const GOSSIP_ENTRIES: [usize; 3] = [0, 20, 200];

fn node_id(number: usize) -> NodeId {
    NodeId::new(format!("{number:040x}").as_bytes()).expect("40 hex characters")
}

fn ping(entries: usize) -> Message {
    let mut header = Header::new(node_id(1));
    header.myslots = SlotBitmap::from(&[0x55; SLOT_BITMAP_LEN_BYTES]);
    let gossip = (0..entries)
        .map(|number| {
            let mut entry = GossipEntry::new(node_id(number));
            entry.ip = IpText::new("ip", "192.168.100.200").expect("an address");
            entry
        })
        .collect();
    let hostname = Extension::text_of(ExtensionType::Hostname, "node1.example.org");
    let extensions = vec![hostname.expect("a hostname"), Extension::shard_id_of(node_id(7))];
    Message::Heartbeat(Heartbeat::new(HeartbeatKind::Ping, header, gossip, extensions))
}

fn encoded(message: &Message) -> Vec<u8> {
    message.encode().expect("a small message")
}

fn framing(criterion: &mut Criterion) {
    let batch = encoded(&ping(0)).repeat(BATCH_PACKETS);
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(BATCH_PACKETS as u64));
    group.bench_function("64 packets back to back", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(batch.as_slice());
            let mut frames = 0;
            while let Ok(Some(len)) = peek_frame_len(rest) {
                rest = &rest[len..];
                frames += 1;
            }
            assert_eq!(frames, BATCH_PACKETS);
        });
    });
    group.finish();
}

fn by_gossip_entries(
    criterion: &mut Criterion,
    name: &str,
    mut operation: impl FnMut(&Message, &[u8]),
) {
    let mut group = criterion.benchmark_group(name);
    for entries in GOSSIP_ENTRIES {
        let message = ping(entries);
        let bytes = encoded(&message);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| operation(black_box(&message), black_box(&bytes)));
        });
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    by_gossip_entries(criterion, "check_packet", |_, bytes| {
        black_box(check_packet(bytes)).expect("a valid packet");
    });
    by_gossip_entries(criterion, "read gossip in place", |_, bytes| {
        let packet = PacketRef::new(bytes).expect("a valid packet");
        black_box(packet.gossip_entries().map(|entry| u64::from(entry.flags)).sum::<u64>());
    });
    by_gossip_entries(criterion, "decode", |_, bytes| {
        let packet = PacketRef::new(bytes).expect("a valid packet");
        black_box(packet.decode()).expect("a valid packet");
    });
    by_gossip_entries(criterion, "encode", |message, _| {
        black_box(encoded(message));
    });
}

criterion_group!(benches, framing, packets);
criterion_main!(benches);
