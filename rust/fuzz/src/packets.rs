//! Targets `check` and `decode`: one packet, whole.
//!
//! Owns what a packet that passed the check must satisfy: its parts add up to its length, reading it in place allocates
//! nothing, what it decodes to encodes to a packet that decodes to the same, and memory follows its length.

use allocation_counter::measure;
use bytes::Bytes;
use clusterbus_wire::layout::{ModuleHeadLayout, PublishHeadLayout, UpdateLayout};
use clusterbus_wire::{
    Checked, EXTENSION_HEAD_LEN_BYTES, ExtensionContent, GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES,
    LIGHT_HEADER_LEN_BYTES, MAX_EXTENSION_LEN_BYTES, MAX_PACKET_LEN_BYTES, Message, MessageRef,
    MessageType, NODE_ID_LEN_BYTES, Packet, PacketRef, RawExtension, Refused, check_packet, decode,
    message_class_of, message_type_of, peek_frame_len,
};
use zerocopy::FromBytes;

use crate::packed::unpacked;

/// Bytes that decoding may have allocated at once, for each byte of the packet: an owned entry is about as long as one
/// on the wire, and lists grow by doubling.
const DECODED_PER_BYTE: u64 = 6;
/// And besides these, whatever the packet's length.
const DECODED_BESIDES: u64 = 16 * 1024;

/// The structure of one packet, and reading it in place.
pub(crate) fn check(data: &[u8]) {
    let frame = unpacked(data);
    let mut checked = None;
    let allocations = measure(|| {
        checked = check_packet(&frame).ok();
        let _ = (message_class_of(&frame), message_type_of(&frame));
        read_in_place(&PacketRef::from_checked(&frame));
    });
    assert_eq!(allocations.count_total, 0, "reading in place allocates");
    assert_eq!(PacketRef::new(&frame).is_ok(), checked.is_some());
    let Some(checked) = checked else { return };
    assert_eq!(peek_frame_len(&frame), Ok(Some(frame.len())));
    assert_eq!(Checked::of_checked(&frame), Some(checked));
    assert_eq!(claimed_len(&frame), frame.len() as u64, "the parts do not add up");
    let packet = PacketRef::from_checked(&frame);
    assert_eq!(packet.header().is_none(), checked.is_light);
    if let Some(header) = packet.header().filter(|_| is_heartbeat(&packet)) {
        assert_eq!(packet.gossip().len(), usize::from(header.count.get()));
        if checked.extensions_hold {
            assert_eq!(packet.extensions().count(), usize::from(header.extensions.get()));
        }
    }
}

fn is_heartbeat(packet: &PacketRef<'_>) -> bool {
    packet.message_type().is_some_and(MessageType::is_heartbeat)
}

/// Reads everything that there is to read without taking it out, of any bytes.
fn read_in_place(packet: &PacketRef<'_>) {
    let mut entries = 0;
    for entry in packet.gossip_entries() {
        assert!(!entry.ip.is_empty(), "an entry without an address (H13)");
        entries += 1;
    }
    let mut bad_entries = 0;
    for refused in packet.refused() {
        bad_entries += usize::from(matches!(refused, Refused::Gossip { .. }));
    }
    assert_eq!(entries + bad_entries, packet.gossip().len());
    for extension in packet.extensions() {
        read_extension(&extension);
    }
    let myip = packet.myip();
    assert!(myip.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{myip} (H12)");
    let _ = (packet.header(), packet.body(), packet.extension_bytes());
}

fn read_extension(extension: &RawExtension<'_>) {
    let len = EXTENSION_HEAD_LEN_BYTES + extension.data.len();
    assert!(len.is_multiple_of(8) && len <= MAX_EXTENSION_LEN_BYTES, "{len} (H8, H9)");
    if let Ok(ExtensionContent::Text(text)) = extension.content() {
        let is_safe = |byte: u8| byte.is_ascii_graphic() && !b",=\"'\\".contains(&byte);
        assert!(text.bytes().all(is_safe), "{text:?} (H12)");
    }
}

/// The length of a packet that passed the check, as its fields give it: the check said otherwise, and without its help.
fn claimed_len(frame: &[u8]) -> u64 {
    let packet = PacketRef::from_checked(frame);
    let (header_len, body) = match packet.checked().is_light {
        true => (LIGHT_HEADER_LEN_BYTES, &frame[LIGHT_HEADER_LEN_BYTES..]),
        false => (HEADER_LEN_BYTES, &frame[HEADER_LEN_BYTES..]),
    };
    let body_len = match packet.message_type() {
        None => body.len() as u64,
        Some(kind) if kind.is_heartbeat() => {
            let gossip = packet.gossip().len() * GOSSIP_ENTRY_LEN_BYTES;
            (gossip + extensions_len(&body[gossip..])) as u64
        }
        Some(MessageType::Fail) => NODE_ID_LEN_BYTES as u64,
        Some(MessageType::Update) => size_of::<UpdateLayout>() as u64,
        Some(MessageType::Publish | MessageType::PublishShard) => {
            let (head, _) = PublishHeadLayout::read_from_prefix(body).expect("it was checked");
            size_of::<PublishHeadLayout>() as u64
                + u64::from(head.channel_len.get())
                + u64::from(head.message_len.get())
        }
        Some(MessageType::Module) => {
            let (head, _) = ModuleHeadLayout::read_from_prefix(body).expect("it was checked");
            size_of::<ModuleHeadLayout>() as u64 + u64::from(head.len.get())
        }
        Some(_) => 0,
    };
    header_len as u64 + body_len
}

/// How far extensions reach that follow each other by the lengths they claim.
fn extensions_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        assert!(length >= EXTENSION_HEAD_LEN_BYTES, "an extension of {length} bytes passed (H7)");
        at += length;
    }
    at
}

/// Decoding: what comes out encodes to a packet that says the same.
pub(crate) fn decode_frame(frame: &[u8]) -> Option<Message> {
    let mut decoded = None;
    let allocations = measure(|| decoded = decode(frame).ok());
    let allowed = DECODED_PER_BYTE * frame.len() as u64 + DECODED_BESIDES;
    let max = allocations.bytes_max;
    assert!(max <= allowed, "decoding {} bytes allocated {max} at once", frame.len());
    let message = decoded?;
    assert!(frame.len() <= MAX_PACKET_LEN_BYTES);
    assert_eq!(
        MessageRef::from(&message).number(),
        PacketRef::from_checked(frame).checked().message_type
    );
    let encoded = message.encode().expect("what was decoded can be encoded");
    assert!(encoded.len() <= frame.len(), "it grew");
    assert_eq!(MessageRef::from(&message).encoded_len(), Ok(encoded.len()));
    assert_eq!(PacketRef::new(&encoded).expect("it passes the check").refused().next(), None);
    let again = decode(&encoded).expect("what was encoded can be decoded");
    assert_eq!(again, message);
    assert_eq!(again.encode().as_deref(), Ok(&encoded[..]), "encoding twice gives other bytes");
    Some(message)
}

/// The target: a packet's form is packed.
pub(crate) fn decode_packed(data: &[u8]) {
    let frame = unpacked(data);
    // Whatever the bytes, what was not checked gives less, and never a panic.
    let _ = PacketRef::from_checked(&frame).decode();
    let Some(message) = decode_frame(&frame) else { return };
    let packet = Packet::new(Bytes::from(frame)).expect("it was decoded");
    let packet = packet.packet_ref();
    let refused: Vec<Refused> = packet.refused().collect();
    if let Message::Heartbeat(heartbeat) = &message {
        let bad = refused.iter().filter(|part| matches!(part, Refused::Gossip { .. })).count();
        assert_eq!(heartbeat.gossip.len() + bad, packet.gossip().len());
        let bad = refused.iter().filter(|part| matches!(part, Refused::Extension { .. })).count();
        assert_eq!(heartbeat.extensions.len() + bad, packet.extensions().count());
    }
    if refused.is_empty() && packet.header().is_some_and(|header| header.unused == [0; 30]) {
        assert_eq!(
            message.encode().map(|bytes| bytes.len()),
            Ok(packet.body().len() + HEADER_LEN_BYTES)
        );
    }
}
