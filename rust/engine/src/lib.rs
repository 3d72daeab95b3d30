//! Threads, readiness, sockets, TLS and queues of the cluster bus. Holds no cluster state and no Python object.
//!
//! # Theory of operation
//!
//! ```text
//!  main thread: Engine::poll                                   workers 1..N-1
//!    Poll   waits: listeners, dials, workers' news               EpollHub  wait for the edges of all links
//!    Gate   accepts and dials            bounded queues
//!    Links  tasks to start, Job         -->  inbox, two lanes  -->  JobRunner: take the half from its Dock, work,
//!    Links, Journal: Event              <--  outbox            <--    bring it back; Completion if there is news
//!    Vec<Event> to the main loop
//! ```
//!
//! **A step** (`Engine::poll`) accepts the connections that wait at the listeners, starts the jobs that the main loop
//! has asked for, and applies the completions that have come in. Then it waits in the kernel until a dial, a worker, a
//! deadline or the caller's timeout ends the wait, does all of that once more, gives up on links that are overdue, and
//! returns the events. Each part is bounded, so no flood can hold up a step.
//!
//! **A half** is at home in its link's dock, away with exactly one thread, or gone because a job panicked. Whoever finds
//! one at home and has something to do for it takes it, and owns it until it is back: a worker that hears an edge, a
//! job, or the main thread, if there are no workers or the inbox is full, by the same code. So two threads can never
//! work on one half, and a link is never freed under one. A plain link has two halves, one that receives and one that
//! sends, which work at the same time. A TLS link has one transport for both directions, since rustls keeps one state
//! for both.
//!
//! **The edge rule.** The kernel reports readiness once, as an edge, to one thread. An edge that meets an empty place is
//! noted in the dock, and served by whoever brings the half back: none is lost and none is served twice.
//!
//! **Quiet heartbeats** are answered, and their times noted, by the thread that reads them, as long as the main loop's
//! lease holds and the state has the version of the published view (`docks/dock`). Anything else that was read is news.
//!
//! **The order of a link's packets.** What was told as news is followed by nothing of the same link until the main loop
//! has ended the step that applies it (`flush`).
//!
//! **The life of a link.** A dial starts as `Io::Connecting`, and the main loop knows the link from the start. An
//! accepted connection starts open if it is plain, else in a TLS handshake as `Life::Arriving`: until the handshake is
//! done the main loop does not know the link, and only the engine can end it (`Refused`). An open link is reported as
//! `Connected` or `Accepted`; an accepted one must then bring a whole packet in time. A link that cannot go on is
//! reported as `Lost`, once, after the good packets that came before the fault. The main loop answers with `close`: the
//! queue is dropped, and no half is taken any more. Whoever brings the last one home says so, and the link is
//! reported as `Drained`, and the main loop answers with `free`, which closes the socket. A link's name is never used
//! again, so nothing that comes late for it can reach another link.
//!
//! **Who owns what.** Only `Links` (`links/`) changes the table of links and their lives. `docks/` owns the halves.
//! `Gate` makes new links, with `Listeners`; `edges/` says who waits for which socket. `Crew` runs jobs: it owns the
//! `Pool` of workers (`pool/`, which knows threads and queues, not what a job is). `Journal` (`journal/`) makes the
//! events and keeps the counters. `completion` tells `Links` and `Journal` how a job ended. `Engine` composes these and
//! is the only thing its owner sees. On the side of the jobs, `transport/` knows sockets, TLS and frames but no thread;
//! `gossip/` compares what comes in with the published view, and encodes heartbeats from it; `lease` says whether the
//! main loop lives.
//!
//! In reading order: `engine` (the step), `gate` with `listeners` (how links begin), `links/` (what they are), `docks/`
//! (their halves), `crew` and `job` (work on a half), `edges/` (who waits), `transport/` (the bytes), `completion` (what
//! came of it), `journal/` (what is told).
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
    ExpectedHeartbeat, NodeRow, NodeTimes, NodeTraits, Reports, RoundTripTimes, Verdict, Version,
    View, ViewHeader,
};
pub use journal::event::Event;
pub use link_id::LinkId;
pub use reason::{EndReason, LossReason, RefusalReason};
pub use transport::socket::Socket;
pub use transport::tls::{
    CertificateSummary, ClientAuth, Identity, PeerIdentity, PemFile, TlsError, TlsRules, TlsSetup,
    decrypted_key,
};
pub use transport::transfer::{OutMessage, Received};
