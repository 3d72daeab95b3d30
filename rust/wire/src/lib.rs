//! The bytes of the cluster bus, protocol version 1: headers, gossip, extensions and framing.
//!
//! Holds no thread, clock, socket or Python; nothing in it panics on peer input. It has more than a dozen small files
//! in one folder, because each holds one table or one structure of the wire and a packet passes through most of them.
//!
//! ```text
//!  bytes --peek_frame_len--> frame --check_packet--> Checked frame --PacketRef-->  fields, no allocation
//!                                                                 --decode------> Message (owned)
//!  Message --encode--> bytes
//! ```
//! A fault in a packet's structure refuses the whole packet ([`PacketError`]). A bad text, id or address inside a
//! packet whose structure is right refuses only that entry, extension or field ([`Refused`]).
//!
//! In reading order: `numbers` and `layout` (what stands where), `frame`, `check`, `packet`, then `message` and `encode`.
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
mod numbers;
mod packet;
mod packet_error;
mod slots;
mod text;

pub use check::{Checked, check_packet};
pub use encode::EncodeError;
pub use extension::{Extension, ExtensionContent, ExtensionType, RawExtension, RawExtensions};
pub use frame::{FrameError, peek_frame_len};
pub use gossip::GossipEntry;
pub use header::Header;
pub use kind::{MessageClass, MessageType, message_class_of, message_type_of};
pub use message::{
    Fail, HeaderOnly, HeaderOnlyKind, Heartbeat, HeartbeatKind, Message, MessageRef, ModuleMessage,
    Publish, Unknown, Update, decode,
};
pub use node_id::{InvalidNodeId, NodeId};
pub use numbers::*;
pub use packet::{Packet, PacketRef, Refused};
pub use packet_error::PacketError;
pub use slots::{SlotBitmap, key_hash_slot};
pub use text::{InvalidField, IpText, TextKind};
