//! Finds where one message ends and the next begins.
//!
//! Owns the checks that a stream needs before a body is buffered (rows H1-H3): the signature, and the bounds of
//! `totlen`. After a failure here nobody can say where the next message starts, so the link closes. Must never look
//! past byte 16.

use thiserror::Error;

use crate::numbers::{
    HEADER_LEN_BYTES, LIGHT_HEADER_LEN_BYTES, LIGHT_TYPE_BIT, MAX_PACKET_LEN_BYTES, SIGNATURE,
};

/// Why the stream is broken. The peer misbehaved, and its link closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A byte of the signature is wrong (row H1).
    #[error("sig: byte {position} is {found:#04x}, expected {expected:#04x}")]
    BadSignature {
        /// Which of the four bytes is wrong.
        position: usize,
        /// The byte that came.
        found: u8,
        /// The byte that the signature has there.
        expected: u8,
    },
    /// The announced length is too short or too long (rows H2 and H3).
    #[error("totlen: {totlen} is outside {minimum}..={cap}")]
    BadLength {
        /// The length that is announced.
        totlen: u32,
        /// The shortest length that this kind of header allows.
        minimum: usize,
        /// The longest length: [`MAX_PACKET_LEN_BYTES`].
        cap: usize,
    },
}

/// The length of the message at the start of `bytes`, or `None` when more bytes are needed to know it.
///
/// # Errors
/// As soon as the bytes show it: a wrong byte of the signature (H1), a `totlen` below the light header's length or over
/// the limit (H2, H3), or a `totlen` below the full header's length without the light bit (H2).
pub fn peek_frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    for (position, (&found, &expected)) in bytes.iter().zip(&SIGNATURE).enumerate() {
        if found != expected {
            return Err(FrameError::BadSignature { position, found, expected });
        }
    }
    let Some(totlen) = be_u32_at(bytes, 4) else { return Ok(None) };
    let len = totlen as usize;
    let bad_length = |minimum| FrameError::BadLength { totlen, minimum, cap: MAX_PACKET_LEN_BYTES };
    if !(LIGHT_HEADER_LEN_BYTES..=MAX_PACKET_LEN_BYTES).contains(&len) {
        return Err(bad_length(LIGHT_HEADER_LEN_BYTES));
    }
    if len >= HEADER_LEN_BYTES {
        return Ok(Some(len));
    }
    match be_u16_at(bytes, 12) {
        None => Ok(None),
        Some(message_type) if message_type & LIGHT_TYPE_BIT != 0 => Ok(Some(len)),
        Some(_) => Err(bad_length(HEADER_LEN_BYTES)),
    }
}

fn be_u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be_u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(totlen: u32, message_type: u16) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&SIGNATURE);
        bytes[4..8].copy_from_slice(&totlen.to_be_bytes());
        bytes[8..10].copy_from_slice(&1u16.to_be_bytes());
        bytes[12..14].copy_from_slice(&message_type.to_be_bytes());
        bytes
    }

    #[test]
    fn h1_each_wrong_signature_byte_is_seen_at_once() {
        for position in 0..4 {
            let mut bytes = SIGNATURE;
            bytes[position] ^= 0x20;
            let want = FrameError::BadSignature {
                position,
                found: bytes[position],
                expected: SIGNATURE[position],
            };
            assert_eq!(peek_frame_len(&bytes[..=position]), Err(want));
        }
        assert_eq!(peek_frame_len(b""), Ok(None));
        assert_eq!(peek_frame_len(b"RCm"), Ok(None));
    }

    #[test]
    fn h2_totlen_below_the_minimum_of_its_header_is_refused() {
        let below = |minimum| {
            move |totlen| Err(FrameError::BadLength { totlen, minimum, cap: MAX_PACKET_LEN_BYTES })
        };
        assert_eq!(peek_frame_len(&start(15, 0x8004)[..8]), below(16)(15));
        assert_eq!(peek_frame_len(&start(0, 0)[..8]), below(16)(0));
        assert_eq!(peek_frame_len(&start(2255, 0)[..14]), below(2256)(2255));
        assert_eq!(peek_frame_len(&start(2255, 0)[..13]), Ok(None));
        assert_eq!(peek_frame_len(&start(16, 0x8004)), Ok(Some(16)));
        assert_eq!(peek_frame_len(&start(2256, 0)[..8]), Ok(Some(2256)));
    }

    #[test]
    fn h3_totlen_over_the_cap_is_refused_from_eight_bytes() {
        let cap = MAX_PACKET_LEN_BYTES as u32;
        assert_eq!(peek_frame_len(&start(cap, 0)[..8]), Ok(Some(cap as usize)));
        for totlen in [cap + 1, u32::MAX] {
            let refused = peek_frame_len(&start(totlen, 0)[..8]);
            assert!(matches!(refused, Err(FrameError::BadLength { .. })), "{refused:?}");
            assert_eq!(peek_frame_len(&start(totlen, 0)[..7]), Ok(None));
        }
    }
}
