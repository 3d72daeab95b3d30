//! A cluster that changes: slots that move under new epochs, nodes that change their role, and addresses.
//!
//! Owns the order of the changes, which is the same in every run; the roster says what came of them. Must never change
//! the server under test or its slots. Each change is announced by one node, which is among those with a link.

use std::fmt::Write as _;

use clusterbus_wire::{SLOT_BITMAP_LEN_BYTES, SlotBitmap};

use crate::Failure;
use crate::roster::{Node, Roster, slots_of};

/// The peers that take single slots from others.
const TAKERS: std::ops::Range<usize> = 0..100;
/// The peers that change roles, in pairs of neighbours.
const PAIRED: std::ops::Range<usize> = 100..150;
/// The peers whose client port changes.
const MOVERS: std::ops::Range<usize> = 150..200;
/// A pair changes this often before it is the next one's turn: all slots go to one, the other becomes its replica, takes
/// over, and the first becomes a replica.
const CHANGES_IN_A_PAIR: usize = 4;

/// A change that was made in the roster.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The peer whose next heartbeat announces it.
    pub announcer: usize,
    /// All peers whose heartbeats say something else from now on.
    pub changed: Vec<usize>,
}

/// The order of the changes.
#[derive(Default)]
pub struct Churn {
    made: usize,
}

impl Churn {
    /// Makes the next change in the roster.
    ///
    /// # Errors
    /// The cluster has too few nodes, or no slots to move.
    pub fn make_next(&mut self, roster: &mut Roster) -> Result<Change, Failure> {
        if roster.peers.len() < MOVERS.end {
            return Err(format!("churn needs {} peers", MOVERS.end).into());
        }
        let (turn, kind) = (self.made / 4, self.made % 4);
        let change = match kind {
            0 => take_a_slot(roster, TAKERS.start + 2 * turn % TAKERS.len(), turn)?,
            1 => change_roles(roster, turn),
            2 => take_a_slot(roster, TAKERS.start + (2 * turn + 1) % TAKERS.len(), turn)?,
            _ => {
                let announcer = MOVERS.start + turn % MOVERS.len();
                roster.peers[announcer].port ^= 1;
                Change { announcer, changed: vec![announcer] }
            }
        };
        self.made += 1;
        Ok(change)
    }
}

fn take_a_slot(roster: &mut Roster, taker: usize, turn: usize) -> Result<Change, Failure> {
    let count = roster.peers.len();
    let is_donor = |&peer: &usize| {
        peer != taker && !PAIRED.contains(&peer) && roster.peers[peer].slots.count() > 1
    };
    let donor = (0..count)
        .map(|step| (MOVERS.end + turn + step) % count)
        .find(is_donor)
        .ok_or("no slots to move")?;
    let slot = slots_of(&roster.peers[donor].slots).next().ok_or("a donor without slots")?;
    roster.peers[donor].slots = changed_slots(&roster.peers[donor].slots, slot, false);
    roster.peers[taker].slots = changed_slots(&roster.peers[taker].slots, slot, true);
    give_new_epoch(roster, taker);
    Ok(Change { announcer: taker, changed: vec![taker, donor] })
}

/// The next step of a pair: both are primaries with slots; one has all slots; the other is its replica, and takes over.
fn change_roles(roster: &mut Roster, turn: usize) -> Change {
    let first = PAIRED.start + turn / CHANGES_IN_A_PAIR * 2 % PAIRED.len();
    let pair = [first, first + 1];
    let announcer = if let Some(replica) =
        pair.into_iter().find(|&peer| roster.peers[peer].primary.is_some())
    {
        roster.peers[replica].primary = None;
        take_all_slots(roster, replica, pair[0] + pair[1] - replica);
        replica
    } else if let Some(bare) = pair.into_iter().find(|&peer| roster.peers[peer].slots.count() == 0)
    {
        roster.peers[bare].primary = Some(pair[0] + pair[1] - bare);
        bare
    } else {
        take_all_slots(roster, pair[0], pair[1]);
        pair[0]
    };
    Change { announcer, changed: pair.to_vec() }
}

fn take_all_slots(roster: &mut Roster, taker: usize, donor: usize) {
    let given = std::mem::take(&mut roster.peers[donor].slots);
    for slot in slots_of(&given) {
        roster.peers[taker].slots = changed_slots(&roster.peers[taker].slots, slot, true);
    }
    give_new_epoch(roster, taker);
}

fn give_new_epoch(roster: &mut Roster, peer: usize) {
    roster.current_epoch += 1;
    roster.peers[peer].config_epoch = roster.current_epoch;
}

fn changed_slots(slots: &SlotBitmap, slot: u16, is_in: bool) -> SlotBitmap {
    let mut bitmap = [0; SLOT_BITMAP_LEN_BYTES];
    bitmap.copy_from_slice(slots.as_bytes());
    let (byte, bit) = (usize::from(slot / 8), 1 << (slot % 8));
    if is_in {
        bitmap[byte] |= bit;
    } else {
        bitmap[byte] &= !bit;
    }
    SlotBitmap::from(&bitmap)
}

/// What a server that has heard everything knows of the other nodes, in lines like those of CLUSTER NODES: id, address,
/// role, primary or `-`, epoch, slots.
pub fn expected_nodes(roster: &Roster) -> String {
    let mut text = String::new();
    for node in &roster.peers {
        let served = node.primary.map_or(node, |primary| &roster.peers[primary]);
        let (role, primary) = match node.primary {
            Some(_) => ("slave", served.id.to_string()),
            None => ("master", "-".to_owned()),
        };
        let Node { id, ip, port, cport, .. } = node;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{id} {ip}:{port}@{cport} {role} {primary} 0 0 {} connected",
            served.config_epoch
        );
        for slot in slots_of(&node.slots) {
            let _ = write!(text, " {slot}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::tests::roster;

    #[test]
    fn every_slot_keeps_one_owner_and_the_server_its_own_through_a_thousand_changes() {
        let mut roster = roster(256);
        let (server, mut churn, mut epoch) = (roster.server.clone(), Churn::default(), 256);
        let mut roles = 0;
        for _ in 0..1000 {
            let before: Vec<_> = roster.peers.iter().map(|node| node.primary).collect();
            let change = churn.make_next(&mut roster).expect("enough nodes");
            assert!(change.announcer < 200 && change.changed.contains(&change.announcer));
            assert!(roster.current_epoch == epoch || roster.current_epoch == epoch + 1);
            epoch = roster.current_epoch;
            let owned: u32 = roster.peers.iter().map(|node| node.slots.count()).sum();
            assert_eq!(owned + server.slots.count(), 16_384);
            let after = roster.peers.iter().map(|node| node.primary);
            roles += usize::from(after.ne(before));
            assert!(
                roster.peers.iter().all(|node| node.primary.is_none() || node.slots.count() == 0)
            );
        }
        assert_eq!(roster.server.slots, server.slots);
        assert!(roles > 150, "{roles}");
        assert!(roster.peers[MOVERS].iter().any(|node| node.port == 7001));
        let mut slots: Vec<u16> =
            roster.peers.iter().flat_map(|node| slots_of(&node.slots)).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 16_384 - 64);
    }

    #[test]
    fn the_expected_table_names_a_replicas_primary_and_its_epoch() {
        let mut roster = roster(2000);
        roster.peers[1].primary = Some(0);
        roster.peers[1].slots = SlotBitmap::empty();
        let text = expected_nodes(&roster);
        let lines: Vec<&str> = text.lines().collect();
        let (first, second) = (roster.peers[0].id, roster.peers[1].id);
        assert_eq!(lines.len(), 1999);
        assert!(lines[0].ends_with(" 8 9 10 11 12 13 14 15"), "{}", lines[0]);
        assert_eq!(
            lines[1],
            format!("{second} 127.1.0.3:7000@17000 slave {first} 0 0 2 connected")
        );
        assert!(Churn::default().make_next(&mut crate::roster::tests::roster(201)).is_ok());
        assert!(Churn::default().make_next(&mut crate::roster::tests::roster(200)).is_err());
    }
}
