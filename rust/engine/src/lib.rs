//! Threads, readiness, sockets, TLS and queues of the cluster bus.
//!
//! Holds no cluster state and no Python object.
#![forbid(unsafe_code)]
