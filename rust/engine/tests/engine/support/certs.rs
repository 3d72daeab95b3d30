//! Certificates of a test cluster and of outsiders, made once per process.

use std::sync::{Arc, OnceLock};

use clusterbus_engine::{ClientAuth, PemFile, TlsRules, TlsSetup};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData, SanType,
    date_time_ymd,
};
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    version,
};

pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

impl Identity {
    /// SHA-256 of the public key, as the engine tells it.
    pub fn key_sha256(&self) -> [u8; 32] {
        let key = KeyPair::from_pem(&self.key_pem).expect("rcgen writes PEM");
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        digest.as_ref().try_into().expect("32 bytes")
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes());
        chain.collect::<Result<_, _>>().expect("rcgen writes PEM")
    }

    /// The certificate itself.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.chain().remove(0)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("rcgen writes PEM")
    }
}

/// A CA, identities that it signed, and identities that must be refused.
pub struct Certs {
    pub ca_pem: String,
    pub node: Identity,
    pub peer: Identity,
    /// With several names and an address.
    pub named: Identity,
    pub expired: Identity,
    pub self_signed: Identity,
    pub of_other_ca: Identity,
}

impl Certs {
    fn make() -> Self {
        let ca = authority("test cluster");
        let other_ca = authority("another cluster");
        let alone = KeyPair::generate().expect("a key");
        let alone_cert = leaf().self_signed(&alone).expect("a certificate");
        let mut expired = leaf();
        (expired.not_before, expired.not_after) =
            (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        Self {
            ca_pem: ca.pem(),
            node: signed(&leaf(), &ca),
            peer: signed(&leaf(), &ca),
            named: signed(&named(), &ca),
            expired: signed(&expired, &ca),
            self_signed: Identity { cert_pem: alone_cert.pem(), key_pem: alone.serialize_pem() },
            of_other_ca: signed(&leaf(), &other_ca),
        }
    }

    /// The TLS setup of an engine whose identity is `identity`.
    pub fn setup(&self, identity: &Identity, client_auth: ClientAuth) -> TlsSetup {
        let rules = rules(&identity.cert_pem, &identity.key_pem, &self.ca_pem, client_auth);
        TlsSetup::new(&rules).expect("the files are valid")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).expect("rcgen writes PEM");
        roots.add(ca).expect("a valid CA");
        roots
    }

    /// A peer that dials, with a certificate or without.
    pub fn client(&self, identity: Option<&Identity>) -> Connection {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has versions")
            .with_root_certificates(self.roots());
        let config = match identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain(), identity.key()).expect("valid keys")
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a valid setup").into()
    }

    /// A peer with a certificate that dials and speaks one version alone.
    pub fn client_of(&self, tls13: bool) -> Connection {
        let spoken = if tls13 { &version::TLS13 } else { &version::TLS12 };
        let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[spoken])
            .expect("ring has versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(self.peer.chain(), self.peer.key())
            .expect("valid keys");
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a valid setup").into()
    }

    /// A peer that is dialled and asks the dialler for a certificate.
    pub fn server(&self, identity: &Identity) -> Connection {
        let provider = Arc::new(provider::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has versions")
            .with_client_cert_verifier(verifier.build().expect("a valid CA"))
            .with_single_cert(identity.chain(), identity.key())
            .expect("valid keys");
        ServerConnection::new(Arc::new(config)).expect("a valid setup").into()
    }
}

pub fn certs() -> &'static Certs {
    static CERTS: OnceLock<Certs> = OnceLock::new();
    CERTS.get_or_init(Certs::make)
}

/// The TLS setup of the engine under test: both sides must show a certificate.
pub fn node_setup() -> TlsSetup {
    static SETUP: OnceLock<TlsSetup> = OnceLock::new();
    SETUP.get_or_init(|| certs().setup(&certs().node, ClientAuth::Required)).clone()
}

fn pem(directive: &str, text: &str) -> PemFile {
    PemFile {
        directive: directive.to_owned(),
        file: format!("{directive}.pem"),
        bytes: text.as_bytes().to_vec(),
    }
}

/// A certificate and its key as a node is given them.
pub fn node_identity(cert_pem: &str, key_pem: &str) -> clusterbus_engine::Identity {
    clusterbus_engine::Identity {
        cert: pem("tls-cert-file", cert_pem),
        key: pem("tls-key-file", key_pem),
    }
}

/// The rules of a node with this identity and this CA: all versions, all suites.
pub fn rules(cert_pem: &str, key_pem: &str, ca_pem: &str, client_auth: ClientAuth) -> TlsRules {
    TlsRules {
        server: node_identity(cert_pem, key_pem),
        client: None,
        authorities: vec![pem("tls-ca-cert-file", ca_pem)],
        client_auth,
        tls12: true,
        tls13: true,
        suites: [TlsRules::suites_of(true), TlsRules::suites_of(false)].concat(),
    }
}

fn leaf() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned()]).expect("a valid name")
}

fn named() -> CertificateParams {
    let names = ["a.example.org", "*.b.example.org", "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("valid names");
    let uri = "spiffe://example.org/c".try_into().expect("ASCII");
    params.subject_alt_names.push(SanType::URI(uri));
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn signed(params: &CertificateParams, issuer: &CertifiedIssuer<'static, KeyPair>) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
}
