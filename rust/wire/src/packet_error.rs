//! What can be wrong with the structure of a packet, by kind: one table for the errors, their texts and the counters'
//! names.
//!
//! Each kind is the peer's fault and costs it the packet. Holds no check; those are in `check.rs` and `extension.rs`.

use thiserror::Error;

use crate::frame::FrameError;

macro_rules! packet_errors {
    ($($(#[$doc:meta])* $text:literal $name:literal $variant:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        /// The packet is dropped and counted; the peer misbehaved, its link goes on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
        pub enum PacketError {
            $($(#[$doc])* #[error($text)] $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        #[derive(Clone, Copy)]
        enum Kind { $($variant,)* }

        impl PacketError {
            /// Names of all kinds, by [`PacketError::index`].
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// Number of the kind, below `NAMES.len()`: for an array of counters.
            pub fn index(&self) -> usize {
                match self { $(PacketError::$variant { .. } => Kind::$variant as usize,)* }
            }
        }
    };
}

packet_errors! {
    /// The frame does not start like a message (rows H1-H3).
    "{error}" "frame" Frame {
        /// Why.
        error: FrameError,
    }
    /// The bytes handed in are not exactly one message.
    "totlen: {totlen}, but the frame has {len} bytes" "frame_length" FrameLength {
        /// What came.
        totlen: usize,
        /// How many bytes there are.
        len: usize,
    }
    /// Row H5.
    "ver: {ver}, expected 1" "version" Version {
        /// What came.
        ver: u16,
    }
    /// Row H16.
    "type: {message_type} cannot have a light header" "light_type" LightType {
        /// What came, without the light bit.
        message_type: u16,
    }
    /// An id that is no id would name nobody.
    "{field}: not 40 lower-case hex characters" "node_id" BadNodeId {
        /// Which one.
        field: &'static str,
    }
    /// Row H4.
    "totlen: {totlen}, expected {expected}" "length" Length {
        /// What came.
        totlen: usize,
        /// What the content needs.
        expected: u64,
    }
    /// Row H6.
    "count: {count} gossip entries need {needed} bytes, {available} are there" "gossip_count" GossipCount {
        /// What came.
        count: u16,
        /// Bytes they need.
        needed: usize,
        /// Bytes there are.
        available: usize,
    }
    /// Row H7.
    "extensions[{index}].length: {length} is below {minimum}" "extension_length" ExtensionLength {
        /// Which extension.
        index: usize,
        /// What came.
        length: u32,
        /// The least this type needs.
        minimum: usize,
    }
    /// Row H8.
    "extensions[{index}].length: {length} is not a multiple of 8" "extension_alignment" ExtensionAlignment {
        /// Which extension.
        index: usize,
        /// What came.
        length: u32,
    }
    /// Row H9.
    "extensions[{index}].length: {length} is over 65536 or over the {available} bytes left" "extension_overrun" ExtensionOverrun {
        /// Which extension.
        index: usize,
        /// What came; 0 when not even a head is left.
        length: u32,
        /// Bytes left of the packet.
        available: usize,
    }
    /// Row H11.
    "extensions[{index}].{name}: no NUL at the end" "extension_text" ExtensionText {
        /// Which extension.
        index: usize,
        /// Its type.
        name: &'static str,
    }
    /// Row H18.
    "{field}: {claimed} bytes claimed, {available} are there" "payload_length" PayloadLength {
        /// Which length.
        field: &'static str,
        /// What came.
        claimed: u64,
        /// Bytes there are.
        available: usize,
    }
}

impl PacketError {
    /// Name of the kind, for counters and logs.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl From<FrameError> for PacketError {
    fn from(error: FrameError) -> PacketError {
        PacketError::Frame { error }
    }
}
