//! Packets captured from real servers, and hand-made ones that tests break field by field.
#![allow(dead_code)] // Each test binary uses only some of it.

pub mod seeded;

use std::path::Path;

use clusterbus_wire::peek_frame_len;

pub const CAPTURES: [&str; 2] = ["valkey-9.1.2", "redis-7.0.15"];
pub const SENDER: [u8; 40] = *b"0123456789abcdef0123456789abcdef01234567";

/// Every packet of one capture.
pub fn captured(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(format!("{name}.frames"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while let Some(len) = peek_frame_len(rest).expect("a captured stream is valid") {
        let (frame, after) = rest.split_at(len);
        frames.push(frame.to_vec());
        rest = after;
    }
    assert!(rest.is_empty(), "{name} ends inside a packet");
    frames
}

/// Every packet of both captures.
pub fn all_captured() -> Vec<Vec<u8>> {
    CAPTURES.iter().flat_map(|name| captured(name)).collect()
}

/// A packet in two parts; `totlen` follows from the content unless the test claims another.
#[derive(Clone)]
pub struct RawPacket {
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

impl RawPacket {
    pub fn full(message_type: u16) -> RawPacket {
        let mut header = vec![0; 2256];
        header[..4].copy_from_slice(b"RCmb");
        header[40..80].copy_from_slice(&SENDER);
        RawPacket { header, body: Vec::new() }.with_u16(8, 1).with_u16(12, message_type)
    }

    pub fn light(message_type: u16) -> RawPacket {
        let mut header = vec![0; 16];
        header[..4].copy_from_slice(b"RCmb");
        RawPacket { header, body: Vec::new() }.with_u16(8, 1).with_u16(12, message_type | 0x8000)
    }

    pub fn with_u16(mut self, at: usize, value: u16) -> RawPacket {
        self.header[at..at + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub fn with_byte(mut self, at: usize, value: u8) -> RawPacket {
        self.header[at] = value;
        self
    }

    pub fn with_body(mut self, bytes: &[u8]) -> RawPacket {
        self.body.extend_from_slice(bytes);
        self
    }

    pub fn with_gossip(self, entries: u16, ip: &[u8]) -> RawPacket {
        let mut packet = self.with_u16(14, entries);
        for _ in 0..entries {
            let mut entry = [0; 104];
            entry[..40].copy_from_slice(&SENDER);
            entry[48..48 + ip.len()].copy_from_slice(ip);
            packet.body.extend_from_slice(&entry);
        }
        packet
    }

    /// Adds one extension and sets the flag and the count to match.
    pub fn with_extension(self, number: u16, data: &[u8]) -> RawPacket {
        let length = 8 + data.len() as u32;
        self.with_extension_claiming(number, length, data)
    }

    pub fn with_extension_claiming(mut self, number: u16, length: u32, data: &[u8]) -> RawPacket {
        self.body.extend_from_slice(&length.to_be_bytes());
        self.body.extend_from_slice(&number.to_be_bytes());
        self.body.extend_from_slice(&[0, 0]);
        self.body.extend_from_slice(data);
        let count = u16::from_be_bytes([self.header[2214], self.header[2215]]) + 1;
        self.with_u16(2214, count).with_byte(2253, 4)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let totlen = (self.header.len() + self.body.len()) as u32;
        self.bytes_claiming(totlen)
    }

    pub fn bytes_claiming(&self, totlen: u32) -> Vec<u8> {
        let mut bytes = [self.header.as_slice(), &self.body].concat();
        bytes[4..8].copy_from_slice(&totlen.to_be_bytes());
        bytes
    }
}
