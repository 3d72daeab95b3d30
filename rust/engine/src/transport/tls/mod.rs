//! TLS links, on top of rustls: the keys and rules they are made with, and the transport that carries their bytes.
//!
//! In reading order: `keys` and `certificates` (what PEM files hold), `config` (the rules, and what connections are made
//! from), `identity` (who a peer's certificate says it is), `transport` (one link).

mod certificates;
mod config;
mod identity;
mod keys;
mod transport;

pub use certificates::CertificateSummary;
pub use config::{ClientAuth, Identity, PemFile, TlsError, TlsRules, TlsSetup};
pub use identity::PeerIdentity;
pub use keys::decrypted_key;
pub(crate) use transport::{TlsReport, TlsTransport};
