//! The gossip entry, which is what one node says about another, as an owned value.
//!
//! Every entry has a valid id, and one that was read from the wire also has a valid address (row H13).

use crate::layout::GossipLayout;
use crate::node_id::NodeId;
use crate::text::IpText;

/// One gossip entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GossipEntry {
    /// The node that it is about.
    pub node_id: NodeId,
    /// When the sender last pinged it, unix seconds; 0 when no PING is unanswered.
    pub ping_sent_s: u32,
    /// When the sender last got a PONG from it, unix seconds.
    pub pong_received_s: u32,
    /// Its address.
    pub ip: IpText,
    /// Its client port.
    pub port: u16,
    /// Its bus port.
    pub cport: u16,
    /// Its node flags as the sender knows them.
    pub flags: u16,
    /// Its other client port.
    pub pport: u16,
}

impl GossipEntry {
    /// An entry that holds nothing but the node's id.
    pub fn new(node_id: NodeId) -> GossipEntry {
        GossipEntry {
            node_id,
            ping_sent_s: 0,
            pong_received_s: 0,
            ip: IpText::EMPTY,
            port: 0,
            cport: 0,
            flags: 0,
            pport: 0,
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// The name of the invalid field: `node_id`, or `ip` when it has no NUL or no address.
    pub fn from_layout(layout: &GossipLayout) -> Result<GossipEntry, &'static str> {
        let node_id = NodeId::new(&layout.node_id).map_err(|_| "node_id")?;
        let ip = IpText::from_field(&layout.ip).filter(|ip| !ip.is_empty()).ok_or("ip")?;
        Ok(GossipEntry {
            node_id,
            ping_sent_s: layout.ping_sent_s.get(),
            pong_received_s: layout.pong_received_s.get(),
            ip,
            port: layout.port.get(),
            cport: layout.cport.get(),
            flags: layout.flags.get(),
            pport: layout.pport.get(),
        })
    }

    /// The entry as it goes on the wire.
    pub fn to_layout(&self) -> GossipLayout {
        GossipLayout {
            node_id: *self.node_id.as_bytes(),
            ping_sent_s: self.ping_sent_s.into(),
            pong_received_s: self.pong_received_s.into(),
            ip: *self.ip.as_field(),
            port: self.port.into(),
            cport: self.cport.into(),
            flags: self.flags.into(),
            pport: self.pport.into(),
            unused: 0.into(),
        }
    }
}
