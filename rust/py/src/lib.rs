//! The module `clusterbus._core`. This is the only crate that knows Python, and it holds no logic of its own.
//!
//! In reading order: `engine` (the class `Engine`), `tls_config` (what its TLS links are made with), `events` (what it
//! reports), `view` (what is published to it), `verdict` (what a comparison with that found), `wire` (packets),
//! `numbers` (constants), `errors` (Rust's errors as Python's).
use pyo3::prelude::*;

/// Workers allocate packets and the main thread frees them; the system's allocator is slow at that.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod engine;
mod errors;
mod events;
mod numbers;
mod tls_config;
mod verdict;
mod view;
mod wire;

/// The Rust core of clusterbus.
#[pymodule(gil_used = false)]
mod _core {
    use super::*;

    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::events::{
        AcceptRefused, LinkAccepted, LinkConnected, LinkDrained, LinkLost, PacketsReceived,
        QuietHeartbeats,
    };
    #[pymodule_export]
    use crate::tls_config::{TlsConfig, decrypt_key};
    #[pymodule_export]
    use crate::verdict::Verdict;
    #[pymodule_export]
    use crate::view::{ExpectedHeartbeat, NodeRow, NodeTimes, Version, View};
    #[pymodule_export]
    use crate::wire::{
        Extension, Fail, GossipEntry, Header, HeaderOnly, Heartbeat, ModuleMessage, Packet,
        Publish, Unknown, Update, decode, encode, key_slot, parse,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::numbers::add_to(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
