//! TLS links, on top of rustls: the keys and rules they are made with, and the transport that carries their bytes.

mod config;
mod identity;
mod transport;

pub use config::{ClientAuth, TlsError, TlsFiles, TlsSetup};
pub use identity::PeerIdentity;
pub(crate) use transport::{TlsReport, TlsTransport};
