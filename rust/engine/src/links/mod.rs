//! Links: the table, the states of a link, and `Links`, which owns all bookkeeping about them.
//!
//! Only `Links` changes the table and the life of a link, on the main thread. What other threads need of a link is in
//! its dock (`docks`).
//!
//! In reading order: `link` (one link as the main thread knows it), `table` (all links by id), `deadlines`,
//! `keeper` (`Links` itself).

mod deadlines;
mod keeper;
mod link;
mod table;

pub(crate) use keeper::{Dial, Links, NotQueued, Overdue, Up};
pub(crate) use link::{NewLink, Origin};

#[cfg(all(test, not(loom)))]
mod tests;
