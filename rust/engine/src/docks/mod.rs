//! The part of a link that every thread can reach: its halves, its edges, the messages to send.
//!
//! Knows nothing of how a link comes up or ends: that is the main thread's (`links`). Any thread, each dock under its own
//! lock.
//!
//! In reading order: `io` (the halves of a link, and where they are), `dock` (who takes them, and what a link wants),
//! `roster` (all docks by id), `models` (loom's models of the taking).

mod dock;
mod io;
#[cfg(all(test, loom))]
mod models;
mod roster;

pub(crate) use dock::{After, Answering, Dock, Edge, SIDES, Side, Work};
pub(crate) use io::Io;
pub(crate) use roster::Roster;
