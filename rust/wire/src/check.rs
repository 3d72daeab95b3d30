//! Checks the structure of a packet, with checked arithmetic and no allocation; runs on I/O workers.
//!
//! Owns rows H4-H11, H14-H16 and H18: a packet that fails here is dropped whole and counted by kind. The texts and
//! addresses in a packet that passes are checked one by one when they are read (rows H12, H13).

use zerocopy::FromBytes;

use crate::extension::RawExtensions;
use crate::frame::peek_frame_len;
use crate::kind::{MessageClass, MessageType};
use crate::layout::{
    FailLayout, GossipLayout, HeaderLayout, LightHeaderLayout, ModuleHeadLayout, PublishHeadLayout,
    UpdateLayout,
};
use crate::node_id::is_node_id;
use crate::numbers::{
    GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES, LIGHT_HEADER_LEN_BYTES, LIGHT_TYPE_BIT,
    MFLAG_EXTENSIONS, NODE_ID_LEN_BYTES, PROTOCOL_VERSION,
};
use crate::packet_error::PacketError;

/// What the check found out about a packet that passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Message type without the light bit; may be one that this version does not know (row H14).
    pub message_type: u16,
    /// Whether the header is the light one.
    pub is_light: bool,
    /// The class under which it is counted.
    pub class: MessageClass,
    /// Whether its extensions count: their flag and their number agree that there are some (row H10).
    pub extensions_hold: bool,
}

impl Checked {
    /// What the check found, for a frame that has passed [`check_packet`] before; `None` when it cannot have passed.
    pub fn of_checked(frame: &[u8]) -> Option<Checked> {
        let (start, _) = LightHeaderLayout::ref_from_prefix(frame).ok()?;
        let is_light = start.message_type.get() & LIGHT_TYPE_BIT != 0;
        let number = start.message_type.get() & !LIGHT_TYPE_BIT;
        let message_type = MessageType::from_number(number);
        let class = message_type.map_or(MessageClass::Cluster, MessageType::class);
        let extensions_hold = !is_light
            && message_type.is_some_and(MessageType::is_heartbeat)
            && HeaderLayout::ref_from_prefix(frame).is_ok_and(|(header, _)| announces(header));
        Some(Checked { message_type: number, is_light, class, extensions_hold })
    }
}

/// Whether the flag and the number of extensions agree that there are some (row H10).
fn announces(header: &HeaderLayout) -> bool {
    header.mflags[0] & MFLAG_EXTENSIONS != 0 && header.extensions.get() > 0
}

/// Checks the whole structure of one frame. `frame` must be exactly as long as [`peek_frame_len`] says.
///
/// # Errors
/// The first thing that is wrong; see [`PacketError`].
pub fn check_packet(frame: &[u8]) -> Result<Checked, PacketError> {
    let totlen = peek_frame_len(frame)?;
    let short = |totlen| PacketError::FrameLength { totlen, len: frame.len() };
    let totlen = totlen.ok_or(short(LIGHT_HEADER_LEN_BYTES))?;
    if frame.len() != totlen {
        return Err(short(totlen));
    }
    let (start, light_body) =
        LightHeaderLayout::ref_from_prefix(frame).map_err(|_| short(LIGHT_HEADER_LEN_BYTES))?;
    let ver = start.ver.get();
    if ver != PROTOCOL_VERSION {
        return Err(PacketError::Version { ver });
    }
    let checked = Checked::of_checked(frame).ok_or(short(LIGHT_HEADER_LEN_BYTES))?;
    let message_type = MessageType::from_number(checked.message_type);
    if checked.is_light {
        if !message_type.is_some_and(MessageType::supports_light) {
            return Err(PacketError::LightType { message_type: checked.message_type });
        }
        check_body(message_type, totlen, light_body)?;
    } else {
        let (header, body) =
            HeaderLayout::ref_from_prefix(frame).map_err(|_| short(HEADER_LEN_BYTES))?;
        check_ids(header)?;
        if message_type.is_some_and(MessageType::is_heartbeat) {
            check_heartbeat(header, totlen, body)?;
        } else {
            check_body(message_type, totlen, body)?;
        }
    }
    Ok(checked)
}

fn check_ids(header: &HeaderLayout) -> Result<(), PacketError> {
    check_id("sender", &header.sender)?;
    if header.replicaof == [0; NODE_ID_LEN_BYTES] {
        return Ok(());
    }
    check_id("replicaof", &header.replicaof)
}

fn check_id(field: &'static str, id: &[u8; NODE_ID_LEN_BYTES]) -> Result<(), PacketError> {
    if is_node_id(id) { Ok(()) } else { Err(PacketError::BadNodeId { field }) }
}

/// Checks gossip entries, then extensions, then that nothing follows. When the flag and the number of extensions
/// disagree, the extensions that are there must still have a valid structure, but are not used (row H10).
fn check_heartbeat(header: &HeaderLayout, totlen: usize, body: &[u8]) -> Result<(), PacketError> {
    let count = header.count.get();
    let needed = usize::from(count) * GOSSIP_ENTRY_LEN_BYTES;
    let available = body.len();
    let (_, tail) = body.split_at_checked(needed).ok_or(PacketError::GossipCount {
        count,
        needed,
        available,
    })?;
    let excess = |left: usize| {
        let expected = (totlen - left) as u64;
        if left == 0 { Ok(()) } else { Err(PacketError::Length { totlen, expected }) }
    };
    let announced = usize::from(header.extensions.get());
    let flagged = header.mflags[0] & MFLAG_EXTENSIONS != 0;
    if (announced == 0 && !flagged) || (tail.is_empty() && !announces(header)) {
        return excess(tail.len());
    }
    // The flag with the number 0 announces as many as there are.
    let wanted = if announced == 0 { usize::MAX } else { announced };
    let mut walk = RawExtensions::new(tail);
    for index in 0..wanted {
        match walk.next() {
            Some(step) => step?,
            None if announced == 0 => break,
            None => {
                let (length, available) = (0, 0);
                return Err(PacketError::ExtensionOverrun { index, length, available });
            }
        };
    }
    excess(walk.rest().len())
}

/// Checks the body of any message but a heartbeat. It is the same after a light and a full header.
fn check_body(
    message_type: Option<MessageType>,
    totlen: usize,
    body: &[u8],
) -> Result<(), PacketError> {
    let exactly = |len: usize| {
        let expected = (totlen - body.len() + len) as u64;
        if body.len() == len { Ok(()) } else { Err(PacketError::Length { totlen, expected }) }
    };
    let payload = |field, claimed: u64, rest: &[u8]| {
        let available = rest.len();
        match claimed.cmp(&(available as u64)) {
            core::cmp::Ordering::Equal => Ok(()),
            core::cmp::Ordering::Greater => {
                Err(PacketError::PayloadLength { field, claimed, available })
            }
            core::cmp::Ordering::Less => {
                Err(PacketError::Length { totlen, expected: (totlen - available) as u64 + claimed })
            }
        }
    };
    match message_type {
        Some(MessageType::Fail) => {
            exactly(size_of::<FailLayout>())?;
            FailLayout::ref_from_bytes(body)
                .map_or(Ok(()), |fail| check_id("node_id", &fail.node_id))
        }
        Some(MessageType::Update) => {
            exactly(size_of::<UpdateLayout>())?;
            UpdateLayout::ref_from_bytes(body)
                .map_or(Ok(()), |update| check_id("node_id", &update.node_id))
        }
        Some(MessageType::Publish | MessageType::PublishShard) => {
            let Ok((head, rest)) = PublishHeadLayout::ref_from_prefix(body) else {
                return exactly(size_of::<PublishHeadLayout>());
            };
            let claimed = u64::from(head.channel_len.get()) + u64::from(head.message_len.get());
            payload("channel_len + message_len", claimed, rest)
        }
        Some(MessageType::Module) => {
            let Ok((head, rest)) = ModuleHeadLayout::ref_from_prefix(body) else {
                return exactly(size_of::<ModuleHeadLayout>());
            };
            payload("len", u64::from(head.len.get()), rest)
        }
        Some(
            MessageType::FailoverAuthRequest
            | MessageType::FailoverAuthAck
            | MessageType::ManualFailoverStart,
        ) => exactly(0),
        Some(MessageType::Ping | MessageType::Pong | MessageType::Meet) | None => Ok(()),
    }
}

const _: () = assert!(GOSSIP_ENTRY_LEN_BYTES == size_of::<GossipLayout>());
