//! Target `encode`: any message that our own code could ask for.
//!
//! Owns the making of messages from a fuzzer's bytes, good ones and ones over a limit. What is encoded must pass the
//! check and decode to the message; what is refused must be refused before it is encoded.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use clusterbus_wire::{
    EncodeError, Extension, ExtensionType, Fail, GossipEntry, Header, HeaderOnly, HeaderOnlyKind,
    Heartbeat, HeartbeatKind, IpText, MAX_PACKET_LEN_BYTES, MFLAG_EXTENSIONS, Message, MessageRef,
    ModuleMessage, NODE_ID_LEN_BYTES, NodeId, PacketRef, Publish, SLOT_BITMAP_LEN_BYTES,
    SlotBitmap, Unknown, Update, decode,
};

/// A count over what 16 bits hold, and one at it.
const COUNTS_AT_THE_LIMIT: [usize; 2] = [65_535, 65_536];

/// Says that something is as large as it may be. Two bytes, so that few inputs say it: they take long.
const HUGE: u16 = u16::MAX;

/// See the module.
pub(crate) fn encode(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(message) = message(&mut bytes) else { return };
    let announced = MessageRef::from(&message).encoded_len();
    let encoded = match message.encode() {
        Ok(encoded) => encoded,
        Err(error) => {
            assert_eq!(announced, Err(error));
            return assert_refused_rightly(&message, error);
        }
    };
    assert_eq!(announced, Ok(encoded.len()));
    assert!(encoded.len() <= MAX_PACKET_LEN_BYTES);
    let packet = PacketRef::new(&encoded).expect("what is encoded passes the check");
    let mut expected = message;
    if let Message::Heartbeat(heartbeat) = &mut expected {
        // An entry without an address is one that a receiver refuses (H13).
        heartbeat.gossip.retain(|entry| !entry.ip.is_empty());
        if !heartbeat.extensions.is_empty() {
            heartbeat.header.mflags[0] |= MFLAG_EXTENSIONS;
        }
    } else {
        assert_eq!(packet.refused().next(), None);
    }
    assert_eq!(decode(&encoded), Ok(expected));
}

fn assert_refused_rightly(message: &Message, error: EncodeError) {
    let is_right = match (error, message) {
        (EncodeError::Count { field: "gossip", count }, Message::Heartbeat(heartbeat)) => {
            count == heartbeat.gossip.len() && count > usize::from(u16::MAX)
        }
        (EncodeError::Count { count, .. }, Message::Heartbeat(heartbeat)) => {
            count == heartbeat.extensions.len() && count > usize::from(u16::MAX)
        }
        (EncodeError::Length { len }, _) => len > MAX_PACKET_LEN_BYTES,
        (EncodeError::Type { number }, Message::Unknown(_)) => !(11..=0x7fff).contains(&number),
        _ => false,
    };
    assert!(is_right, "refused as {error}");
}

fn message(bytes: &mut Unstructured<'_>) -> Result<Message> {
    use HeaderOnlyKind::{FailoverAuthAck, FailoverAuthRequest, ManualFailoverStart};
    use HeartbeatKind::{Meet, Ping, Pong};
    Ok(match bytes.int_in_range(0..=6)? {
        0 => Message::Heartbeat(Heartbeat {
            kind: *bytes.choose(&[Ping, Pong, Meet])?,
            header: header(bytes)?,
            gossip: several(bytes, gossip_entry)?,
            extensions: several(bytes, extension)?,
        }),
        1 => Message::Fail(Fail { header: header(bytes)?, node_id: node_id(bytes)? }),
        2 => Message::Publish(Publish {
            header: optional(bytes, header)?,
            sharded: bytes.arbitrary()?,
            channel: payload(bytes)?,
            message: payload(bytes)?,
        }),
        3 => Message::Update(Update {
            header: header(bytes)?,
            config_epoch: bytes.arbitrary()?,
            node_id: node_id(bytes)?,
            slots: slots(bytes)?,
        }),
        4 => Message::Module(ModuleMessage {
            header: optional(bytes, header)?,
            module_id: bytes.arbitrary()?,
            module_type: bytes.arbitrary()?,
            data: payload(bytes)?,
        }),
        5 => Message::HeaderOnly(HeaderOnly {
            kind: *bytes.choose(&[FailoverAuthRequest, FailoverAuthAck, ManualFailoverStart])?,
            header: header(bytes)?,
        }),
        _ => Message::Unknown(Unknown {
            number: bytes.arbitrary()?,
            header: header(bytes)?,
            data: payload(bytes)?,
        }),
    })
}

fn optional<T>(
    bytes: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if bytes.arbitrary()? { make(bytes).map(Some) } else { Ok(None) }
}

/// A few, or one repeated until a count is at its limit.
fn several<T: Clone>(
    bytes: &mut Unstructured<'_>,
    make: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    match bytes.arbitrary::<u16>()? {
        HUGE => Ok(vec![make(bytes)?; *bytes.choose(&COUNTS_AT_THE_LIMIT)?]),
        count => (0..count % 8).map(|_| make(bytes)).collect(),
    }
}

/// A few bytes, or so many that the message is about as long as it may be.
fn payload(bytes: &mut Unstructured<'_>) -> Result<Bytes> {
    match bytes.arbitrary::<u16>()? {
        HUGE => {
            let missing = usize::from(bytes.arbitrary::<u16>()?);
            Ok(Bytes::from(vec![0; MAX_PACKET_LEN_BYTES - missing]))
        }
        len => {
            let len = usize::from(len % 256).min(bytes.len());
            Ok(Bytes::copy_from_slice(bytes.bytes(len)?))
        }
    }
}

/// An id of hex digits, of which the input chooses the first and the last ones.
pub(crate) fn node_id(bytes: &mut Unstructured<'_>) -> Result<NodeId> {
    let (first, last): (u16, u16) = bytes.arbitrary()?;
    let text = format!("{first:04x}{:032}{last:04x}", 0);
    assert_eq!(text.len(), NODE_ID_LEN_BYTES);
    Ok(NodeId::new(text.as_bytes()).expect("hex digits"))
}

fn slots(bytes: &mut Unstructured<'_>) -> Result<SlotBitmap> {
    let mut bitmap = [0; SLOT_BITMAP_LEN_BYTES];
    let (at, byte): (u16, u8) = bytes.arbitrary()?;
    bitmap[usize::from(at) % SLOT_BITMAP_LEN_BYTES] = byte;
    Ok(SlotBitmap::from(&bitmap))
}

/// An address of either version, or none.
pub(crate) fn ip(bytes: &mut Unstructured<'_>) -> Result<IpText> {
    let text = match bytes.arbitrary::<u8>()? {
        0 => String::new(),
        1..=127 => std::net::Ipv4Addr::from(bytes.arbitrary::<[u8; 4]>()?).to_string(),
        _ => std::net::Ipv6Addr::from(bytes.arbitrary::<[u8; 16]>()?).to_string(),
    };
    Ok(IpText::new("ip", &text).expect("an address"))
}

fn header(bytes: &mut Unstructured<'_>) -> Result<Header> {
    let mut header = Header::new(node_id(bytes)?);
    (header.port, header.pport, header.cport) = bytes.arbitrary()?;
    (header.current_epoch, header.config_epoch, header.offset) = bytes.arbitrary()?;
    (header.flags, header.state, header.mflags) = bytes.arbitrary()?;
    header.myslots = slots(bytes)?;
    header.replicaof = optional(bytes, node_id)?;
    header.myip = ip(bytes)?;
    Ok(header)
}

pub(crate) fn gossip_entry(bytes: &mut Unstructured<'_>) -> Result<GossipEntry> {
    let mut entry = GossipEntry::new(node_id(bytes)?);
    (entry.ping_sent_s, entry.pong_received_s) = bytes.arbitrary()?;
    (entry.port, entry.cport, entry.flags, entry.pport) = bytes.arbitrary()?;
    entry.ip = ip(bytes)?;
    Ok(entry)
}

/// An extension that a constructor takes; where it refuses what the input has, one that holds a port.
fn extension(bytes: &mut Unstructured<'_>) -> Result<Extension> {
    use ExtensionType::{
        AvailabilityZone, ClientIpv4, ClientIpv6, ClientPort, ClientTlsPort, Hostname,
        HumanNodename,
    };
    let port = bytes.arbitrary()?;
    let made = match bytes.int_in_range(0..=4)? {
        0 => Ok(Extension::forgotten_node_of(node_id(bytes)?, bytes.arbitrary()?)),
        1 => Ok(Extension::shard_id_of(node_id(bytes)?)),
        2 => Extension::new(bytes.arbitrary()?, payload(bytes)?),
        3 => Extension::port_of(*bytes.choose(&[ClientPort, ClientTlsPort])?, port),
        _ => {
            let kinds = [Hostname, HumanNodename, ClientIpv4, ClientIpv6, AvailabilityZone];
            let (kind, text) = (*bytes.choose(&kinds)?, bytes.arbitrary::<&str>()?);
            Extension::text_of(kind, text)
        }
    };
    Ok(made.unwrap_or(Extension::port_of(ClientPort, port).expect("a port")))
}
