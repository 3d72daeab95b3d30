//! The full header as an owned value.
//!
//! Owns the fields that describe the sender; those that follow from a message's content (length, type, counts) belong
//! to `encode.rs`.

use crate::layout::HeaderLayout;
use crate::node_id::NodeId;
use crate::slots::SlotBitmap;
use crate::text::IpText;

/// The fields of the full header that describe the sender. Clones share the slot bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// Node id of the sender.
    pub sender: NodeId,
    /// Client port (the TLS port when the bus uses TLS).
    pub port: u16,
    /// The other client port (the plain one when the bus uses TLS).
    pub pport: u16,
    /// Bus port.
    pub cport: u16,
    /// Highest epoch the sender has seen.
    pub current_epoch: u64,
    /// Config epoch of the sender, or of its primary.
    pub config_epoch: u64,
    /// Replication offset.
    pub offset: u64,
    /// Slots of the sender, or of its primary.
    pub myslots: SlotBitmap,
    /// The sender's primary, when it is a replica.
    pub replicaof: Option<NodeId>,
    /// Announced address; empty when the connection's is to be used.
    pub myip: IpText,
    /// Node flags.
    pub flags: u16,
    /// Cluster state as the sender sees it: 0 ok, 1 fail.
    pub state: u8,
    /// Message flags. Real servers set [`crate::MFLAG_EXTENSIONS`] even without extensions, to say that they take them.
    pub mflags: [u8; 3],
}

impl Header {
    /// A header that says nothing but who its sender is.
    pub fn new(sender: NodeId) -> Header {
        Header {
            sender,
            port: 0,
            pport: 0,
            cport: 0,
            current_epoch: 0,
            config_epoch: 0,
            offset: 0,
            myslots: SlotBitmap::empty(),
            replicaof: None,
            myip: IpText::EMPTY,
            flags: 0,
            state: 0,
            mflags: [0; 3],
        }
    }

    /// Reads a header; `None` when the sender's id is not a node id. An invalid address is read as empty (row H12).
    pub fn from_layout(layout: &HeaderLayout) -> Option<Header> {
        Some(Header {
            sender: NodeId::new(&layout.sender).ok()?,
            port: layout.port.get(),
            pport: layout.pport.get(),
            cport: layout.cport.get(),
            current_epoch: layout.current_epoch.get(),
            config_epoch: layout.config_epoch.get(),
            offset: layout.offset.get(),
            myslots: SlotBitmap::from(&layout.myslots),
            replicaof: NodeId::new(&layout.replicaof).ok(),
            myip: IpText::from_field(&layout.myip).unwrap_or_default(),
            flags: layout.flags.get(),
            state: layout.state,
            mflags: layout.mflags,
        })
    }
}
