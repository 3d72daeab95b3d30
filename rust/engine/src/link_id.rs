//! A link's name, which everything but the table of links treats as opaque.
//!
//! Holds a slot number and the slot's generation: a slot is used again, a name never (R15). Plain value, any thread.

/// A link's name. Never 0, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    pub(crate) fn new(index: usize, generation: u32) -> Self {
        Self((u64::from(generation) << 32) | index as u64)
    }

    /// The number that stands for the link outside this crate.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The link of a number; one that names no link is found nowhere.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(value)
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
