//! `Verdict`: what the comparison with a view found news in a heartbeat. Thin, like `view`.

use clusterbus_engine as engine;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// What is news in a heartbeat to the state of one version.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct Verdict {
    version: u64,
    is_pong: bool,
    header_is_known: bool,
    claims_are_known: bool,
    news: Py<PyTuple>,
}

impl Verdict {
    pub(crate) fn of(py: Python<'_>, verdict: engine::Verdict) -> PyResult<Py<Self>> {
        let engine::Verdict { version, is_pong, header_is_known, claims_are_known, news, .. } =
            verdict;
        let news = PyTuple::new(py, news)?.unbind();
        Py::new(py, Self { version, is_pong, header_is_known, claims_are_known, news })
    }
}

#[pymethods]
impl Verdict {
    #[new]
    #[pyo3(signature = (*, version, is_pong, header_is_known, claims_are_known, news))]
    fn new(
        version: u64,
        is_pong: bool,
        header_is_known: bool,
        claims_are_known: bool,
        news: Py<PyTuple>,
    ) -> Self {
        Self { version, is_pong, header_is_known, claims_are_known, news }
    }

    /// Whether there is no news at all.
    #[getter]
    fn is_quiet(&self, py: Python<'_>) -> bool {
        self.header_is_known && self.claims_are_known && self.news.bind(py).is_empty()
    }
}
