//! TLS links, on top of rustls: the keys and rules they are made with, and the transport that carries their bytes.
//!
//! In reading order: `pem`, `keys` and `certificates` (what PEM files hold), `config` (the rules, and what connections are made
//! from), `identity` (who a peer's certificate says it is), `transport` (one link).

mod certificates;
mod config;
mod identity;
mod keys;
mod pem;
mod transport;

pub use certificates::CertificateSummary;
pub use config::{ClientAuth, Identity, TlsRules, TlsSetup};
pub use identity::PeerIdentity;
pub use keys::decrypted_key;
pub use pem::{PemFile, TlsError};
pub(crate) use transport::{TlsReport, TlsTransport};
