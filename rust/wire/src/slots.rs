//! Hash slots: which of the 16,384 slots a key belongs to.

use crate::CLUSTER_SLOTS;

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

/// The slot of a key: CRC16/XMODEM of the key, or of what stands between its first `{` and the next `}` when that
/// is not empty, modulo 16,384.
pub fn key_hash_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % CLUSTER_SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let inner = &key[open + 1..];
    let close = inner.iter().position(|&byte| byte == b'}')?;
    (close > 0).then(|| &inner[..close])
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
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % CLUSTER_SLOTS);
        assert_eq!(slot("foo{bar"), crc16(b"foo{bar") % CLUSTER_SLOTS);
        assert_eq!(slot("foo}{bar"), crc16(b"foo}{bar") % CLUSTER_SLOTS);
    }
}
