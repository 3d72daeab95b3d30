//! Reads frames in place: [`PacketRef`] borrows a frame, [`Packet`] shares it.
//!
//! Reading allocates nothing. No accessor ever panics: on a frame that passed `check_packet` it gives everything that
//! is there, on any other bytes it gives less.

use core::fmt;

use bytes::Bytes;
use zerocopy::FromBytes;

use crate::check::{Checked, check_packet};
use crate::extension::{ExtensionType, RawExtension, RawExtensions};
use crate::gossip::GossipEntry;
use crate::kind::{MessageClass, MessageType};
use crate::layout::{GossipLayout, HeaderLayout};
use crate::numbers::{
    GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES, LIGHT_HEADER_LEN_BYTES, LIGHT_TYPE_BIT,
    MFLAG_EXTENSIONS,
};
use crate::packet_error::PacketError;
use crate::text::IpText;

/// A part that is left out of a packet which passed the check (rows H10, H12, H13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The announced address is not an address.
    MyIp,
    /// A gossip entry whose id is not a node id or whose address is not an address.
    Gossip {
        /// The place of the entry in the section.
        index: usize,
        /// `node_id` or `ip`.
        field: &'static str,
    },
    /// An extension whose text or id is not what its type allows.
    Extension {
        /// The place of the extension in the packet.
        index: usize,
        /// The name of its type.
        name: &'static str,
    },
    /// All extensions, because their flag and their number disagree.
    Extensions,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::MyIp => formatter.write_str("myip"),
            Refused::Gossip { index, field } => write!(formatter, "gossip[{index}].{field}"),
            Refused::Extension { index, name } => write!(formatter, "extensions[{index}].{name}"),
            Refused::Extensions => formatter.write_str("extensions"),
        }
    }
}

/// A checked frame, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct PacketRef<'a> {
    frame: &'a [u8],
    checked: Checked,
}

impl<'a> PacketRef<'a> {
    /// Checks a frame and borrows it.
    ///
    /// # Errors
    /// What [`check_packet`] finds wrong.
    pub fn new(frame: &'a [u8]) -> Result<PacketRef<'a>, PacketError> {
        Ok(PacketRef { frame, checked: check_packet(frame)? })
    }

    /// Borrows a frame that has passed [`check_packet`] before; on any other bytes the accessors give less.
    pub fn from_checked(frame: &'a [u8]) -> PacketRef<'a> {
        PacketRef { frame, checked: Checked::of_checked(frame).unwrap_or(NO_MESSAGE) }
    }

    /// What the check found.
    pub fn checked(&self) -> Checked {
        self.checked
    }

    /// The message type, when this version knows it.
    pub fn message_type(&self) -> Option<MessageType> {
        MessageType::from_number(self.checked.message_type)
    }

    /// The full header; `None` for a light packet.
    pub fn header(&self) -> Option<&'a HeaderLayout> {
        if self.checked.is_light {
            return None;
        }
        HeaderLayout::ref_from_prefix(self.frame).ok().map(|(header, _)| header)
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        let header_len =
            if self.checked.is_light { LIGHT_HEADER_LEN_BYTES } else { HEADER_LEN_BYTES };
        self.frame.get(header_len..).unwrap_or_default()
    }

    /// The announced address; empty when there is none or it is not an address.
    pub fn myip(&self) -> IpText {
        self.header().and_then(|header| IpText::from_field(&header.myip)).unwrap_or_default()
    }

    /// The gossip section as it came; empty for a message that is not a heartbeat.
    pub fn gossip(&self) -> &'a [GossipLayout] {
        let Some(header) = self.heartbeat_header() else { return &[] };
        let count = usize::from(header.count.get());
        <[GossipLayout]>::ref_from_prefix_with_elems(self.body(), count)
            .map(|(entries, _)| entries)
            .unwrap_or_default()
    }

    /// The gossip entries with a valid id and address.
    pub fn gossip_entries(&self) -> impl Iterator<Item = GossipEntry> + use<'a> {
        self.gossip().iter().filter_map(|layout| GossipEntry::from_layout(layout).ok())
    }

    /// The extensions as they came; none when their flag and their number disagree (row H10).
    pub fn extensions(&self) -> impl Iterator<Item = RawExtension<'a>> + use<'a> {
        let bytes = if self.checked.extensions_hold { self.extension_bytes() } else { &[] };
        RawExtensions::new(bytes).map_while(Result::ok)
    }

    /// The parts of the packet that are left out, each with its name.
    pub fn refused(&self) -> impl Iterator<Item = Refused> + use<'a> {
        let bad_myip = self
            .header()
            .is_some_and(|header| IpText::from_field(&header.myip).is_none())
            .then_some(Refused::MyIp);
        let gossip = self.gossip().iter().enumerate().filter_map(|(index, layout)| {
            GossipEntry::from_layout(layout).err().map(|field| Refused::Gossip { index, field })
        });
        let extensions = self.extensions().enumerate().filter_map(|(index, extension)| {
            let name = ExtensionType::from_number(extension.number)?.name();
            extension.content().err().map(|_| Refused::Extension { index, name })
        });
        let dropped = self.extensions_dropped().then_some(Refused::Extensions);
        bad_myip.into_iter().chain(gossip).chain(extensions).chain(dropped)
    }

    fn heartbeat_header(&self) -> Option<&'a HeaderLayout> {
        self.header().filter(|_| self.message_type().is_some_and(MessageType::is_heartbeat))
    }

    /// Everything after a heartbeat's gossip section, as it came; empty for other messages.
    pub fn extension_bytes(&self) -> &'a [u8] {
        self.body().get(self.gossip().len() * GOSSIP_ENTRY_LEN_BYTES..).unwrap_or_default()
    }

    /// The flag without extensions is not refused: real servers set it to say that they take extensions.
    fn extensions_dropped(&self) -> bool {
        let Some(header) = self.heartbeat_header() else { return false };
        let flagged = header.mflags[0] & MFLAG_EXTENSIONS != 0;
        let announced = header.extensions.get() > 0;
        !self.checked.extensions_hold
            && ((announced && !flagged) || !self.extension_bytes().is_empty())
    }
}

/// What bytes that are too short for any header are read as.
const NO_MESSAGE: Checked = Checked {
    message_type: LIGHT_TYPE_BIT - 1,
    is_light: true,
    class: MessageClass::Cluster,
    extensions_hold: false,
};

/// A checked frame, shared: a clone copies no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Packet(Bytes);

impl Packet {
    /// Checks a frame and keeps it.
    ///
    /// # Errors
    /// What [`check_packet`] finds wrong.
    pub fn new(bytes: Bytes) -> Result<Packet, PacketError> {
        check_packet(&bytes)?;
        Ok(Packet(bytes))
    }

    /// Keeps a frame that has passed [`check_packet`] before.
    pub fn from_checked(bytes: Bytes) -> Packet {
        Packet(bytes)
    }

    /// The frame.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Reads it in place.
    pub fn packet_ref(&self) -> PacketRef<'_> {
        PacketRef::from_checked(&self.0)
    }
}
