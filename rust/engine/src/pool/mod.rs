//! The worker pool: one inbox of two lanes, one outbox, threads that park when there is nothing to do.
//!
//! Generic over what a job is, so that the same code runs under loom with jobs that are plain numbers.
//! `Pool` belongs to the main thread; `Shared` is what workers see. Nothing here knows sockets or links.
//!
//! Theory of operation. A job is pushed, then a parked worker is looked for; a worker marks itself parked,
//! then looks for a job once more. Both put a SeqCst fence between the two steps, so at least one of them
//! sees the other: no wake-up is lost, and none is sent to a worker that is awake. The main thread and the outbox
//! use the same handshake in the other direction (`waker`). A worker that finds the outbox full keeps
//! the completion in its backlog, in order, and marks itself stalled; whoever drains the outbox wakes it.

#[cfg(all(test, loom))]
mod models;
mod shared;
#[cfg(all(test, not(loom)))]
mod tests;
mod threads;
mod waker;
mod worker;

pub(crate) use shared::{Lane, Run};
pub(crate) use threads::Pool;
pub(crate) use waker::Wake;
