//! Hand-built packets. Each carries a number chosen by the test, which shows whether packets are complete and in order.

use bytes::Bytes;
use clusterbus_wire::Packet;

const HEADER_LEN: usize = 2256;
const GOSSIP_ENTRY_LEN: usize = 104;
const LIGHT_HEADER_LEN: usize = 16;
const LIGHT: u16 = 0x8000;
const PING: u16 = 0;
const PUBLISH: u16 = 4;
const MODULE: u16 = 9;

fn start(message_type: u16, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..4].copy_from_slice(b"RCmb");
    bytes[4..8].copy_from_slice(&(len as u32).to_be_bytes());
    bytes[8..10].copy_from_slice(&1u16.to_be_bytes());
    bytes[12..14].copy_from_slice(&message_type.to_be_bytes());
    bytes
}

/// A PING whose `currentEpoch` is `number`, with `gossip` empty entries.
pub fn ping(number: u64, gossip: u16) -> Vec<u8> {
    let len = HEADER_LEN + usize::from(gossip) * GOSSIP_ENTRY_LEN;
    let mut bytes = start(PING, len);
    bytes[14..16].copy_from_slice(&gossip.to_be_bytes());
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    bytes[40..80].copy_from_slice(b"0123456789abcdef0123456789abcdef01234567");
    bytes
}

/// A light PUBLISH whose channel is `number` and whose message is `padding` zeros.
pub fn publish(number: u64, padding: usize) -> Vec<u8> {
    let mut bytes = start(PUBLISH | LIGHT, LIGHT_HEADER_LEN + 16 + padding);
    bytes[16..20].copy_from_slice(&8u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&(padding as u32).to_be_bytes());
    bytes[24..32].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A light MODULE message whose module id is `number` and whose data is `padding` zeros.
pub fn module(number: u64, padding: usize) -> Vec<u8> {
    let mut bytes = start(MODULE | LIGHT, LIGHT_HEADER_LEN + 13 + padding);
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    bytes[24..28].copy_from_slice(&(padding as u32).to_be_bytes());
    bytes
}

/// A packet with a valid frame that the check refuses: its version is 2 (H5).
pub fn refused() -> Vec<u8> {
    let mut bytes = ping(0, 0);
    bytes[8..10].copy_from_slice(&2u16.to_be_bytes());
    bytes
}

/// `count` PINGs numbered from `first`, end to end.
pub fn pings(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(|number| ping(number, 0)).collect()
}

/// The number that a packet was built with.
pub fn number_of(frame: &[u8]) -> u64 {
    let message_type = u16::from_be_bytes([frame[12], frame[13]]) & !LIGHT;
    let at = if message_type == PUBLISH { 24 } else { 16 };
    u64::from_be_bytes(frame[at..at + 8].try_into().expect("eight bytes"))
}

pub fn numbers_of(packets: &[Packet]) -> Vec<u64> {
    packets.iter().map(|packet| number_of(packet.bytes())).collect()
}

/// Splits a stream of whole packets; panics when it ends inside a packet or is not a stream of packets.
pub fn split(stream: &[u8]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(stream);
    let mut frames = Vec::new();
    while let Some(len) = clusterbus_wire::peek_frame_len(&rest).expect("a stream of packets") {
        frames.push(rest.split_to(len));
    }
    assert!(rest.is_empty(), "the stream ends inside a packet");
    frames
}
