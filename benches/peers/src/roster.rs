//! The nodes that the generator plays, read from the same nodes.conf that the servers get.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use clusterbus_wire::{Header, IpText, NodeId, SLOT_BITMAP_LEN_BYTES, SLOTS, SlotBitmap};

use crate::Failure;

/// The flag of a primary.
pub const FLAG_PRIMARY: u16 = 1;
/// The flag of a replica.
pub const FLAG_REPLICA: u16 = 2;

/// One node of the file.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its client port.
    pub port: u16,
    /// Its bus port.
    pub cport: u16,
    /// Its config epoch.
    pub config_epoch: u64,
    /// Its slots; none for a replica.
    pub slots: SlotBitmap,
    /// Its primary, as a number of a peer; `None` for a primary.
    pub primary: Option<usize>,
}

/// The contents of the file: the server it belongs to, the other nodes in order, and the epoch.
#[derive(Debug)]
pub struct Roster {
    /// The server under test.
    pub server: Node,
    /// The other nodes, which the generator plays.
    pub peers: Vec<Node>,
    /// The current epoch (`currentEpoch`).
    pub current_epoch: u64,
}

impl Roster {
    /// Reads the file. It may hold only primaries with IPv4 addresses, as the runner writes it.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not as the runner writes it.
    pub fn read(file: &Path) -> Result<Roster, Failure> {
        Roster::parse(&std::fs::read_to_string(file)?)
    }

    fn parse(text: &str) -> Result<Roster, Failure> {
        let (mut server, mut peers, mut current_epoch) = (None, Vec::new(), 0);
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["vars", "currentEpoch", epoch, ..] => current_epoch = epoch.parse()?,
                [id, address, flags, "-", _, _, epoch, _, slots @ ..] => {
                    let node = parse_node(id, address, epoch, slots)?;
                    if flags.split(',').any(|flag| flag == "myself") {
                        server = Some(node);
                    } else {
                        peers.push(node);
                    }
                }
                _ => return Err(format!("nodes.conf: {line}").into()),
            }
        }
        let server = server.ok_or("nodes.conf: no node has the flag myself")?;
        Ok(Roster { server, peers, current_epoch })
    }

    /// The number of nodes, including the server.
    pub fn count(&self) -> usize {
        self.peers.len() + 1
    }

    /// How many gossip entries a heartbeat has in this cluster: a tenth of the nodes and at least three, but never the
    /// sender or the receiver.
    pub fn gossip_count(&self) -> usize {
        (self.count() / 10).max(3).min(self.count().saturating_sub(2))
    }

    /// The header that `node` sends.
    ///
    /// # Errors
    /// An address that the wire cannot hold.
    pub fn header_of(&self, node: &Node) -> Result<Header, Failure> {
        let mut header = Header::new(node.id);
        header.port = node.port;
        header.cport = node.cport;
        header.current_epoch = self.current_epoch;
        let served = node.primary.map_or(node, |primary| &self.peers[primary]);
        header.config_epoch = served.config_epoch;
        header.myslots = served.slots.clone();
        header.replicaof = node.primary.map(|_| served.id);
        header.myip = IpText::new("ip", &node.ip.to_string())?;
        header.flags = node.role_flag();
        Ok(header)
    }
}

/// The slots of a set, ascending.
pub fn slots_of(set: &SlotBitmap) -> impl Iterator<Item = u16> + '_ {
    (0..SLOTS).filter(|&slot| set.contains(slot))
}

impl Node {
    /// The flag of its role.
    pub fn role_flag(&self) -> u16 {
        if self.primary.is_some() { FLAG_REPLICA } else { FLAG_PRIMARY }
    }

    /// The address of its bus port.
    pub fn bus_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, self.cport)
    }
}

fn parse_node(id: &str, address: &str, epoch: &str, slots: &[&str]) -> Result<Node, Failure> {
    let bad = || format!("nodes.conf: address {address}");
    let (ip, ports) = address.split_once(':').ok_or_else(bad)?;
    let (port, cport) = ports.split_once('@').ok_or_else(bad)?;
    let mut bitmap = [0u8; SLOT_BITMAP_LEN_BYTES];
    for range in slots {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for slot in first.parse::<usize>()?..=last.parse::<usize>()? {
            *bitmap.get_mut(slot / 8).ok_or_else(|| format!("slot {slot}"))? |= 1 << (slot % 8);
        }
    }
    Ok(Node {
        id: NodeId::new(id.as_bytes())?,
        ip: ip.parse()?,
        port: port.parse()?,
        cport: cport.parse()?,
        config_epoch: epoch.parse()?,
        slots: SlotBitmap::from(&bitmap),
        primary: None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cluster of `count` nodes as the runner writes it.
    pub(crate) fn roster(count: usize) -> Roster {
        let mut text = String::new();
        for index in 0..count {
            let flags = if index == 0 { "myself,master" } else { "master" };
            let (first, last) = (index * 16384 / count, (index + 1) * 16384 / count - 1);
            text += &format!(
                "{index:040x} 127.1.{}.{}:7000@17000 {flags} - 0 0 {} connected {first}-{last}\n",
                index / 250,
                index % 250 + 1,
                index + 1
            );
        }
        text += &format!("vars currentEpoch {count} lastVoteEpoch 0\n");
        Roster::parse(&text).expect("valid")
    }

    #[test]
    fn nodes_conf_is_read_and_gossip_follows_the_size() {
        let roster = roster(2000);
        assert_eq!((roster.count(), roster.peers.len(), roster.current_epoch), (2000, 1999, 2000));
        let last = &roster.peers[1998];
        assert_eq!(last.bus_address().to_string(), "127.1.7.250:17000");
        assert_eq!((last.config_epoch, last.slots.contains(16383)), (2000, true));
        assert_eq!(roster.server.slots.count(), 8);
        for (count, wanted) in [(4, 2), (20, 3), (201, 20), (1000, 100), (2000, 200)] {
            assert_eq!(tests::roster(count).gossip_count(), wanted, "{count} nodes");
        }
    }

    #[test]
    fn a_file_without_myself_or_with_a_foreign_line_is_refused() {
        assert!(Roster::parse("vars currentEpoch 1 lastVoteEpoch 0\n").is_err());
        assert!(Roster::parse("what is this\n").is_err());
    }
}
