//! Reading a packet in place allocates nothing: an allocator counts, on this thread only.

mod support;

use allocation_counter::measure;
use clusterbus_wire::{PacketRef, check_packet, message_class_of, peek_frame_len};
use support::{RawPacket, all_captured};

#[test]
fn framing_checking_and_reading_in_place_allocate_nothing() {
    let mut frames = all_captured();
    frames.push(
        RawPacket::full(0).with_gossip(2, b"nowhere").with_extension(0, b"a\nb\0\0\0\0\0").bytes(),
    );
    frames.push(RawPacket::full(0).with_extension(0, b"12345678").bytes());
    let (mut sound, mut entries, mut extensions, mut refused) = (0, 0, 0, 0);
    let allocations = measure(|| {
        for frame in &frames {
            assert_eq!(peek_frame_len(frame), Ok(Some(frame.len())));
            let _ = message_class_of(frame);
            sound += usize::from(check_packet(frame).is_ok());
            let Ok(packet) = PacketRef::new(frame) else { continue };
            entries += packet.gossip_entries().count();
            extensions += packet.extensions().filter(|raw| raw.content().is_ok()).count();
            refused += packet.refused().count();
            let _ = (packet.myip(), packet.header().map(|header| header.flags.get()));
        }
    });
    assert_eq!(allocations.count_total, 0);
    assert_eq!(sound, frames.len() - 1);
    assert!(entries > 500 && extensions > 200 && refused == 3, "{entries} {extensions} {refused}");
    assert_eq!(measure(|| drop(vec![1_u8])).count_total, 1, "the counter works");
}
