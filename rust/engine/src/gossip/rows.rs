//! The rows of a view and where each one is: a list in pieces, and the table that finds a node's place by its id.
//!
//! Immutable once a view has them. Two views share the pieces in which no row changed, and the table as long as they
//! have the same nodes, so that a view with one other row costs microseconds, however many nodes there are. Made on the
//! main thread, read by workers.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::node::{IdBytes, NodeRow};

/// Rows in one piece. A view with another row copies its piece, and a reference to every other piece.
const PIECE_ROWS: usize = 16;

/// The rows by place, from 0 without a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// All but the last have `PIECE_ROWS` rows; none is empty.
    pieces: Vec<Arc<[NodeRow]>>,
    len: usize,
}

impl Rows {
    pub(crate) fn new(rows: Vec<NodeRow>) -> Self {
        let len = rows.len();
        let mut pieces = Vec::with_capacity(len.div_ceil(PIECE_ROWS));
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            pieces.push(rows.by_ref().take(PIECE_ROWS).collect());
        }
        Self { pieces, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&NodeRow> {
        let place = place as usize;
        self.pieces.get(place / PIECE_ROWS)?.get(place % PIECE_ROWS)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeRow> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// Puts `row` in the place of another.
    pub(crate) fn set(&mut self, place: u32, row: NodeRow) {
        let place = place as usize;
        let piece = self.pieces.get_mut(place / PIECE_ROWS);
        let slot = piece.and_then(|piece| Arc::make_mut(piece).get_mut(place % PIECE_ROWS));
        if let Some(slot) = slot {
            *slot = row;
        }
    }

    /// Adds a row in the next place.
    pub(crate) fn push(&mut self, row: NodeRow) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE_ROWS => {
                *last = last.iter().cloned().chain([row]).collect();
            }
            _ => self.pieces.push(Arc::new([row])),
        }
        self.len += 1;
    }
}

/// The bytes of an id that are hashed. Ids are random text, so a few of them tell nodes apart.
const HASHED_BYTES: usize = 8;
/// An id that is not within this many slots of where its hash says is among the `crowded` ones. So no choice of ids
/// makes a search long (H30).
const PROBES_MAX: usize = 8;
const EMPTY: u32 = u32::MAX;

/// The places of nodes, by id.
#[derive(Clone, Debug)]
pub(crate) struct IdIndex {
    /// Odd, and of this process alone: who does not know it cannot choose ids that hash alike, unless the hashed bytes
    /// are the same.
    seed: u64,
    /// How many bits of a slot, and of a hash, are a place. There are two to the power of this many slots, at least
    /// twice as many as nodes, so no place has all these bits set, and no slot in use is `EMPTY`.
    place_bits: u32,
    /// The place in the low bits; in the other bits some of the hash, so that nearly no other id is looked at.
    slots: Arc<[u32]>,
    /// Those for which there was no room near where they belong.
    crowded: HashMap<IdBytes, u32>,
}

impl IdIndex {
    /// An index of rows with different ids.
    pub(crate) fn new(rows: &Rows) -> Self {
        // The standard library seeds its hashers from the system's randomness.
        Self::seeded(RandomState::new().hash_one(0u8) | 1, rows)
    }

    fn seeded(seed: u64, rows: &Rows) -> Self {
        let place_bits = (2 * rows.len().max(1)).next_power_of_two().trailing_zeros();
        let slots = vec![EMPTY; 1 << place_bits];
        let crowded = HashMap::new();
        let mut index = Self { seed, place_bits, slots: slots.into(), crowded };
        for (row, place) in rows.iter().zip(0u32..) {
            index.insert(&row.entry.node_id, place);
        }
        index
    }

    /// The same for other rows.
    pub(crate) fn anew(&self, rows: &Rows) -> Self {
        Self::seeded(self.seed, rows)
    }

    /// Adds the row that was pushed last.
    pub(crate) fn push(&mut self, rows: &Rows, id: &IdBytes) {
        if 2 * rows.len() > self.slots.len() {
            *self = self.anew(rows);
        } else {
            self.insert(id, rows.len() as u32 - 1);
        }
    }

    #[inline]
    fn hash(&self, id: &IdBytes) -> u32 {
        let mut hashed = [0; HASHED_BYTES];
        hashed.copy_from_slice(&id[id.len() - HASHED_BYTES..]);
        (u64::from_ne_bytes(hashed).wrapping_mul(self.seed) >> 32) as u32
    }

    fn insert(&mut self, id: &IdBytes, place: u32) {
        let hash = self.hash(id);
        let (bits, mask) = (self.place_bits, self.slots.len() - 1);
        let slots = Arc::make_mut(&mut self.slots);
        let first = (hash >> (u32::BITS - bits)) as usize;
        let free = (first..first + PROBES_MAX).map(|at| at & mask).find(|&at| slots[at] == EMPTY);
        match free {
            Some(at) => slots[at] = hash << bits | place,
            None => drop(self.crowded.insert(*id, place)),
        }
    }

    /// The place of the node with that id, and its row.
    #[inline]
    pub(crate) fn find<'a>(&self, rows: &'a Rows, id: &IdBytes) -> Option<(u32, &'a NodeRow)> {
        let hash = self.hash(id);
        let (bits, mask) = (self.place_bits, self.slots.len() - 1);
        let (first, mark) = ((hash >> (u32::BITS - bits)) as usize, hash << bits);
        for at in first..first + PROBES_MAX {
            let slot = self.slots[at & mask];
            let place = slot & mask as u32;
            if slot - place == mark
                && let Some(row) = rows.get(place)
                && row.entry.node_id == *id
            {
                return Some((place, row));
            }
            if slot == EMPTY {
                return None;
            }
        }
        let place = *self.crowded.get(id)?;
        rows.get(place).map(|row| (place, row))
    }
}

#[cfg(test)]
mod tests {
    use clusterbus_wire::{GossipEntry, NodeId};
    use proptest::prelude::*;

    use super::*;

    fn row(id: IdBytes, flags: u16) -> NodeRow {
        let mut entry = GossipEntry::new(NodeId::new(&id).expect("hex digits"));
        entry.flags = flags;
        NodeRow {
            entry: entry.to_layout(),
            is_gossiped: true,
            has_reports: false,
            takes_extensions: false,
            expected: None,
            times: Arc::default(),
        }
    }

    /// Ids that differ at the beginning, so that all of them have the same hash.
    fn colliding(number: u32) -> IdBytes {
        let mut id = [b'0'; 40];
        id[..8].copy_from_slice(format!("{number:08x}").as_bytes());
        id
    }

    fn spread(number: u32) -> IdBytes {
        let mut id = [b'0'; 40];
        id[32..].copy_from_slice(format!("{number:08x}").as_bytes());
        id
    }

    fn assert_finds_all(index: &IdIndex, rows: &Rows) {
        for (row, place) in rows.iter().zip(0u32..) {
            let found = index.find(rows, &row.entry.node_id);
            assert_eq!(
                found.map(|(place, row)| (place, row.entry.flags)),
                Some((place, row.entry.flags))
            );
        }
        for unknown in [colliding(999_999), spread(999_999)] {
            assert!(index.find(rows, &unknown).is_none());
        }
    }

    #[test]
    fn h30_ids_that_all_hash_alike_are_found_after_few_probes() {
        let ids = (0..1000).map(colliding).chain((1..1000).map(spread));
        let rows = Rows::new(ids.map(|id| row(id, 0)).collect());
        let index = IdIndex::new(&rows);
        assert_finds_all(&index, &rows);
        let crowded = index.crowded.len();
        assert!((1000 - PROBES_MAX..1000 + 10 * PROBES_MAX).contains(&crowded), "{crowded}");
    }

    #[test]
    fn r33_ids_that_differ_at_the_end_are_hardly_ever_crowded() {
        let rows = Rows::new((0..10_000).map(|number| row(spread(number), 0)).collect());
        let index = IdIndex::new(&rows);
        assert_finds_all(&index, &rows);
        assert!(index.crowded.len() < 100, "{}", index.crowded.len());
    }

    proptest! {
        /// Rows and index follow any changes; copies that were made before keep what they had.
        #[test]
        fn r33_rows_and_index_follow_every_change(
            first in 0u32..40,
            changes in proptest::collection::vec((0u8..3, 0u32..60, any::<bool>()), 0..60),
        ) {
            let id = |number: u32, collides: bool| if collides { colliding(number) } else { spread(number) };
            let mut model: Vec<(IdBytes, u16)> = (0..first).map(|number| (spread(number), 0)).collect();
            let mut rows = Rows::new(model.iter().map(|&(id, flags)| row(id, flags)).collect());
            let mut index = IdIndex::new(&rows);
            for (step, (change, number, collides)) in changes.into_iter().enumerate() {
                let (before, model_before) = (rows.clone(), model.clone());
                let (id, flags) = (id(number, collides), step as u16 + 1);
                let place = model.iter().position(|(other, _)| *other == id);
                match (change, place) {
                    (0, Some(_)) => {
                        model.retain(|(other, _)| *other != id);
                        let left = rows.iter().filter(|row| row.entry.node_id != id);
                        rows = Rows::new(left.cloned().collect());
                        index = index.anew(&rows);
                    }
                    (_, Some(place)) => {
                        model[place].1 = flags;
                        rows.set(place as u32, row(id, flags));
                    }
                    (_, None) => {
                        model.push((id, flags));
                        rows.push(row(id, flags));
                        index.push(&rows, &id);
                    }
                }
                let of = |rows: &Rows| -> Vec<_> {
                    rows.iter().map(|row| (row.entry.node_id, row.entry.flags.get())).collect()
                };
                prop_assert_eq!(of(&rows), model.clone());
                prop_assert_eq!(rows.len(), model.len());
                prop_assert_eq!(of(&before), model_before);
                assert_finds_all(&index, &rows);
            }
        }
    }
}
