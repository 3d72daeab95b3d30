//! Messages as owned values, and how to read one from a checked packet.
//!
//! A message leaves out a packet's unused bytes and refused entries. What real servers send is the same bytes again
//! after decoding and encoding.

use bytes::Bytes;
use zerocopy::FromBytes;

use crate::extension::Extension;
use crate::gossip::GossipEntry;
use crate::header::Header;
use crate::kind::MessageType;
use crate::layout::{FailLayout, ModuleHeadLayout, PublishHeadLayout, UpdateLayout};
use crate::node_id::NodeId;
use crate::numbers::MFLAG_EXTENSIONS;
use crate::packet::PacketRef;
use crate::packet_error::PacketError;
use crate::slots::SlotBitmap;

macro_rules! subset {
    ($(#[$doc:meta])* $name:ident { $($variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("[`MessageType::", stringify!($variant), "`]")] $variant,)*
        }

        impl $name {
            /// The kind that has this type, if there is one.
            pub const fn from_message_type(message_type: MessageType) -> Option<$name> {
                match message_type { $(MessageType::$variant => Some($name::$variant),)* _ => None }
            }

            /// Its message type.
            pub const fn message_type(self) -> MessageType {
                match self { $($name::$variant => MessageType::$variant,)* }
            }
        }
    };
}

subset! {
    /// The three heartbeats.
    HeartbeatKind { Ping, Pong, Meet, }
}

subset! {
    /// The messages that consist of a header only.
    HeaderOnlyKind { FailoverAuthRequest, FailoverAuthAck, ManualFailoverStart, }
}

/// PING, PONG or MEET.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// Which of the three it is.
    pub kind: HeartbeatKind,
    /// Who sends it.
    pub header: Header,
    /// What it says about others.
    pub gossip: Vec<GossipEntry>,
    /// What it adds about itself.
    pub extensions: Vec<Extension>,
}

impl Heartbeat {
    /// Makes a heartbeat. With extensions, [`crate::MFLAG_EXTENSIONS`] is set in the header's `mflags`.
    pub fn new(
        kind: HeartbeatKind,
        mut header: Header,
        gossip: Vec<GossipEntry>,
        extensions: Vec<Extension>,
    ) -> Heartbeat {
        if !extensions.is_empty() {
            header.mflags[0] |= MFLAG_EXTENSIONS;
        }
        Heartbeat { kind, header, gossip, extensions }
    }
}

/// FAIL: a quorum agreed that a node has failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fail {
    /// Who sends it.
    pub header: Header,
    /// The node that failed.
    pub node_id: NodeId,
}

/// PUBLISH or PUBLISHSHARD.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Publish {
    /// Who sends it; `None` makes it light.
    pub header: Option<Header>,
    /// The channel.
    pub channel: Bytes,
    /// The message.
    pub message: Bytes,
    /// Whether it is PUBLISHSHARD.
    pub sharded: bool,
}

/// UPDATE: a newer configuration of the node that owns some slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Update {
    /// Who sends it.
    pub header: Header,
    /// The owner's config epoch.
    pub config_epoch: u64,
    /// The owner's id.
    pub node_id: NodeId,
    /// The owner's slots.
    pub slots: SlotBitmap,
}

/// MODULE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModuleMessage {
    /// Who sends it; `None` makes it light.
    pub header: Option<Header>,
    /// Module id.
    pub module_id: u64,
    /// The module's own message type.
    pub module_type: u8,
    /// Its data.
    pub data: Bytes,
}

/// FAILOVER_AUTH_REQUEST, FAILOVER_AUTH_ACK or MFSTART.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderOnly {
    /// Which of the three it is.
    pub kind: HeaderOnlyKind,
    /// Who sends it.
    pub header: Header,
}

/// A message of a type that this version does not know (row H14).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// Its type on the wire.
    pub number: u16,
    /// Who sends it.
    pub header: Header,
    /// What follows the header.
    pub data: Bytes,
}

/// Any message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each variant is documented at its struct.
pub enum Message {
    Heartbeat(Heartbeat),
    Fail(Fail),
    Publish(Publish),
    Update(Update),
    Module(ModuleMessage),
    HeaderOnly(HeaderOnly),
    Unknown(Unknown),
}

/// Any message, borrowed for encoding.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // Each variant is documented at its struct.
pub enum MessageRef<'a> {
    Heartbeat(&'a Heartbeat),
    Fail(&'a Fail),
    Publish(&'a Publish),
    Update(&'a Update),
    Module(&'a ModuleMessage),
    HeaderOnly(&'a HeaderOnly),
    Unknown(&'a Unknown),
}

macro_rules! from_each {
    ($($variant:ident($name:ident),)*) => {
        impl<'a> From<&'a Message> for MessageRef<'a> {
            fn from(message: &'a Message) -> MessageRef<'a> {
                match message { $(Message::$variant(message) => MessageRef::$variant(message),)* }
            }
        }
        $(impl<'a> From<&'a $name> for MessageRef<'a> {
            fn from(message: &'a $name) -> MessageRef<'a> {
                MessageRef::$variant(message)
            }
        })*
    };
}

from_each! {
    Heartbeat(Heartbeat), Fail(Fail), Publish(Publish), Update(Update), Module(ModuleMessage),
    HeaderOnly(HeaderOnly), Unknown(Unknown),
}

impl<'a> MessageRef<'a> {
    /// Its type on the wire, without the light bit.
    pub fn number(self) -> u16 {
        match self {
            MessageRef::Heartbeat(heartbeat) => heartbeat.kind.message_type().number(),
            MessageRef::Fail(_) => MessageType::Fail.number(),
            MessageRef::Publish(Publish { sharded: false, .. }) => MessageType::Publish.number(),
            MessageRef::Publish(_) => MessageType::PublishShard.number(),
            MessageRef::Update(_) => MessageType::Update.number(),
            MessageRef::Module(_) => MessageType::Module.number(),
            MessageRef::HeaderOnly(message) => message.kind.message_type().number(),
            MessageRef::Unknown(unknown) => unknown.number,
        }
    }

    /// The header, which names the sender; `None` for the light form.
    pub fn header(self) -> Option<&'a Header> {
        match self {
            MessageRef::Heartbeat(message) => Some(&message.header),
            MessageRef::Fail(message) => Some(&message.header),
            MessageRef::Publish(message) => message.header.as_ref(),
            MessageRef::Update(message) => Some(&message.header),
            MessageRef::Module(message) => message.header.as_ref(),
            MessageRef::HeaderOnly(message) => Some(&message.header),
            MessageRef::Unknown(message) => Some(&message.header),
        }
    }
}

/// Checks and decodes one frame.
///
/// # Errors
/// What [`crate::check_packet`] finds wrong; a frame that passes the check can be decoded.
pub fn decode(frame: &[u8]) -> Result<Message, PacketError> {
    PacketRef::new(frame)?.decode()
}

impl PacketRef<'_> {
    /// Decodes the packet.
    ///
    /// # Errors
    /// Never on a frame that passed [`crate::check_packet`].
    pub fn decode(&self) -> Result<Message, PacketError> {
        let body = self.body();
        let Some(message_type) = self.message_type() else {
            let number = self.checked().message_type;
            let (header, data) = (self.owned_header()?, Bytes::copy_from_slice(body));
            return Ok(Message::Unknown(Unknown { number, header, data }));
        };
        if let Some(kind) = HeartbeatKind::from_message_type(message_type) {
            return Ok(Message::Heartbeat(self.decode_heartbeat(kind)?));
        }
        if let Some(kind) = HeaderOnlyKind::from_message_type(message_type) {
            return Ok(Message::HeaderOnly(HeaderOnly { kind, header: self.owned_header()? }));
        }
        match message_type {
            MessageType::Fail => {
                let fail =
                    FailLayout::ref_from_bytes(body).map_err(|_| self.unchecked("node_id"))?;
                let node_id = self.owned_id(&fail.node_id)?;
                Ok(Message::Fail(Fail { header: self.owned_header()?, node_id }))
            }
            MessageType::Update => {
                let update =
                    UpdateLayout::ref_from_bytes(body).map_err(|_| self.unchecked("node_id"))?;
                Ok(Message::Update(Update {
                    header: self.owned_header()?,
                    config_epoch: update.config_epoch.get(),
                    node_id: self.owned_id(&update.node_id)?,
                    slots: SlotBitmap::from(&update.slots),
                }))
            }
            MessageType::Module => Ok(Message::Module(self.decode_module()?)),
            _ => Ok(Message::Publish(self.decode_publish(message_type)?)),
        }
    }

    fn decode_heartbeat(&self, kind: HeartbeatKind) -> Result<Heartbeat, PacketError> {
        let mut gossip = Vec::with_capacity(self.gossip().len());
        gossip.extend(self.gossip_entries());
        let extensions = self.owned_extensions().collect();
        Ok(Heartbeat { kind, header: self.owned_header()?, gossip, extensions })
    }

    fn decode_publish(&self, message_type: MessageType) -> Result<Publish, PacketError> {
        let unchecked = self.unchecked("channel_len");
        let (head, payload) =
            PublishHeadLayout::ref_from_prefix(self.body()).map_err(|_| unchecked)?;
        let (channel, message) =
            payload.split_at_checked(head.channel_len.get() as usize).ok_or(unchecked)?;
        Ok(Publish {
            header: self.optional_header()?,
            channel: Bytes::copy_from_slice(channel),
            message: Bytes::copy_from_slice(message),
            sharded: message_type == MessageType::PublishShard,
        })
    }

    fn decode_module(&self) -> Result<ModuleMessage, PacketError> {
        let (head, data) =
            ModuleHeadLayout::ref_from_prefix(self.body()).map_err(|_| self.unchecked("len"))?;
        Ok(ModuleMessage {
            header: self.optional_header()?,
            module_id: head.module_id.get(),
            module_type: head.module_type,
            data: Bytes::copy_from_slice(data),
        })
    }

    /// The extensions with valid content, as owned values.
    pub fn owned_extensions(&self) -> impl Iterator<Item = Extension> {
        self.extensions()
            .filter_map(|raw| Extension::new(raw.number, Bytes::copy_from_slice(raw.data)).ok())
    }

    /// The full header as an owned value.
    ///
    /// # Errors
    /// When the packet has a light header, which names no sender.
    pub fn owned_header(&self) -> Result<Header, PacketError> {
        self.header()
            .and_then(Header::from_layout)
            .ok_or(PacketError::BadNodeId { field: "sender" })
    }

    fn optional_header(&self) -> Result<Option<Header>, PacketError> {
        if self.checked().is_light { Ok(None) } else { self.owned_header().map(Some) }
    }

    fn owned_id(&self, id: &[u8]) -> Result<NodeId, PacketError> {
        NodeId::new(id).map_err(|_| PacketError::BadNodeId { field: "node_id" })
    }

    /// Only reachable when the reference was made from a frame that did not pass the check.
    fn unchecked(&self, field: &'static str) -> PacketError {
        PacketError::PayloadLength { field, claimed: 0, available: self.body().len() }
    }
}
