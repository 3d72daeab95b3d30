//! The rows of a view and where each one is: a list in pieces, and the table that finds a node's place by its id.
//!
//! Immutable once a view has them. Two views share the pieces in which no row changed, and the table as long as they
//! have the same nodes, so that a view with one other row costs microseconds, however many nodes there are. Made on the
//! main thread, read by workers.

use std::array::from_fn;
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
    /// What is left of the last one holds copies of rows, so that all are of one size; nothing leads to them.
    pieces: Vec<Arc<[NodeRow; PIECE_ROWS]>>,
    len: usize,
}

impl Rows {
    pub(crate) fn new(rows: Vec<NodeRow>) -> Self {
        let mut all = Self::default();
        for row in rows {
            all.push(row);
        }
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The row at a place; below `len` there is one.
    #[inline(always)]
    pub(crate) fn get(&self, place: u32) -> Option<&NodeRow> {
        let place = place as usize;
        self.pieces.get(place / PIECE_ROWS).map(|piece| &piece[place % PIECE_ROWS])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeRow> {
        self.pieces.iter().flat_map(|piece| piece.iter()).take(self.len)
    }

    /// Puts `row` in the place of another.
    pub(crate) fn set(&mut self, place: u32, row: NodeRow) {
        let place = place as usize;
        if let Some(piece) = self.pieces.get_mut(place / PIECE_ROWS) {
            Arc::make_mut(piece)[place % PIECE_ROWS] = row;
        }
    }

    /// Adds a row in the next place.
    pub(crate) fn push(&mut self, row: NodeRow) {
        if self.len.is_multiple_of(PIECE_ROWS) {
            self.pieces.push(Arc::new(from_fn(|_| row.clone())));
        } else {
            self.set(self.len as u32, row);
        }
        self.len += 1;
    }
}

/// The bytes of an id that are hashed. Ids are random text, so a few of them tell nodes apart.
const HASHED_BYTES: usize = 8;
/// An id that is not within this many slots of where its hash says is among the `crowded` ones. So no choice of ids
/// makes a search long (H30).
const PROBES_MAX: u32 = 8;
/// Most nodes are then found in the first slot that is looked at.
const SLOTS_PER_NODE: usize = 4;
const EMPTY: u32 = u32::MAX;

/// The places of nodes, by id.
#[derive(Clone, Debug)]
pub(crate) struct IdIndex {
    /// Odd, and of this process alone: who does not know it cannot choose ids that hash alike, unless the hashed bytes
    /// are the same.
    seed: u64,
    /// The low bits of a slot, which are a place, and of a hash, which say where an id belongs. There is one more slot
    /// than this, at least `SLOTS_PER_NODE` as many as nodes; so no row has this place, and no slot in use is `EMPTY`.
    mask: u32,
    /// The place in the low bits; in the other bits those of the hash, so that nearly no other id is looked at.
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
        let slots = vec![EMPTY; (SLOTS_PER_NODE * rows.len().max(PIECE_ROWS)).next_power_of_two()];
        let (mask, crowded) = (slots.len() as u32 - 1, HashMap::new());
        let mut index = Self { seed, mask, slots: slots.into(), crowded };
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
        if SLOTS_PER_NODE * rows.len() > self.slots.len() {
            *self = self.anew(rows);
        } else {
            self.insert(id, rows.len() as u32 - 1);
        }
    }

    fn insert(&mut self, id: &IdBytes, place: u32) {
        let (hash, mask) = (hash(self.seed, id), self.mask);
        let slots = Arc::make_mut(&mut self.slots);
        let near = (0..PROBES_MAX).map(|step| (hash.wrapping_add(step) & mask) as usize);
        match near.into_iter().find(|&at| slots[at] == EMPTY) {
            Some(at) => slots[at] = hash & !mask | place,
            None => drop(self.crowded.insert(*id, place)),
        }
    }

    /// Finds most nodes of these rows, in few instructions.
    #[inline(always)]
    pub(crate) fn quick<'a>(&'a self, rows: &'a Rows) -> QuickFinder<'a> {
        let Self { seed, mask, slots, .. } = self;
        QuickFinder { seed: *seed, mask: *mask, slots, pieces: &rows.pieces }
    }

    /// The place of the node with that id, and its row.
    pub(crate) fn find<'a>(&self, rows: &'a Rows, id: &IdBytes) -> Option<(u32, &'a NodeRow)> {
        let (hash, mask) = (hash(self.seed, id), self.mask);
        for step in 0..PROBES_MAX {
            let slot = self.slots[(hash.wrapping_add(step) & mask) as usize];
            if slot == EMPTY {
                return None;
            }
            let place = slot & mask;
            if slot ^ hash <= mask
                && let Some(row) = rows.get(place)
                && row.entry.node_id == *id
            {
                return Some((place, row));
            }
        }
        let place = *self.crowded.get(id)?;
        rows.get(place).map(|row| (place, row))
    }
}

/// What a search needs, apart from what is seldom needed; a loop can keep it in registers.
#[derive(Clone, Copy)]
pub(crate) struct QuickFinder<'a> {
    seed: u64,
    mask: u32,
    slots: &'a [u32],
    pieces: &'a [Arc<[NodeRow; PIECE_ROWS]>],
}

impl<'a> QuickFinder<'a> {
    /// The row of the first node that an id could be of: most often it is that node. None does not mean that there is no
    /// such node.
    #[inline(always)]
    pub(crate) fn first(self, id: &IdBytes) -> Option<&'a NodeRow> {
        let (hash, mask) = (hash(self.seed, id), self.mask);
        let mut slot = *self.slots.get((hash & mask) as usize)?;
        if slot ^ hash > mask {
            slot = *self.slots.get((hash.wrapping_add(1) & mask) as usize)?;
            if slot ^ hash > mask {
                return None;
            }
        }
        let place = (slot & mask) as usize;
        self.pieces.get(place / PIECE_ROWS).map(|piece| &piece[place % PIECE_ROWS])
    }
}

#[inline(always)]
fn hash(seed: u64, id: &IdBytes) -> u32 {
    let mut hashed = [0; HASHED_BYTES];
    hashed.copy_from_slice(&id[id.len() - HASHED_BYTES..]);
    (u64::from_be_bytes(hashed).wrapping_mul(seed) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use clusterbus_wire::{GossipEntry, NodeId};
    use proptest::prelude::*;

    use super::super::node::NodeTraits;
    use super::*;

    fn row(id: IdBytes, flags: u16) -> NodeRow {
        let mut entry = GossipEntry::new(NodeId::new(&id).expect("hex digits"));
        entry.flags = flags;
        NodeRow::new(entry.to_layout(), NodeTraits::default(), None, Arc::default())
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
        for row in rows.iter() {
            // Whatever is found quickly is a row that counts, and not a copy that fills a piece.
            if let Some(first) = index.quick(rows).first(&row.entry.node_id) {
                assert!(rows.iter().any(|row| std::ptr::eq(first, row)));
            }
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
        assert!((900..1100).contains(&crowded), "{crowded}");
    }

    #[test]
    fn r33_ids_that_differ_at_the_end_are_hardly_ever_crowded() {
        let rows = Rows::new((0..10_000).map(|number| row(spread(number), 0)).collect());
        let index = IdIndex::new(&rows);
        assert_finds_all(&index, &rows);
        assert!(index.crowded.len() < 100, "{}", index.crowded.len());
        let quick = index.quick(&rows);
        let is_first = |row: &&NodeRow| {
            let first = quick.first(&row.entry.node_id);
            first.is_some_and(|first| std::ptr::eq(first, *row))
        };
        let found = rows.iter().filter(is_first).count();
        assert!(found > 9_000, "{found} of 10,000 at once");
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
