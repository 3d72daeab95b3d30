//! The module `clusterbus._core`: the only crate that knows Python. Thin by intent.
use pyo3::prelude::*;

mod errors;
mod wire;

/// The Rust core of clusterbus.
#[pymodule(gil_used = false)]
mod _core {
    use super::*;

    #[pymodule_export]
    use crate::wire::{
        Extension, Fail, GossipEntry, Header, HeaderOnly, Heartbeat, ModuleMessage, Packet,
        Publish, Unknown, Update, decode, encode, key_slot, parse,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
