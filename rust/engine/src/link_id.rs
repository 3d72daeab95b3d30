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

    /// What the hub knows of the name.
    pub(crate) fn tag(self) -> LinkTag {
        let generation = u64::from(self.generation()) << LinkTag::INDEX_BITS;
        LinkTag::from_low_bits(generation | self.index() as u64 & LinkTag::INDEX_MASK)
    }
}

/// A link's name within its engine, short enough to stand beside the engine's number: its place and the low bits of the
/// generation. A place is used again many times before one comes again, and then it is that of a link that is long gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkTag(u64);

impl LinkTag {
    pub(crate) const BITS: u32 = 48;
    const INDEX_BITS: u32 = 24;
    const INDEX_MASK: u64 = (1 << Self::INDEX_BITS) - 1;

    pub(crate) fn from_low_bits(bits: u64) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & Self::INDEX_MASK) as usize
    }
}
