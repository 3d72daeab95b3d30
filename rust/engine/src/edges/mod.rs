//! Who waits for links to become ready: workers, at the hub that they share, or the main thread.
//!
//! Never reads from a link or writes to one.
//!
//! In reading order: `hub` (where workers wait), `watch` (which socket is whose to wait for).

mod hub;
mod watch;

pub(crate) use hub::EpollHub;
pub(crate) use watch::Watch;
