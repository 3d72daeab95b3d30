//! Links on the main thread's side: the table, the states of a link, and `Links`, which owns all bookkeeping about
//! them.
//!
//! Only `Links` changes anything in this module; the rest of the engine calls its methods. Main thread only.
//!
//! In reading order: `io` (the halves of a link, and where they are), `link` (one link, its states, its next job),
//! `table` (all links by id), `deadlines`, `keeper` (`Links` itself).

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
