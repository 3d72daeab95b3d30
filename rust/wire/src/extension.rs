//! Extensions of a heartbeat: their table, walking them, and what one may hold.
//!
//! Owns the rules of rows H7-H9, H11 and H15. Lengths are 32 bits throughout and every step is checked against what
//! is left of the packet.

use zerocopy::FromBytes;

use crate::check::PacketError;
use crate::layout::{ExtensionHeadLayout, ForgottenNodeLayout};
use crate::{EXTENSION_HEAD_LEN_BYTES, MAX_EXTENSION_LEN_BYTES, NODE_ID_LEN_BYTES};

/// What kind of text a string extension holds (row H12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// Letters, digits, `-`, `.`, `_`.
    Hostname,
    /// Printable ASCII without what nodes.conf gives a meaning to: space, comma, `=`, quotes.
    Label,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

macro_rules! extension_types {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal $minimum:expr, $text:expr;)*) => {
        /// The extension types known here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ExtensionType { $($(#[$doc])* $variant = $number,)* }

        impl ExtensionType {
            /// Every type, by number.
            pub const ALL: &'static [ExtensionType] = &[$(ExtensionType::$variant,)*];

            /// The type of this number, if it is known.
            pub const fn from_number(number: u16) -> Option<ExtensionType> {
                match number { $($number => Some(ExtensionType::$variant),)* _ => None }
            }

            /// Its name, as errors and `refused` give it.
            pub const fn name(self) -> &'static str {
                match self { $(ExtensionType::$variant => $name,)* }
            }

            /// Shortest data (without the head) it can have (row H7).
            pub const fn minimum_data_len_bytes(self) -> usize {
                match self { $(ExtensionType::$variant => $minimum,)* }
            }

            /// The text it holds, if it is a string extension.
            pub const fn text_kind(self) -> Option<TextKind> {
                match self { $(ExtensionType::$variant => $text,)* }
            }
        }
    };
}

extension_types! {
    /// Announced hostname.
    0 Hostname "hostname" 1, Some(TextKind::Hostname);
    /// Human name of the node.
    1 HumanNodename "human_nodename" 1, Some(TextKind::Label);
    /// A node to forget for a while.
    2 ForgottenNode "forgotten_node" size_of::<ForgottenNodeLayout>(), None;
    /// Shard the sender belongs to.
    3 ShardId "shard_id" NODE_ID_LEN_BYTES, None;
    /// IPv4 address announced to clients.
    4 ClientIpv4 "client_ipv4" 1, Some(TextKind::Ipv4);
    /// IPv6 address announced to clients.
    5 ClientIpv6 "client_ipv6" 1, Some(TextKind::Ipv6);
}

impl ExtensionType {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// One extension inside a packet, structure checked, content not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawExtension<'a> {
    /// Type on the wire; may be unknown (row H15).
    pub number: u16,
    /// What follows the head, padding included.
    pub data: &'a [u8],
}

/// Walks extensions laid end to end; ends after the last or at the first error.
#[derive(Debug, Clone)]
pub struct RawExtensions<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> RawExtensions<'a> {
    /// Walks `bytes`, which start with an extension or are empty.
    pub fn new(bytes: &'a [u8]) -> RawExtensions<'a> {
        RawExtensions { rest: bytes, index: 0 }
    }

    /// What has not been walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn step(&mut self) -> Result<RawExtension<'a>, PacketError> {
        let index = self.index;
        let available = self.rest.len();
        let (head, _) = ExtensionHeadLayout::ref_from_prefix(self.rest)
            .map_err(|_| PacketError::ExtensionOverrun { index, length: 0, available })?;
        let length = head.length.get();
        let number = head.extension_type.get();
        let len = length as usize;
        let known = ExtensionType::from_number(number);
        if len < EXTENSION_HEAD_LEN_BYTES {
            let minimum = EXTENSION_HEAD_LEN_BYTES;
            return Err(PacketError::ExtensionLength { index, length, minimum });
        }
        if !len.is_multiple_of(8) {
            return Err(PacketError::ExtensionAlignment { index, length });
        }
        if len > MAX_EXTENSION_LEN_BYTES || len > available {
            return Err(PacketError::ExtensionOverrun { index, length, available });
        }
        let (extension, rest) = self.rest.split_at(len);
        let data = &extension[EXTENSION_HEAD_LEN_BYTES..];
        if let Some(known) = known {
            let minimum = EXTENSION_HEAD_LEN_BYTES + known.minimum_data_len_bytes();
            if len < minimum {
                return Err(PacketError::ExtensionLength { index, length, minimum });
            }
            if known.text_kind().is_some() && !data.contains(&0) {
                return Err(PacketError::ExtensionText { index, name: known.name() });
            }
        }
        self.rest = rest;
        self.index += 1;
        Ok(RawExtension { number, data })
    }
}

impl<'a> Iterator for RawExtensions<'a> {
    type Item = Result<RawExtension<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        Some(step)
    }
}
