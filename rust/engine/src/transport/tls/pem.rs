//! PEM files as the directives name them, and the error that names directive and file.
//!
//! Reads no file: who calls has read it.

/// A TLS setup that cannot be used: which directive, which value or file, and why.
#[derive(Debug, thiserror::Error)]
#[error("{directive} {value}: {detail}")]
pub struct TlsError {
    pub(super) directive: String,
    pub(super) value: String,
    pub(super) detail: String,
}

/// What a PEM file holds, and how errors name it.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// The directive that names the file.
    pub directive: String,
    /// The name of the file.
    pub file: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl PemFile {
    pub(super) fn error(&self, detail: &dyn std::fmt::Display) -> TlsError {
        TlsError {
            directive: self.directive.clone(),
            value: self.file.clone(),
            detail: detail.to_string(),
        }
    }
}
