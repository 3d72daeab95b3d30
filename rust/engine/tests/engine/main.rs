//! Tests of the engine through its public interface: every row, on the main thread and on workers, plain and TLS.
//!
//! One binary, one module per subject. Row codes (R7, H31) stand in the tests' names or comments.
#![allow(missing_docs, reason = "tests")]

mod support;

mod closing;
mod duplex;
mod heartbeats;
mod listening;
mod offload;
mod quiet;
mod reading;
mod scripts;
mod sharing;
mod tls;
mod waking;
mod writing;
