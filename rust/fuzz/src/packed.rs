//! Packets in the form in which a fuzzer finds its way: without the bitmap of slots, and with a length that is right.
//!
//! ```text
//!  control, 1 byte | the packet without bytes 80..2128 if its header is a full one
//! ```
//! Owns this form and its way back. A byte of control says what is mended; 0 mends all.

use clusterbus_wire::{LIGHT_TYPE_BIT, PROTOCOL_VERSION, SIGNATURE, SLOT_BITMAP_LEN_BYTES};

/// Where the bitmap stands in a full header.
const MYSLOTS_AT: usize = 80;
/// Leaves the announced length as it is.
const KEEPS_TOTLEN: u8 = 1;
/// Leaves signature and version as they are.
const KEEPS_START: u8 = 2;
/// The bitmap is full instead of empty.
const ALL_SLOTS: u8 = 4;

/// The packed form of a packet.
#[must_use]
pub fn packed(frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    match frame.get(MYSLOTS_AT + SLOT_BITMAP_LEN_BYTES..) {
        Some(rest) if !is_light(frame) => {
            bytes.extend_from_slice(&frame[..MYSLOTS_AT]);
            bytes.extend_from_slice(rest);
        }
        _ => bytes.extend_from_slice(frame),
    }
    bytes
}

/// The packet that some packed bytes stand for; any bytes stand for one.
pub(crate) fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let Some((&control, packed)) = bytes.split_first() else { return Vec::new() };
    let mut frame = packed.to_vec();
    if !is_light(packed) && packed.len() >= MYSLOTS_AT {
        let fill = if control & ALL_SLOTS != 0 { 0xff } else { 0 };
        frame.splice(MYSLOTS_AT..MYSLOTS_AT, [fill; SLOT_BITMAP_LEN_BYTES]);
    }
    if control & KEEPS_START == 0 {
        overwrite(&mut frame, 0, &SIGNATURE);
        overwrite(&mut frame, 8, &PROTOCOL_VERSION.to_be_bytes());
    }
    if control & KEEPS_TOTLEN == 0 {
        let totlen = frame.len() as u32;
        overwrite(&mut frame, 4, &totlen.to_be_bytes());
    }
    frame
}

fn is_light(frame: &[u8]) -> bool {
    frame.get(12).is_some_and(|high| u16::from(*high) << 8 & LIGHT_TYPE_BIT != 0)
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(old) = bytes.get_mut(at..at + new.len()) {
        old.copy_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut full = vec![7; 3000];
        full[12] = 0;
        full[MYSLOTS_AT..MYSLOTS_AT + SLOT_BITMAP_LEN_BYTES].fill(0);
        let mut light = vec![7; 40];
        light[12] = 0x80;
        for mut frame in [full, light, Vec::new()] {
            let len = frame.len() as u32;
            overwrite(&mut frame, 0, &SIGNATURE);
            overwrite(&mut frame, 4, &len.to_be_bytes());
            overwrite(&mut frame, 8, &PROTOCOL_VERSION.to_be_bytes());
            assert_eq!(unpacked(&packed(&frame)), frame);
        }
    }

    #[test]
    fn control_bits_keep_what_is_wrong() {
        let broken = [KEEPS_TOTLEN | KEEPS_START].iter().chain(&[9; 20]).copied();
        assert_eq!(unpacked(&broken.collect::<Vec<_>>()), [9; 20]);
        assert_eq!(unpacked(&[]), []);
    }
}
