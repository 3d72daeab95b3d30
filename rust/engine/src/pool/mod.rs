//! The worker pool: one inbox with two lanes, one outbox, and threads that park when there is nothing to do.
//!
//! Generic over what a job is, so that the same code runs under loom with plain numbers as jobs. `Pool` belongs to the
//! main threads of the engines that share it; `Shared` is what workers see. Nothing here knows sockets or links.
//!
//! Theory of operation. An engine has a **seat** in the pool and a **desk**, where workers deliver what its jobs leave
//! behind. Jobs and edges name their desk; nothing else of a pool depends on how many engines it serves. There are as
//! many workers as the engine asks for that wants most, and none as long as none wants any.
//!
//! Workers wait at the **hub**: the kernel gives each edge to one of them. The main thread pushes a
//! job and then looks whether a worker waits; a worker says that it waits and then looks for a job once more. Both put a
//! SeqCst fence between the two steps, so at least one sees what the other did: no job is left lying, and the bell of the
//! hub is not rung for nobody. The main thread's own sleep works the same way (`waker`).
//!
//! Only the first few workers are **active**; the others sit on the **bench** until jobs pile up, an active worker finds
//! no rest, or a handshake would leave nobody to serve edges. A completion for which the outbox has no room goes into
//! the overflow behind it: no worker ever waits for the main thread.
//!
//! In reading order: `shared` (the inbox, the hub), `desk` (what is one engine's), `worker` (one thread's loop), `waker`
//! (the main thread's sleep), `threads` (`Pool`, `Seat`: how many threads there are), `models` (loom's models of the
//! protocol).

mod desk;
#[cfg(all(test, loom))]
mod models;
mod shared;
#[cfg(all(test, not(loom)))]
mod tests;
mod threads;
mod waker;
mod worker;

pub(crate) use desk::DeskNumber;
pub(crate) use shared::{Hands, Hub, Lane, Run};
pub(crate) use threads::{Pool, Seat};
pub(crate) use waker::Wake;
