//! The extensions of a heartbeat: the table of types, the walk over them, and what each may hold.
//!
//! Owns the rules of rows H7-H9, H11, H12 and H15. Lengths have 32 bits throughout, and every step is checked against
//! what is left of the packet. The types from 6 on are as Valkey 9.1.2 sends them.

use bytes::Bytes;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use crate::layout::{ExtensionHeadLayout, ForgottenNodeLayout};
use crate::node_id::NodeId;
use crate::numbers::{EXTENSION_HEAD_LEN_BYTES, MAX_EXTENSION_LEN_BYTES, NODE_ID_LEN_BYTES};
use crate::packet_error::PacketError;
use crate::text::{InvalidField, TextKind, before_nul};

macro_rules! extension_types {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal $minimum:expr, $text:expr;)*) => {
        /// The extension types that this version knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ExtensionType { $($(#[$doc])* $variant = $number,)* }

        impl ExtensionType {
            /// Every type, by number.
            pub const ALL: &'static [ExtensionType] = &[$(ExtensionType::$variant,)*];

            /// The type with this number, if it is known.
            pub const fn from_number(number: u16) -> Option<ExtensionType> {
                match number { $($number => Some(ExtensionType::$variant),)* _ => None }
            }

            /// Its name in errors and in `refused`.
            pub const fn name(self) -> &'static str {
                match self { $(ExtensionType::$variant => $name,)* }
            }

            /// The shortest data it can have, without the head (row H7).
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
    /// Name of the node for people to read.
    1 HumanNodename "human_nodename" 1, Some(TextKind::Label);
    /// A node that the receiver must forget for a while.
    2 ForgottenNode "forgotten_node" size_of::<ForgottenNodeLayout>(), None;
    /// Shard that the sender belongs to.
    3 ShardId "shard_id" NODE_ID_LEN_BYTES, None;
    /// IPv4 address announced to clients.
    4 ClientIpv4 "client_ipv4" 1, Some(TextKind::Ipv4);
    /// IPv6 address announced to clients.
    5 ClientIpv6 "client_ipv6" 1, Some(TextKind::Ipv6);
    /// Port announced to clients.
    6 ClientPort "client_port" size_of::<u16>(), None;
    /// TLS port announced to clients.
    7 ClientTlsPort "client_tls_port" size_of::<u16>(), None;
    /// Availability zone of the sender.
    8 AvailabilityZone "availability_zone" 1, Some(TextKind::Label);
}

impl ExtensionType {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// One extension inside a packet; its structure has been checked, its content has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawExtension<'a> {
    /// Type on the wire; may be unknown (row H15).
    pub number: u16,
    /// Everything after the head, including padding.
    pub data: &'a [u8],
}

/// Walks over extensions that follow each other; ends after the last one or at the first error.
#[derive(Debug, Clone)]
pub struct RawExtensions<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> RawExtensions<'a> {
    /// A walk over `bytes`, which start with an extension or are empty.
    pub fn new(bytes: &'a [u8]) -> RawExtensions<'a> {
        RawExtensions { rest: bytes, index: 0 }
    }

    /// The bytes that the walk has not reached yet.
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

/// The content of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionContent<'a> {
    /// The text of a string extension.
    Text(&'a str),
    /// A node to forget.
    ForgottenNode {
        /// The node's id.
        node_id: NodeId,
        /// For how long, seconds.
        ttl_s: u64,
    },
    /// The sender's shard.
    ShardId(NodeId),
    /// A port announced to clients.
    Port(u16),
    /// Content of a type that this version does not know.
    Unknown,
}

impl<'a> RawExtension<'a> {
    /// Reads the content.
    ///
    /// # Errors
    /// Names the extension when its text or id is not what its type allows (row H12).
    pub fn content(&self) -> Result<ExtensionContent<'a>, InvalidField> {
        let Some(known) = ExtensionType::from_number(self.number) else {
            return Ok(ExtensionContent::Unknown);
        };
        let field = known.name();
        let short = InvalidField { field, expected: "expected more data" };
        let id = |bytes: &[u8]| {
            NodeId::new(bytes).map_err(|_| InvalidField {
                field,
                expected: "expected 40 lower-case hex characters",
            })
        };
        if let Some(kind) = known.text_kind() {
            let text = before_nul(self.data)
                .ok_or(InvalidField { field, expected: "expected a NUL at the end" })?;
            let text = kind.parse(text).map_err(|expected| InvalidField { field, expected })?;
            return Ok(ExtensionContent::Text(text));
        }
        match known {
            ExtensionType::ForgottenNode => {
                let (data, _) =
                    ForgottenNodeLayout::ref_from_prefix(self.data).map_err(|_| short)?;
                let (node_id, ttl_s) = (id(&data.node_id)?, data.ttl_s.get());
                Ok(ExtensionContent::ForgottenNode { node_id, ttl_s })
            }
            ExtensionType::ShardId => {
                let data = self.data.get(..NODE_ID_LEN_BYTES).ok_or(short)?;
                Ok(ExtensionContent::ShardId(id(data)?))
            }
            _ => {
                let (port, _) = U16::ref_from_prefix(self.data).map_err(|_| short)?;
                Ok(ExtensionContent::Port(port.get()))
            }
        }
    }
}

/// One extension as an owned value, with content that its type allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extension {
    number: u16,
    /// The data with its padding: a multiple of 8 bytes, and at most 64 KiB with the head.
    data: Bytes,
}

impl Extension {
    /// Takes an extension's data, which includes its padding.
    ///
    /// # Errors
    /// When the length is over the limit or not a multiple of 8, or when a known type does not allow the content.
    pub fn new(number: u16, data: Bytes) -> Result<Extension, InvalidField> {
        let invalid = |expected| InvalidField { field: "data", expected };
        if !data.len().is_multiple_of(8) {
            return Err(invalid("expected a multiple of 8 bytes"));
        }
        if data.len() + EXTENSION_HEAD_LEN_BYTES > MAX_EXTENSION_LEN_BYTES {
            return Err(invalid("expected at most 65528 bytes"));
        }
        RawExtension { number, data: &data }.content()?;
        Ok(Extension { number, data })
    }

    /// A string extension.
    ///
    /// # Errors
    /// When `kind` is not a string extension or does not allow the text.
    pub fn text_of(kind: ExtensionType, text: &str) -> Result<Extension, InvalidField> {
        let field = kind.name();
        let rule = kind.text_kind();
        let rule = rule.ok_or(InvalidField { field, expected: "expected a string extension" })?;
        // Checked here too because the wire's text ends at the first NUL, so the caller's must not contain one.
        rule.parse(text.as_bytes()).map_err(|expected| InvalidField { field, expected })?;
        Extension::new(kind.number(), padded(&[text.as_bytes(), &[0]].concat()))
    }

    /// A forgotten-node extension.
    pub fn forgotten_node_of(node_id: NodeId, ttl_s: u64) -> Extension {
        let data = ForgottenNodeLayout { node_id: *node_id.as_bytes(), ttl_s: ttl_s.into() };
        Extension { number: ExtensionType::ForgottenNode.number(), data: padded(data.as_bytes()) }
    }

    /// A shard-id extension.
    pub fn shard_id_of(shard_id: NodeId) -> Extension {
        Extension { number: ExtensionType::ShardId.number(), data: padded(shard_id.as_bytes()) }
    }

    /// A port extension.
    ///
    /// # Errors
    /// When `kind` is not a port extension.
    pub fn port_of(kind: ExtensionType, port: u16) -> Result<Extension, InvalidField> {
        if !matches!(kind, ExtensionType::ClientPort | ExtensionType::ClientTlsPort) {
            return Err(InvalidField { field: kind.name(), expected: "expected a port extension" });
        }
        Ok(Extension { number: kind.number(), data: padded(&port.to_be_bytes()) })
    }

    /// Type on the wire.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Everything after the head, including padding.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Its content.
    pub fn content(&self) -> ExtensionContent<'_> {
        // Checked at construction, so the default is never used.
        let raw = RawExtension { number: self.number, data: &self.data };
        raw.content().unwrap_or(ExtensionContent::Unknown)
    }

    /// Length on the wire, including the head.
    pub fn encoded_len(&self) -> usize {
        EXTENSION_HEAD_LEN_BYTES + self.data.len()
    }
}

fn padded(data: &[u8]) -> Bytes {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(8), 0);
    Bytes::from(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> NodeId {
        NodeId::new(&[b'a'; 40]).expect("an id")
    }

    #[test]
    fn s8_each_constructor_says_what_it_was_given() {
        let text = |kind, text| Extension::text_of(kind, text).expect("good text");
        for (kind, value) in [
            (ExtensionType::Hostname, "node1.example.org"),
            (ExtensionType::HumanNodename, "human-1"),
            (ExtensionType::ClientIpv4, "10.1.1.1"),
            (ExtensionType::ClientIpv6, "2001:db8::1"),
            (ExtensionType::AvailabilityZone, "az-0"),
        ] {
            let extension = text(kind, value);
            assert_eq!(extension.content(), ExtensionContent::Text(value));
            assert_eq!(extension.encoded_len() % 8, 0);
        }
        assert_eq!(text(ExtensionType::Hostname, "1234567").data().len(), 8);
        assert_eq!(text(ExtensionType::Hostname, "12345678").data().len(), 16);
        assert_eq!(
            Extension::forgotten_node_of(id(), 60).content(),
            ExtensionContent::ForgottenNode { node_id: id(), ttl_s: 60 }
        );
        assert_eq!(Extension::shard_id_of(id()).content(), ExtensionContent::ShardId(id()));
        let port = Extension::port_of(ExtensionType::ClientTlsPort, 7000).expect("a port type");
        assert_eq!(port.content(), ExtensionContent::Port(7000));
    }

    #[test]
    fn a_value_that_cannot_be_sent_is_refused_by_name() {
        let refused = |number, data: &'static [u8]| {
            Extension::new(number, Bytes::from_static(data))
                .expect_err("must be refused")
                .to_string()
        };
        assert_eq!(refused(99, b"1234567"), "data: expected a multiple of 8 bytes");
        assert_eq!(refused(99, &[0; 65_536]), "data: expected at most 65528 bytes");
        assert_eq!(refused(0, b"12345678"), "hostname: expected a NUL at the end");
        assert_eq!(refused(2, &[0; 40]), "forgotten_node: expected more data");
        assert_eq!(refused(3, &[0; 40]), "shard_id: expected 40 lower-case hex characters");
        assert!(refused(8, b"a=b\0\0\0\0\0").starts_with("availability_zone: "));
        assert!(Extension::text_of(ExtensionType::ShardId, "x").is_err());
        assert!(Extension::text_of(ExtensionType::ClientPort, "xy").is_err());
        assert!(Extension::text_of(ExtensionType::Hostname, "a\0b").is_err());
        assert!(Extension::port_of(ExtensionType::Hostname, 7).is_err());
    }
}
