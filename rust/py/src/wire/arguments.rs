//! Constructor arguments: a value out of range raises a ConfigError that names the field, not an OverflowError.

use clusterbus_wire::{InvalidField, NodeId};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::errors::{ConfigError, invalid_field};

/// An unsigned wire integer as the caller gave it; `None` when it does not fit.
#[derive(Clone, Copy)]
pub struct Uint<T>(Option<T>);

impl<'a, 'py, T> FromPyObject<'a, 'py> for Uint<T>
where
    T: FromPyObject<'a, 'py, Error = PyErr>,
{
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match value.extract() {
            Ok(number) => Ok(Uint(Some(number))),
            Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Ok(Uint(None)),
            Err(error) => Err(error),
        }
    }
}

impl<T> Uint<T> {
    /// The number, or an error that names `field`.
    pub fn named(self, field: &str) -> PyResult<T> {
        let bits = 8 * size_of::<T>();
        self.0.ok_or_else(|| {
            ConfigError::new_err(format!("{field}: expected an unsigned number of {bits} bits"))
        })
    }
}

impl<T: Default> Default for Uint<T> {
    fn default() -> Self {
        Uint(Some(T::default()))
    }
}

/// A node or shard id, or an error that names `field`.
pub fn node_id(field: &'static str, text: &str) -> PyResult<NodeId> {
    NodeId::new(text.as_bytes()).map_err(|_| {
        invalid_field(InvalidField { field, expected: "expected 40 lower-case hex characters" })
    })
}
