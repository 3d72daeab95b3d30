//! Threads, readiness, sockets, TLS and queues of the cluster bus. Holds no cluster state and no Python object.
//!
//! # Theory of operation
//!
//! ```text
//!  main thread: Engine::poll                                   workers 1..N-1
//!    Poll   waits for the kernel
//!    Gate   accepts and dials            bounded queues
//!    Links  edge -> take the half, Job -->  inbox, two lanes  -->  JobRunner::complete
//!    Links  half home, Journal: Event  <--  outbox            <--  Completion
//!    Vec<Event> to the main loop
//! ```
//!
//! **A step** (`Engine::poll`) accepts the connections that wait at the listeners, starts the jobs of every link that
//! is ready, and applies the completions that have come in. Then it waits in the kernel until a socket, a worker, a
//! deadline or the caller's timeout ends the wait, does all of that once more, gives up on links that are overdue, and
//! returns the events. Each part is bounded, so no flood can hold up a step.
//!
//! **A job** owns what it works on: it is made by taking a half out of its link, it runs on a worker or, if the inbox
//! is full, on the main thread by the same code, and its completion gives the half back. So two jobs can never work on
//! one half, and a link is never freed under a job; neither needs a lock or a flag.
//!
//! **A half** is home, away with exactly one job, or gone because that job panicked. A plain link has two, one that
//! receives and one that sends, which work at the same time. A TLS link has one transport for both directions, since
//! rustls keeps one state for both.
//!
//! **The edge rule.** The kernel reports readiness once, as an edge. An edge that comes while the half is away is noted
//! in the link and served when the half is home: none is lost and none is served twice. A link that wants something of
//! a half which is away is awaited: the completion of that job wakes the main thread even if it brings no news.
//!
//! **The life of a link.** A dial starts as `Io::Connecting`, and the main loop knows the link from the start. An
//! accepted connection starts open if it is plain, else in a TLS handshake as `Life::Arriving`: until the handshake is
//! done the main loop does not know the link, and only the engine can end it (`Refused`). An open link is reported as
//! `Connected` or `Accepted`; an accepted one must then bring a whole packet in time. A link that cannot go on is
//! reported as `Lost`, once, after the good packets that came before the fault. The main loop answers with `close`: the
//! queue is dropped, no new job starts, and the jobs that are away are awaited. When the last half is home the link is
//! reported as `Drained`, and the main loop answers with `free`, which closes the socket. A link's name is never used
//! again, so nothing that comes late for it can reach another link.
//!
//! **Who owns what.** Only `Links` (`links/`) changes links and the counts about them. `Gate` makes new links, with
//! `Listeners`. `Crew` runs jobs: it owns the `Pool` of workers (`pool/`, which knows threads and queues, not what a
//! job is). `Journal` (`journal/`) makes the events and keeps the counters. `completion` tells `Links` and `Journal`
//! how a job ended. `Engine` composes these and is the only thing its owner sees. On the side of the jobs, `transport/`
//! knows sockets, TLS and frames but no thread; `gossip/` compares what comes in with the published view, and encodes
//! heartbeats from it.
//!
//! In reading order: `engine` (the step), `gate` with `listeners` (how links begin), `links/` (what they are), `crew`
//! and `job` (work on a half), `transport/` (its bytes), `completion` (what came of it), `journal/` (what is told).
#![forbid(unsafe_code)]

mod completion;
mod config;
mod crew;
mod docks;
mod edges;
mod engine;
mod gate;
mod gossip;
mod job;
mod journal;
mod lease;
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
pub use gossip::{
    ExpectedHeartbeat, NodeRow, NodeTimes, Reports, Verdict, Version, View, ViewHeader,
};
pub use journal::event::Event;
pub use link_id::LinkId;
pub use reason::{EndReason, LossReason, RefusalReason};
pub use transport::socket::Socket;
pub use transport::tls::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub use transport::transfer::{OutMessage, Received};
