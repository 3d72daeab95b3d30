//! Who a peer is by the certificate it showed: its key and its names, for whoever decides who may join.
//!
//! Read once, on the thread that ended the handshake, of a chain that rustls has verified. Decides nothing.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::Connection;
use webpki::EndEntityCert;

use crate::limits::{CERTIFICATE_NAME_LEN_BYTES, CERTIFICATE_NAMES};

/// What a verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// SHA-256 of the public key (SubjectPublicKeyInfo). It stays when a certificate is renewed for the same key.
    pub key_sha256: [u8; SHA256_OUTPUT_LEN],
    /// The DNS and URI names among its subject alternative names, in its order, within limits.
    pub names: Vec<String>,
}

impl PeerIdentity {
    /// Of the peer of a connection whose handshake is done; none if it showed no certificate.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        let certificate = EndEntityCert::try_from(leaf).ok()?;
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        let names = names.filter(|name| name.len() <= CERTIFICATE_NAME_LEN_BYTES);
        let mut key_sha256 = [0; SHA256_OUTPUT_LEN];
        let key = digest(&SHA256, certificate.subject_public_key_info().as_ref());
        key_sha256.copy_from_slice(key.as_ref());
        Some(Self { key_sha256, names: names.take(CERTIFICATE_NAMES).map(str::to_owned).collect() })
    }
}
