//! Threads, readiness, sockets, TLS and queues of the cluster bus. Holds no cluster state and no Python object.
//!
//! # Theory of operation
//!
//! ```text
//!  main thread: Engine::poll                                   workers 1..N-1
//!    Poll   waits for the kernel
//!    Gate   lets connections in          bounded queues
//!    Links  edge -> take the half, Job -->  inbox, two lanes  -->  JobRunner::complete
//!    Links  half home, Journal: Event  <--  outbox            <--  Completion
//!    Vec<Event> to the owner
//! ```
//!
//! **A step** (`Engine::poll`) accepts what waits at the listeners, starts the jobs of every link that is ready, and
//! applies the completions that are there. Then it waits in the kernel until a socket, a worker, a deadline or the
//! caller's timeout ends the wait, does all of that once more, gives up on links that are overdue, and returns the
//! events. Everything is bounded by what was there at its start, so no flood holds a step.
//!
//! **A job** owns what it works on: it is made by taking a half out of its link, runs on a worker or, where there is no
//! room, on the main thread by the same code, and gives the half back in its completion. So two jobs can never work on
//! one half, and a link can never be freed under a job; neither needs a lock or a flag.
//!
//! **A half** is home, away with exactly one job, or gone because that job panicked. A plain link has two, one that
//! receives and one that sends, which work at the same time. A TLS link has one transport for both directions, since
//! rustls keeps one state for both.
//!
//! **The edge rule.** The kernel reports readiness once, as an edge. One that comes while the half is away is written
//! down in the link and served when the half is home: none is lost, none is served twice. A link that wants what is
//! away is awaited: its completion wakes the main thread even if it brings no news.
//!
//! **The life of a link.** A dial starts as `Io::Connecting`, and the main loop knows it from the start. An accepted
//! connection starts open (plain), or in a TLS handshake as `Life::Arriving`: until the handshake is done the main loop
//! does not hear of it, and the engine alone ends it (`Refused`). A link that is open is told as `Connected` or
//! `Accepted`; an accepted one must then bring a whole packet in time. When it cannot go on it is `Lost`: told once,
//! after the good packets before the fault. The main loop answers with `close`: the queue is dropped, no new job
//! starts, jobs that are away are awaited. When the last half is home the link is `Drained`, and the main loop answers
//! with `free`, which closes the socket. Its name is never used again, so what comes late for it meets nobody.
//!
//! **Who owns what.** `Links` (`links/`) alone changes links and everything counted of them. `Gate` brings links into
//! being, with `Listeners`. `Crew` runs jobs: it owns the `Pool` of workers (`pool/`, which knows threads and queues,
//! not what a job is). `Journal` (`journal/`) makes the events and counts. `completion` brings a job's end to `Links` and
//! `Journal`. `Engine` composes these and is the only thing its owner sees. On the side of the jobs, `transport/` knows
//! sockets, TLS and frames but no thread; `gossip/` compares what comes in with the published view, and encodes
//! heartbeats from it.
#![forbid(unsafe_code)]

mod completion;
mod config;
mod crew;
mod engine;
mod gate;
mod gossip;
mod job;
mod journal;
pub mod limits;
mod link_id;
mod links;
mod listeners;
mod pool;
mod reason;
mod sync;
mod transport;

pub use config::EngineConfig;
pub use engine::Engine;
pub use gate::TlsSide;
pub use gossip::{ExpectedHeartbeat, NodeRow, NodeTimes, Reports, View, ViewHeader};
pub use journal::event::{Event, QuietHeartbeat};
pub use link_id::LinkId;
pub use reason::{EndReason, LossReason, RefusalReason};
pub use transport::socket::Socket;
pub use transport::tls::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub use transport::transfer::OutMessage;
