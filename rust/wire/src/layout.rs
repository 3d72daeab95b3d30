//! The structures of the wire, byte for byte. They are read in place, without copying.
//!
//! Owns the offsets; the sizes come from `numbers.rs`. Must never check a value (`check.rs` does). Every offset of
//! protocol version 1 is asserted at compile time. All integers are big-endian and unaligned, so any slice of the right
//! length can be read.

use core::mem::offset_of;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::numbers::{
    EXTENSION_HEAD_LEN_BYTES, GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES, IP_LEN_BYTES,
    LIGHT_HEADER_LEN_BYTES, NODE_ID_LEN_BYTES, SLOT_BITMAP_LEN_BYTES,
};

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident, $size:expr => { $($(#[$field_doc:meta])* $offset:literal $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size);
        $(const _: () = assert!(offset_of!($name, $field) == $offset);)*
    };
}

layout! {
    /// The full header (`clusterMsg` without its data).
    HeaderLayout, HEADER_LEN_BYTES => {
        /// `RCmb`.
        0 sig: [u8; 4],
        /// Length of the whole message.
        4 totlen: U32,
        /// Protocol version.
        8 ver: U16,
        /// Client port (the TLS port when the bus uses TLS).
        10 port: U16,
        /// Message type; bit 0x8000 says that the header is a light one.
        12 message_type: U16,
        /// Number of gossip entries.
        14 count: U16,
        /// Highest epoch the sender has seen.
        16 current_epoch: U64,
        /// Config epoch of the sender, or of its primary.
        24 config_epoch: U64,
        /// Replication offset.
        32 offset: U64,
        /// Node id of the sender.
        40 sender: [u8; NODE_ID_LEN_BYTES],
        /// Slots of the sender, or of its primary.
        80 myslots: [u8; SLOT_BITMAP_LEN_BYTES],
        /// Node id of the sender's primary; all zero for a primary.
        2128 replicaof: [u8; NODE_ID_LEN_BYTES],
        /// Announced address; all zero when the connection's is to be used.
        2168 myip: [u8; IP_LEN_BYTES],
        /// Number of extensions.
        2214 extensions: U16,
        /// Reserved, zero.
        2216 unused: [u8; 30],
        /// The other client port.
        2246 pport: U16,
        /// Bus port.
        2248 cport: U16,
        /// Node flags.
        2250 flags: U16,
        /// Cluster state as the sender sees it: 0 ok, 1 fail.
        2252 state: u8,
        /// Message flags.
        2253 mflags: [u8; 3],
    }
}

layout! {
    /// The light header. The fields it shares with the full header have the same offsets.
    LightHeaderLayout, LIGHT_HEADER_LEN_BYTES => {
        /// `RCmb`.
        0 sig: [u8; 4],
        /// Length of the whole message.
        4 totlen: U32,
        /// Protocol version.
        8 ver: U16,
        /// Reserved, zero.
        10 unused_port: U16,
        /// Message type with bit 0x8000.
        12 message_type: U16,
        /// Reserved, zero.
        14 unused_count: U16,
    }
}

layout! {
    /// One gossip entry (`clusterMsgDataGossip`).
    GossipLayout, GOSSIP_ENTRY_LEN_BYTES => {
        /// Node id.
        0 node_id: [u8; NODE_ID_LEN_BYTES],
        /// When the sender last pinged it, unix seconds; 0 when no PING is unanswered.
        40 ping_sent_s: U32,
        /// When the sender last got a PONG from it, unix seconds.
        44 pong_received_s: U32,
        /// Address, NUL-ended.
        48 ip: [u8; IP_LEN_BYTES],
        /// Client port.
        94 port: U16,
        /// Bus port.
        96 cport: U16,
        /// Node flags as the sender knows them.
        98 flags: U16,
        /// The other client port.
        100 pport: U16,
        /// Reserved, zero.
        102 unused: U16,
    }
}

layout! {
    /// Head of an extension (`clusterMsgPingExt`).
    ExtensionHeadLayout, EXTENSION_HEAD_LEN_BYTES => {
        /// Length including this head; a multiple of 8.
        0 length: U32,
        /// Extension type.
        4 extension_type: U16,
        /// Reserved, zero.
        6 unused: U16,
    }
}

layout! {
    /// Data of a forgotten-node extension.
    ForgottenNodeLayout, 48 => {
        /// Node id.
        0 node_id: [u8; NODE_ID_LEN_BYTES],
        /// How long the node stays forgotten, seconds.
        40 ttl_s: U64,
    }
}

layout! {
    /// Body of FAIL.
    FailLayout, NODE_ID_LEN_BYTES => {
        /// The node that failed.
        0 node_id: [u8; NODE_ID_LEN_BYTES],
    }
}

layout! {
    /// Head of the body of PUBLISH and PUBLISHSHARD; channel and message follow.
    PublishHeadLayout, 8 => {
        /// Length of the channel.
        0 channel_len: U32,
        /// Length of the message.
        4 message_len: U32,
    }
}

layout! {
    /// Body of UPDATE.
    UpdateLayout, 2096 => {
        /// Config epoch of the slots' owner.
        0 config_epoch: U64,
        /// Node id of the slots' owner.
        8 node_id: [u8; NODE_ID_LEN_BYTES],
        /// Its slots.
        48 slots: [u8; SLOT_BITMAP_LEN_BYTES],
    }
}

layout! {
    /// Head of the body of MODULE; `len` bytes of data follow.
    ModuleHeadLayout, 13 => {
        /// Module id.
        0 module_id: U64,
        /// Length of the data.
        8 len: U32,
        /// The module's own message type.
        12 module_type: u8,
    }
}

// Code that reads these fields need not know which header it has.
const _: () = assert!(offset_of!(HeaderLayout, totlen) == offset_of!(LightHeaderLayout, totlen));
const _: () = assert!(offset_of!(HeaderLayout, ver) == offset_of!(LightHeaderLayout, ver));
const _: () =
    assert!(offset_of!(HeaderLayout, message_type) == offset_of!(LightHeaderLayout, message_type));
