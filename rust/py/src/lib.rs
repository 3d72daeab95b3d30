//! The module `clusterbus._core`: the only crate that knows Python. Thin by intent.
use pyo3::prelude::*;

/// The Rust core of clusterbus.
#[pymodule(gil_used = false)]
mod _core {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
