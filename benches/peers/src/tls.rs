//! The load generator's TLS: certificates for a run, and both sides of mutual TLS.
//!
//! The generator shows a certificate and accepts any: it measures the server, so it spends no time on checking.
//! Sessions are never resumed, so every handshake is a full one.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::Failure;

/// Name of the authority's certificate in the folder of a run.
pub const CA_FILE: &str = "ca.pem";
/// Name of the certificate that every node shows.
pub const CERT_FILE: &str = "node.pem";
/// Name of its key.
pub const KEY_FILE: &str = "node.key";

/// Writes an authority and one certificate of it (ECDSA P-256) as PEM files.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_certificates(folder: &Path) -> Result<(), Failure> {
    let mut authority = CertificateParams::new(Vec::default())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "clusterbus bench authority");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "clusterbus bench node");
    let leaf_key = KeyPair::generate()?;
    let leaf_certificate = leaf.signed_by(&leaf_key, &issuer)?;
    std::fs::write(folder.join(CA_FILE), authority_certificate.pem())?;
    std::fs::write(folder.join(CERT_FILE), leaf_certificate.pem())?;
    std::fs::write(folder.join(KEY_FILE), leaf_key.serialize_pem())?;
    Ok(())
}

/// The TLS configuration of the generator's connections.
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files that [`write_certificates`] wrote.
    ///
    /// # Errors
    /// When they are not there.
    pub fn read(folder: &Path) -> Result<Tls, Failure> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(folder.join(CERT_FILE))?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(folder.join(KEY_FILE))?;
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        server.send_tls13_tickets = 0;
        Ok(Tls { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The side that dials.
    ///
    /// # Errors
    /// Those of the TLS library; in practice none.
    pub fn dialling(&self) -> Result<Connection, Failure> {
        let name = ServerName::try_from("localhost")?;
        let mut connection = ClientConnection::new(self.client.clone(), name)?;
        connection.set_buffer_limit(None);
        Ok(Connection::Client(connection))
    }

    /// The side that accepts.
    ///
    /// # Errors
    /// Those of the TLS library; in practice none.
    pub fn accepting(&self) -> Result<Connection, Failure> {
        let mut connection = ServerConnection::new(self.server.clone())?;
        connection.set_buffer_limit(None);
        Ok(Connection::Server(connection))
    }
}

/// Accepts any certificate that the server shows.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
