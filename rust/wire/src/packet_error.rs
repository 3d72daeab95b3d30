//! What can be wrong with the structure of a packet: one table of the errors, their texts and the counters' names.
//!
//! Every error is the peer's fault, and the packet is dropped. Holds no check; those are in `check.rs` and
//! `extension.rs`.

use thiserror::Error;

use crate::frame::FrameError;

macro_rules! packet_errors {
    ($($(#[$doc:meta])* $text:literal $name:literal $variant:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        /// Why a packet is dropped and counted. The peer misbehaved; one such packet does not end its link.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
        pub enum PacketError {
            $($(#[$doc])* #[error($text)] $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        #[derive(Clone, Copy)]
        enum Kind { $($variant,)* }

        impl PacketError {
            /// The names of all kinds of error, by [`PacketError::index`].
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The number of the kind, below `NAMES.len()`, as an index into an array of counters.
            pub fn index(&self) -> usize {
                match self { $(PacketError::$variant { .. } => Kind::$variant as usize,)* }
            }
        }
    };
}

packet_errors! {
    /// The frame does not start as a message must (rows H1-H3).
    "{error}" "frame" Frame {
        /// What is wrong with it.
        error: FrameError,
    }
    /// The given bytes are not exactly one message.
    "totlen: {totlen}, but the frame has {len} bytes" "frame_length" FrameLength {
        /// The length that the packet announces.
        totlen: usize,
        /// How many bytes were given.
        len: usize,
    }
    /// The protocol version is not ours (row H5).
    "ver: {ver}, expected 1" "version" Version {
        /// The packet's version.
        ver: u16,
    }
    /// The light bit on a type that must have a full header (row H16).
    "type: {message_type} cannot have a light header" "light_type" LightType {
        /// The packet's type, without the light bit.
        message_type: u16,
    }
    /// An id in the packet is not a node id.
    "{field}: not 40 lower-case hex characters" "node_id" BadNodeId {
        /// The field that should hold the id.
        field: &'static str,
    }
    /// The length is not what the content adds up to (row H4).
    "totlen: {totlen}, expected {expected}" "length" Length {
        /// The length that the packet announces.
        totlen: usize,
        /// The length that the content adds up to.
        expected: u64,
    }
    /// More gossip entries are announced than the packet has room for (row H6).
    "count: {count} gossip entries need {needed} bytes, {available} are there" "gossip_count" GossipCount {
        /// How many entries are announced.
        count: u16,
        /// How many bytes they need.
        needed: usize,
        /// How many bytes are there.
        available: usize,
    }
    /// An extension is too short for its type, or for its own head (row H7).
    "extensions[{index}].length: {length} is below {minimum}" "extension_length" ExtensionLength {
        /// The place of the extension in the packet.
        index: usize,
        /// Its announced length.
        length: u32,
        /// The shortest length that its type allows.
        minimum: usize,
    }
    /// An extension's length is not a multiple of 8 (row H8).
    "extensions[{index}].length: {length} is not a multiple of 8" "extension_alignment" ExtensionAlignment {
        /// The place of the extension in the packet.
        index: usize,
        /// Its announced length.
        length: u32,
    }
    /// An extension is over the limit or goes beyond the end of the packet (row H9).
    "extensions[{index}].length: {length} is over 65536 or over the {available} bytes left" "extension_overrun" ExtensionOverrun {
        /// The place of the extension in the packet.
        index: usize,
        /// Its announced length; 0 when not even a head is left.
        length: u32,
        /// How many bytes are left of the packet.
        available: usize,
    }
    /// The text of a string extension does not end (row H11).
    "extensions[{index}].{name}: no NUL at the end" "extension_text" ExtensionText {
        /// The place of the extension in the packet.
        index: usize,
        /// The name of its type.
        name: &'static str,
    }
    /// A length inside the body goes beyond the end of the packet (row H18).
    "{field}: {claimed} bytes claimed, {available} are there" "payload_length" PayloadLength {
        /// The field or fields that hold the length.
        field: &'static str,
        /// The length that is claimed.
        claimed: u64,
        /// How many bytes are there.
        available: usize,
    }
}

impl PacketError {
    /// The name of the kind, for counters and logs.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl From<FrameError> for PacketError {
    fn from(error: FrameError) -> PacketError {
        PacketError::Frame { error }
    }
}
