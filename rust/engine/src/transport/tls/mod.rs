//! TLS links, on top of rustls: the keys and rules they are made with, and the transport that carries their bytes.

mod config;
mod transport;

pub use config::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub(crate) use transport::{TlsReport, TlsTransport};
