//! Hash slots: which of the 16,384 slots a key belongs to, and sets of slots.

use core::fmt;

use bytes::Bytes;

use crate::numbers::{SLOT_BITMAP_LEN_BYTES, SLOTS};
use crate::text::InvalidField;

/// CRC16/XMODEM: polynomial 0x1021, start 0, no reflection.
const CRC16_TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 0x8000 != 0 { (value << 1) ^ 0x1021 } else { value << 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |crc, &byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key: CRC16/XMODEM of the key, or of the part between its first `{` and the next `}` if that is not
/// empty, modulo 16,384.
pub fn key_hash_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let inner = &key[open + 1..];
    let close = inner.iter().position(|&byte| byte == b'}')?;
    (close > 0).then(|| &inner[..close])
}

/// A set of slots as on the wire: slot n is bit n % 8 (from the low end) of byte n / 8. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SlotBitmap(Bytes);

impl SlotBitmap {
    /// The empty set.
    pub const fn empty() -> SlotBitmap {
        SlotBitmap(Bytes::from_static(&[0; SLOT_BITMAP_LEN_BYTES]))
    }

    /// Copies a bitmap.
    ///
    /// # Errors
    /// Names `field` when it is not 2,048 bytes long.
    pub fn new(field: &'static str, bitmap: &[u8]) -> Result<SlotBitmap, InvalidField> {
        match <&[u8; SLOT_BITMAP_LEN_BYTES]>::try_from(bitmap) {
            Ok(bitmap) => Ok(SlotBitmap::from(bitmap)),
            Err(_) => Err(InvalidField { field, expected: "expected 2048 bytes" }),
        }
    }

    /// The bitmap as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the slot is in the set; false for 16,384 and above.
    pub fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 8)).is_some_and(|byte| byte & (1 << (slot % 8)) != 0)
    }

    /// How many slots are in the set.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

impl From<&[u8; SLOT_BITMAP_LEN_BYTES]> for SlotBitmap {
    fn from(bitmap: &[u8; SLOT_BITMAP_LEN_BYTES]) -> SlotBitmap {
        if bitmap == &[0; SLOT_BITMAP_LEN_BYTES] {
            return SlotBitmap::empty();
        }
        SlotBitmap(Bytes::copy_from_slice(bitmap))
    }
}

impl Default for SlotBitmap {
    fn default() -> SlotBitmap {
        SlotBitmap::empty()
    }
}

impl fmt::Debug for SlotBitmap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SlotBitmap({} slots)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_has_its_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn slots_are_those_of_a_real_server() {
        // CLUSTER KEYSLOT of Valkey 9.1.2.
        for (key, slot) in [("", 0), ("foo", 12182), ("somekey", 11058), ("foo{hash_tag}", 2515)] {
            assert_eq!(key_hash_slot(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn only_the_first_non_empty_tag_counts() {
        let slot = |key: &str| key_hash_slot(key.as_bytes());
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot("foo{bar"), crc16(b"foo{bar") % SLOTS);
        assert_eq!(slot("foo}{bar"), crc16(b"foo}{bar") % SLOTS);
    }

    #[test]
    fn bitmap_bits_count_from_the_low_end() {
        let mut bytes = [0; SLOT_BITMAP_LEN_BYTES];
        bytes[0] = 0b0000_0010;
        bytes[2047] = 0b1000_0000;
        let slots = SlotBitmap::from(&bytes);
        let owned: Vec<u16> = (0..=u16::MAX).filter(|&slot| slots.contains(slot)).collect();
        assert_eq!(owned, [1, 16_383]);
        assert_eq!(slots.count(), 2);
        assert_eq!(SlotBitmap::new("slots", &bytes), Ok(slots));
        let refused = SlotBitmap::new("slots", &bytes[1..]).expect_err("too short");
        assert_eq!(refused.to_string(), "slots: expected 2048 bytes");
    }
}
