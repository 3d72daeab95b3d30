//! The worker pool: one inbox with two lanes, one outbox, and threads that park when there is nothing to do.
//!
//! Generic over what a job is, so that the same code runs under loom with plain numbers as jobs. `Pool` belongs to the
//! main thread; `Shared` is what workers see. Nothing here knows sockets or links.
//!
//! Theory of operation. The main thread pushes a job and then looks for a parked worker; a worker marks itself as
//! parked and then looks for a job once more. Both put a SeqCst fence between the two steps, so at least one sees what
//! the other did: no wake-up is lost, and none is sent to a worker that is awake. The outbox works the same way in the
//! other direction (`waker`). A worker that finds the outbox full keeps the completion in its backlog, in order; when
//! it runs out of jobs it marks itself as stalled, and whoever drains the outbox wakes it.
//!
//! In reading order: `shared` (both queues), `worker` (one thread's loop), `waker` (the main thread's sleep), `threads`
//! (`Pool`: how many threads there are), `models` (loom's models of the protocol).

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
