//! A link's name. Only the table of links looks inside it.
//!
//! Holds the link's place in the table and the generation of that place: a place is reused, a name never is (R15). A
//! plain value that any thread may hold.

/// The name of a link. Never 0, never used twice.
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

    /// The name that a number stands for; a number that names no link is never found.
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
