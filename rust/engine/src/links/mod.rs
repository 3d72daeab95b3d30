//! Links as the main thread keeps them: the table, the states of a link, and the one owner of all bookkeeping.
//!
//! `Links` alone changes what is in here; the rest of the engine calls its methods. Main thread only.

mod deadlines;
mod io;
mod keeper;
mod link;
mod table;

pub(crate) use io::Io;
pub(crate) use keeper::{AfterRead, Dial, Edge, Links, Overdue, Up};
pub(crate) use link::{NewLink, Origin};

#[cfg(all(test, not(loom)))]
mod tests;
