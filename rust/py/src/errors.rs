//! The one place where Rust errors become Python exceptions. The classes are defined in `clusterbus.errors`.

use std::io;

use clusterbus_wire::{EncodeError, InvalidField, PacketError};
use pyo3::exceptions::PyOSError;
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(clusterbus.errors, PeerError);
import_exception!(clusterbus.errors, ConfigError);
import_exception!(clusterbus.errors, StateError);

/// The caller gave a value that cannot be sent.
pub fn invalid_field(error: InvalidField) -> PyErr {
    ConfigError::new_err(error.to_string())
}

/// The caller gave more than a message can hold.
pub fn cannot_encode(error: EncodeError) -> PyErr {
    ConfigError::new_err(error.to_string())
}

/// A peer's bytes are not a valid packet.
pub fn bad_packet(error: PacketError) -> PyErr {
    PeerError::new_err(error.to_string())
}

/// The system refused something. The OSError carries the errno, which pyo3's own conversion leaves out.
pub fn refused_by_system(error: io::Error) -> PyErr {
    let Some(code) = error.raw_os_error() else { return error.into() };
    let text = error.to_string();
    let reason = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text).to_owned();
    PyOSError::new_err((code, reason))
}
