//! Keys, certificates and rules of TLS, made of PEM once and shared by all later connections.
//!
//! The crypto provider is ring, chosen here and nowhere else. Like Valkey, the bus does not check host names: nodes
//! know each other by address, and the CA decides who belongs to the cluster. Reads no file: whoever does sees one
//! state of all of them, and can tell when it has changed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, InconsistentKeys,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};

use crate::transport::tls::certificates::{CertificateSummary, authorities, certificates};
use crate::transport::tls::pem::{PemFile, TlsError};

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

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The chain that is shown, leaf first.
    pub cert: PemFile,
    /// The key of the leaf, not encrypted ([`decrypted_key`](crate::decrypted_key)).
    pub key: PemFile,
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&self.key.bytes)
            .map_err(|error| self.key.error(&error))?;
        Ok((certificates(&self.cert)?, key))
    }

    fn error(&self, error: &Error) -> TlsError {
        if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
            return self
                .key
                .error(&format!("is not the key of {} {}", self.cert.directive, self.cert.file));
        }
        self.cert.error(error)
    }
}

/// The rules of TLS as the directives give them.
#[derive(Clone)]
pub struct TlsRules {
    /// What this node shows to those who dial it, and where there is no `client` also to those that it dials.
    pub server: Identity,
    /// What this node shows to those that it dials.
    pub client: Option<Identity>,
    /// The CAs that peers' certificates must be signed by.
    pub authorities: Vec<PemFile>,
    /// Whether peers that dial us must show a certificate.
    pub client_auth: ClientAuth,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// Names of cipher suites as the standard gives them, the most wanted first. Those of a version that is not spoken
    /// are left out.
    pub suites: Vec<String>,
}

impl TlsRules {
    /// Names of all suites of a version, in the order in which rustls likes them.
    #[must_use]
    pub fn suites_of(tls13: bool) -> Vec<String> {
        let known = ring::ALL_CIPHER_SUITES.iter();
        known.filter(|suite| suite.tls13().is_some() == tls13).map(suite_name).collect()
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut cipher_suites = Vec::new();
        for name in &self.suites {
            let suite = ring::ALL_CIPHER_SUITES.iter().find(|suite| suite_name(suite) == *name);
            let suite =
                suite.ok_or_else(|| rules_error("tls-ciphers", name, "is not known here"))?;
            if if suite.tls13().is_some() { self.tls13 } else { self.tls12 } {
                cipher_suites.push(*suite);
            }
        }
        Ok(Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() }))
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let known = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        known.into_iter().filter(|(is_spoken, _)| *is_spoken).map(|(_, version)| version).collect()
    }
}

/// The standard's name: rustls calls the suites of TLS 1.3 by names of its own.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

fn rules_error(directive: &str, value: &str, detail: &str) -> TlsError {
    TlsError { directive: directive.to_owned(), value: value.to_owned(), detail: detail.to_owned() }
}

/// What TLS connections are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// The certificate that is shown to those who dial.
    pub server_certificate: Option<CertificateSummary>,
    /// The certificate that is shown to those who are dialled, if it is another one.
    pub client_certificate: Option<CertificateSummary>,
    /// Of the authorities, the one that expires first.
    pub authority: Option<CertificateSummary>,
}

impl TlsSetup {
    /// Checks that all of it fits together.
    ///
    /// # Errors
    /// [`TlsError`] names the directive and the file that cannot be used.
    pub fn new(rules: &TlsRules) -> Result<Self, TlsError> {
        let (roots, all_authorities) = authorities(&rules.authorities)?;
        let roots = Arc::new(roots);
        let (chain, key) = rules.server.read()?;
        let client_identity = rules.client.as_ref().unwrap_or(&rules.server);
        let (client_chain, client_key) = match &rules.client {
            Some(identity) => identity.read()?,
            None => (chain.clone(), key.clone_key()),
        };
        let provider = rules.provider()?;
        let versions = rules.versions();
        let rules_fault =
            |error: &Error| rules_error("tls-protocols", "and tls-ciphers", &error.to_string());

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = match rules.client_auth {
            ClientAuth::Required => verifier.build(),
            ClientAuth::Optional => verifier.allow_unauthenticated().build(),
            ClientAuth::Off => Ok(WebPkiClientVerifier::no_client_auth()),
        }
        .map_err(|error| rules_error("tls-ca-cert-file", "", &error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|error| rules_fault(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key)
            .map_err(|error| rules.server.error(&error))?;
        // Links live long and are never resumed, so session tickets would be wasted work.
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|error| rules_fault(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ChainOnly { roots, provider }))
            .with_client_auth_cert(client_chain.clone(), client_key)
            .map_err(|error| client_identity.error(&error))?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            server_certificate: CertificateSummary::of_leaf(&chain),
            client_certificate: rules
                .client
                .as_ref()
                .and_then(|_| CertificateSummary::of_leaf(&client_chain)),
            authority: CertificateSummary::of_earliest(&all_authorities),
        })
    }

    pub(crate) fn accepting(&self) -> Result<Connection, Error> {
        ServerConnection::new(self.server.clone()).map(Connection::Server)
    }

    pub(crate) fn dialling(&self, peer: std::net::IpAddr) -> Result<Connection, Error> {
        let name = ServerName::IpAddress(peer.into());
        ClientConnection::new(self.client.clone(), name).map(Connection::Client)
    }
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
