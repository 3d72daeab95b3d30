//! Keys, certificates and rules of TLS, read from PEM files once and shared by all later connections.
//!
//! The crypto provider is ring, chosen here and nowhere else. Like Valkey, the bus does not check host names: nodes
//! know each other by address, and the CA decides who belongs to the cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
};

/// Whether a peer that dials must show a certificate (`tls-auth-clients`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It must show one that a CA of ours has signed.
    Required,
    /// It may show one; a certificate that does not verify is refused.
    Optional,
    /// It is not asked for one.
    Off,
}

/// The PEM files of `tls-cert-file`, `tls-key-file` and `tls-ca-cert-file`.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain this node shows, leaf first.
    pub cert_file: PathBuf,
    /// The key of the leaf.
    pub key_file: PathBuf,
    /// The CAs that peers' certificates must be signed by.
    pub ca_cert_file: PathBuf,
    /// Whether peers that dial us must show a certificate.
    pub client_auth: ClientAuth,
}

/// A TLS setup that cannot be used: which directive, which file, and why.
#[derive(Debug, thiserror::Error)]
#[error("{directive} {}: {detail}", file.display())]
pub struct TlsError {
    directive: &'static str,
    file: PathBuf,
    detail: String,
}

/// What TLS connections are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TlsSetup {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the directive and the file that cannot be read or used.
    pub fn from_files(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates("tls-cert-file", &files.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&files.key_file)
            .map_err(|error| tls_error("tls-key-file", &files.key_file, &error))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls-ca-cert-file", &files.ca_cert_file)? {
            roots
                .add(certificate)
                .map_err(|error| tls_error("tls-ca-cert-file", &files.ca_cert_file, &error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let versions = rustls::DEFAULT_VERSIONS;

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = match files.client_auth {
            ClientAuth::Required => verifier.build(),
            ClientAuth::Optional => verifier.allow_unauthenticated().build(),
            ClientAuth::Off => Ok(WebPkiClientVerifier::no_client_auth()),
        }
        .map_err(|error| tls_error("tls-ca-cert-file", &files.ca_cert_file, &error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(|error| tls_error("tls-cert-file", &files.cert_file, &error))?;
        // Links live long and are never resumed, so session tickets would be wasted work.
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .and_then(|builder| {
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(ChainOnly { roots, provider }))
                    .with_client_auth_cert(chain, key)
            })
            .map_err(|error| tls_error("tls-cert-file", &files.cert_file, &error))?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    pub(crate) fn accepting(&self) -> Result<Connection, Error> {
        ServerConnection::new(self.server.clone()).map(Connection::Server)
    }

    pub(crate) fn dialling(&self, peer: std::net::IpAddr) -> Result<Connection, Error> {
        let name = ServerName::IpAddress(peer.into());
        ClientConnection::new(self.client.clone(), name).map(Connection::Client)
    }
}

fn tls_error(directive: &'static str, file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError { directive, file: file.to_owned(), detail: error.to_string() }
}

fn certificates(
    directive: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| tls_error(directive, file, &error))?;
    if chain.is_empty() {
        return Err(tls_error(directive, file, &"holds no certificate"));
    }
    Ok(chain)
}

/// Accepts a server whose chain leads to one of our CAs, whatever name its certificate has.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
