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

mod connect;
mod deadline;
mod dispatch;
mod engine;
mod event;
mod gossip;
mod job;
pub mod limits;
mod link;
mod listener;
mod plain;
mod pool;
mod reason;
mod socket;
mod stats;
mod sync;
mod tls;
mod transfer;

pub use engine::{Engine, EngineConfig, TlsSide};
pub use event::{Event, QuietHeartbeat};
pub use gossip::{ExpectedHeartbeat, NodeRow, NodeTimes, Reports, View, ViewHeader};
pub use link::LinkId;
pub use reason::{EndReason, LossReason, RefusalReason};
pub use socket::Socket;
pub use tls::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub use transfer::OutMessage;
