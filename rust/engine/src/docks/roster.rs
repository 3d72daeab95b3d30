//! The docks of all links of an engine, for threads that hear of a link by its tag alone.
//!
//! Written by the main thread when a link comes or goes, read by workers for each edge. Owns no link.

use super::dock::Dock;
use crate::link_id::{LinkId, LinkTag};
use crate::sync::{Arc, RwLock};

/// All docks; a dock's place is its link's.
#[derive(Default)]
pub(crate) struct Roster(RwLock<Vec<Option<Arc<Dock>>>>);

impl Roster {
    fn write(&self, change: impl FnOnce(&mut Vec<Option<Arc<Dock>>>)) {
        change(&mut self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub(crate) fn add(&self, dock: Arc<Dock>) {
        self.write(|docks| {
            let index = dock.id.index();
            if docks.len() <= index {
                docks.resize(index + 1, None);
            }
            docks[index] = Some(dock);
        });
    }

    pub(crate) fn remove(&self, id: LinkId) {
        self.write(|docks| {
            if let Some(place) = docks.get_mut(id.index()) {
                place.take_if(|dock| dock.id == id);
            }
        });
    }

    pub(crate) fn get(&self, tag: LinkTag) -> Option<Arc<Dock>> {
        let docks = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        docks.get(tag.index())?.as_ref().filter(|dock| dock.id.tag() == tag).cloned()
    }
}
