//! Looking at a packet allocates nothing: checked with an allocator that counts, on this thread alone.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use clusterbus_wire::{PacketView, check_packet, message_class_of, peek_frame_len};
use support::{RawPacket, all_captured};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(look: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    look();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn framing_checking_and_reading_in_place_allocate_nothing() {
    let mut frames = all_captured();
    frames.push(
        RawPacket::full(0).with_gossip(2, b"nowhere").with_extension(0, b"a\nb\0\0\0\0\0").bytes(),
    );
    frames.push(RawPacket::full(0).with_extension(0, b"12345678").bytes());
    let (mut sound, mut entries, mut extensions, mut refused) = (0, 0, 0, 0);
    let count = allocations_of(|| {
        for frame in &frames {
            assert_eq!(peek_frame_len(frame), Ok(Some(frame.len())));
            let _ = message_class_of(frame);
            sound += usize::from(check_packet(frame).is_ok());
            let Ok(view) = PacketView::new(frame) else { continue };
            entries += view.gossip_entries().count();
            extensions += view.extensions().filter(|raw| raw.content().is_ok()).count();
            refused += view.refused().count();
            let _ = (view.myip(), view.header().map(|header| header.flags.get()));
        }
    });
    assert_eq!(count, 0);
    assert_eq!(sound, frames.len() - 1);
    assert!(entries > 500 && extensions > 200 && refused == 3, "{entries} {extensions} {refused}");
    assert!(allocations_of(|| drop(vec![1u8])) > 0, "the counter counts");
}
