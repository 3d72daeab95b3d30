//! Splits a stream into messages while looking only at the first 16 bytes of each.
//!
//! Owns the position in the stream. Must never copy a body, except that of a message to be checked.

use clusterbus_wire::{LIGHT_HEADER_LEN_BYTES, LIGHT_TYPE_BIT, peek_frame_len};

use crate::Failure;

const HEAD_LEN_BYTES: usize = LIGHT_HEADER_LEN_BYTES;

/// The position in a stream.
#[derive(Default)]
pub struct Framer {
    head: [u8; HEAD_LEN_BYTES],
    head_len: usize,
    /// Bytes of the current message that have not come yet; 0 between messages.
    remaining: usize,
    message_type: u16,
    keeps_next: bool,
    kept: Option<Vec<u8>>,
}

impl Framer {
    /// Asks for the bytes of the next message that starts; [`Framer::feed`] hands them over.
    pub fn keep_next(&mut self) {
        self.keeps_next = true;
    }

    /// Takes bytes of the stream. For each message that they complete, calls `message` with its type (without the light
    /// bit) and, if they were asked for, its bytes.
    ///
    /// # Errors
    /// The bytes are not a stream of messages, or `message` fails.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut message: impl FnMut(u16, Option<&[u8]>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if self.remaining == 0 {
                let taken = (HEAD_LEN_BYTES - self.head_len).min(bytes.len());
                self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
                self.head_len += taken;
                bytes = &bytes[taken..];
                if self.head_len < HEAD_LEN_BYTES {
                    return Ok(());
                }
                let len =
                    peek_frame_len(&self.head)?.ok_or("a head of 16 bytes tells its length")?;
                self.message_type =
                    u16::from_be_bytes([self.head[12], self.head[13]]) & !LIGHT_TYPE_BIT;
                self.remaining = len - HEAD_LEN_BYTES;
                self.kept = self.keeps_next.then(|| self.head.to_vec());
                self.keeps_next = false;
            }
            let taken = self.remaining.min(bytes.len());
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&bytes[..taken]);
            }
            self.remaining -= taken;
            bytes = &bytes[taken..];
            if self.remaining == 0 {
                self.head_len = 0;
                message(self.message_type, self.kept.take().as_deref())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (len, message_type) in [(2256u32, 0u16), (16, 0x8004), (2360, 1)] {
            let start = bytes.len();
            bytes.resize(start + len as usize, 7);
            bytes[start..start + 4].copy_from_slice(b"RCmb");
            bytes[start + 4..start + 8].copy_from_slice(&len.to_be_bytes());
            bytes[start + 12..start + 14].copy_from_slice(&message_type.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn messages_are_seen_however_the_stream_is_cut() {
        let bytes = stream();
        for step in [1, 7, 16, 2256, 2257, bytes.len()] {
            let mut framer = Framer::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                let keep = framer.feed(piece, |message_type, kept| {
                    assert!(kept.is_none());
                    seen.push(message_type);
                    Ok(())
                });
                assert!(keep.is_ok(), "{keep:?}");
            }
            assert_eq!(seen, [0, 4, 1], "in steps of {step}");
        }
    }

    #[test]
    fn one_message_is_kept_whole_and_only_that_one() {
        let bytes = stream();
        let mut framer = Framer::default();
        let mut kept_lens = Vec::new();
        framer.keep_next();
        for piece in bytes.chunks(100) {
            let fed = framer.feed(piece, |_, kept| {
                kept_lens.push(kept.map(<[u8]>::len));
                Ok(())
            });
            assert!(fed.is_ok());
        }
        assert_eq!(kept_lens, [Some(2256), None, None]);
    }

    #[test]
    fn a_stream_that_is_none_is_an_error() {
        let mut framer = Framer::default();
        assert!(framer.feed(&[b'x'; 16], |_, _| Ok(())).is_err());
    }
}
