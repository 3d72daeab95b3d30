//! Bytes only: headers, gossip, extensions and framing of the cluster bus, protocol version 1.
//!
//! No thread, clock, socket or Python in here; nothing panics on peer input.
//!
//! ```text
//!  bytes --peek_frame_len--> frame --check_packet--> Checked frame --PacketView--> fields, no allocation
//!                                                                 --decode------> Message (owned)
//!  Message --encode--> bytes
//! ```
//! What breaks the structure of a packet refuses the packet ([`PacketError`]); what is merely a bad text or
//! address inside a sound packet refuses that one entry, extension or field ([`Refused`]).
#![forbid(unsafe_code)]

mod check;
mod encode;
mod extension;
mod frame;
mod gossip;
mod header;
mod kind;
pub mod layout;
mod message;
mod node_id;
mod packet;
mod slots;
mod text;

pub use check::{Checked, PacketError, check_packet};
pub use encode::EncodeError;
pub use extension::{Extension, ExtensionContent, ExtensionType, RawExtension, RawExtensions};
pub use frame::{FrameError, peek_frame_len};
pub use gossip::GossipEntry;
pub use header::Header;
pub use kind::{MessageClass, MessageType, message_class_of};
pub use message::{
    Fail, HeaderOnly, HeaderOnlyKind, Heartbeat, HeartbeatKind, Message, MessageRef, ModuleMessage,
    Publish, Unknown, Update, decode,
};
pub use node_id::{InvalidNodeId, NodeId};
pub use packet::{Packet, PacketView, Refused};
pub use slots::{SlotBitmap, key_hash_slot};
pub use text::{InvalidField, IpText, TextKind};

/// Longest message the bus takes: covers the largest legal gossip packet (65,535 entries and extensions).
pub const MAX_PACKET_LEN_BYTES: usize = 8 * 1024 * 1024;
/// Length of the full header.
pub const HEADER_LEN_BYTES: usize = size_of::<layout::HeaderLayout>();
/// Length of the light header.
pub const LIGHT_HEADER_LEN_BYTES: usize = size_of::<layout::LightHeaderLayout>();
/// Length of one gossip entry.
pub const GOSSIP_ENTRY_LEN_BYTES: usize = size_of::<layout::GossipLayout>();
/// Length of an extension's head, counted in its `length`.
pub const EXTENSION_HEAD_LEN_BYTES: usize = size_of::<layout::ExtensionHeadLayout>();
/// Longest single extension, head included (row H9).
pub const MAX_EXTENSION_LEN_BYTES: usize = 64 * 1024;
/// Length of a node or shard id.
pub const NODE_ID_LEN_BYTES: usize = 40;
/// Length of an address field, its NUL included.
pub const IP_LEN_BYTES: usize = 46;
/// Longest text of a string extension, its NUL not counted (row H12).
pub const MAX_TEXT_LEN_BYTES: usize = 255;
/// Number of hash slots of a cluster.
pub const CLUSTER_SLOTS: u16 = 16_384;
/// Length of a slot bitmap.
pub const SLOT_BITMAP_LEN_BYTES: usize = CLUSTER_SLOTS as usize / 8;
/// What every message starts with.
pub const SIGNATURE: [u8; 4] = *b"RCmb";
/// The protocol version spoken.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bit of the `type` field that announces the light header.
pub const LIGHT_TYPE_BIT: u16 = 0x8000;
/// `mflags[0]`: the primary has paused its clients for a manual failover.
pub const MFLAG_PAUSED: u8 = 1;
/// `mflags[0]`: vote for the sender although its primary is up.
pub const MFLAG_FORCE_ACK: u8 = 2;
/// `mflags[0]`: the message carries extensions.
pub const MFLAG_EXTENSIONS: u8 = 4;
