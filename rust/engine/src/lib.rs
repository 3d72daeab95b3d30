//! Threads, readiness, sockets, TLS and queues of the cluster bus. Holds no cluster state and no Python object.
//!
//! ```text
//!  main thread: Engine::poll                                   workers 1..N-1
//!    wait for the kernel                bounded queues
//!    edge -> take the half -> Job  -->  inbox, two lanes  -->  JobRunner::complete
//!    apply: half home, Event       <--  outbox            <--  Completion
//!    Vec<Event> to the caller
//! ```
//! `pool` knows threads and queues but not what a job is; `plain`, `tls` and `transfer` know sockets and frames but
//! no thread; `gossip` compares what comes in with what is known, and encodes heartbeats;
//! `link` says who has which half; `dispatch` moves halves; `engine` is the face of it all.
#![forbid(unsafe_code)]

mod completion;
mod config;
mod crew;
mod engine;
mod event;
mod gate;
mod gossip;
mod job;
mod journal;
pub mod limits;
mod link_id;
mod links;
mod listeners;
mod plain;
mod pool;
mod reason;
mod socket;
mod stats;
mod sync;
mod tls;
mod transfer;

pub use config::EngineConfig;
pub use engine::Engine;
pub use event::{Event, QuietHeartbeat};
pub use gate::TlsSide;
pub use gossip::{ExpectedHeartbeat, NodeRow, NodeTimes, Reports, View, ViewHeader};
pub use link_id::LinkId;
pub use reason::{EndReason, LossReason, RefusalReason};
pub use socket::Socket;
pub use tls::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub use transfer::OutMessage;
