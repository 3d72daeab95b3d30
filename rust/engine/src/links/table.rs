//! The table of links: one slot for each link, found by id. Main thread only.
//!
//! An id carries its slot's generation, so a late event never reaches a later link in the same slot (R15).

use super::link::Link;
use crate::link_id::LinkId;

enum Slot {
    Free { generation: u32 },
    Used(Box<Link>),
}

/// All links, by id.
#[derive(Default)]
pub(super) struct LinkTable {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl LinkTable {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, make: impl FnOnce(LinkId) -> Link) -> LinkId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free { generation: 0 });
            self.slots.len() - 1
        });
        let generation = match &self.slots[index] {
            Slot::Free { generation } => generation.wrapping_add(1).max(1),
            Slot::Used(link) => unreachable!("slot of {:?} was in the free list", link.id),
        };
        let id = LinkId::new(index, generation);
        self.slots[index] = Slot::Used(Box::new(make(id)));
        id
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        match self.slots.get(id.index()) {
            Some(Slot::Used(link)) if link.id == id => Some(link),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match self.slots.get_mut(id.index()) {
            Some(Slot::Used(link)) if link.id == id => Some(link),
            _ => None,
        }
    }

    /// Frees the slot; dropping the link closes its socket.
    pub(super) fn remove(&mut self, id: LinkId) -> Option<Box<Link>> {
        self.get(id)?;
        let free = Slot::Free { generation: id.generation() };
        self.free.push(id.index());
        match std::mem::replace(&mut self.slots[id.index()], free) {
            Slot::Used(link) => Some(link),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Used(link) => Some(&**link),
            Slot::Free { .. } => None,
        })
    }
}
