//! The engine from outside: every row of its requirements, on the main thread and on workers, plain and TLS.
//!
//! One binary, one module per matter. Rows (R7, H31) are named in the tests' names or comments.
#![allow(missing_docs, reason = "tests")]

mod support;

mod closing;
mod duplex;
mod heartbeats;
mod listening;
mod offload;

mod reading;
mod scripts;
mod tls;
mod waking;
mod writing;
