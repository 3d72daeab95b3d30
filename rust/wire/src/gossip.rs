//! What one node says about another: the gossip entry as an owned value.
//!
//! An entry that exists has a good id; one read from the wire has a good address too (row H13).

use crate::layout::GossipLayout;
use crate::node_id::NodeId;
use crate::text::IpText;

/// One gossip entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GossipEntry {
    /// Who it is about.
    pub node_id: NodeId,
    /// When the reporter last pinged it, unix seconds; 0: no PING waits.
    pub ping_sent_s: u32,
    /// When the reporter last had its PONG, unix seconds.
    pub pong_received_s: u32,
    /// Its address.
    pub ip: IpText,
    /// Its client port.
    pub port: u16,
    /// Its bus port.
    pub cport: u16,
    /// Its node flags as the reporter holds them.
    pub flags: u16,
    /// Its other client port.
    pub pport: u16,
}

impl GossipEntry {
    /// An entry that names a node and nothing else.
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
    /// The name of the field that refuses it: `node_id`, or `ip` when there is no NUL or no address.
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
