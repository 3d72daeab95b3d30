//! `TlsConfig`: the rules of TLS for Python, made by any thread; and `decrypt_key`, which is detached from Python, because
//! a key that is encrypted may take long.

use clusterbus_engine::{
    CertificateSummary, ClientAuth, Identity, PemFile, TlsRules, TlsSetup, decrypted_key,
};
use std::borrow::Cow;

use pyo3::prelude::*;

use crate::errors::ConfigError;

/// A file's name and content.
type Pem = (String, Vec<u8>);
/// Serial number, first and last second of a certificate.
type Summary<'a> = (&'a str, u64, u64);

/// Keys and rules of TLS, made of PEM.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct TlsConfig {
    pub(crate) setup: TlsSetup,
}

#[pymethods]
impl TlsConfig {
    #[new]
    #[pyo3(signature = (*, cert, key, client_cert = None, client_key = None, authorities, auth_clients = "yes",
        tls12 = true, tls13 = true, suites = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        cert: Pem,
        key: Pem,
        client_cert: Option<Pem>,
        client_key: Option<Pem>,
        authorities: Vec<(String, String, Vec<u8>)>,
        auth_clients: &str,
        tls12: bool,
        tls13: bool,
        suites: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let client_auth = match auth_clients {
            "yes" => ClientAuth::Required,
            "optional" => ClientAuth::Optional,
            "no" => ClientAuth::Off,
            other => {
                let text = format!("tls-auth-clients {other}: must be yes, no or optional");
                return Err(ConfigError::new_err(text));
            }
        };
        let all = || [TlsRules::suites_of(true), TlsRules::suites_of(false)].concat();
        let rules = TlsRules {
            server: identity("tls-", cert, key),
            client: client_cert
                .zip(client_key)
                .map(|(cert, key)| identity("tls-client-", cert, key)),
            authorities: authorities
                .into_iter()
                .map(|(directive, file, bytes)| PemFile { directive, file, bytes })
                .collect(),
            client_auth,
            tls12,
            tls13,
            suites: suites.unwrap_or_else(all),
        };
        let setup = TlsSetup::new(&rules);
        Ok(Self { setup: setup.map_err(|error| ConfigError::new_err(error.to_string()))? })
    }

    #[getter]
    fn server_certificate(&self) -> Option<Summary<'_>> {
        summary(self.setup.server_certificate.as_ref())
    }

    #[getter]
    fn client_certificate(&self) -> Option<Summary<'_>> {
        summary(self.setup.client_certificate.as_ref())
    }

    #[getter]
    fn authority(&self) -> Option<Summary<'_>> {
        summary(self.setup.authority.as_ref())
    }
}

/// A key as PEM that is not encrypted; `key` itself if it is not. See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (directive, key, key_pass))]
pub fn decrypt_key(
    py: Python<'_>,
    directive: String,
    key: Pem,
    key_pass: String,
) -> PyResult<Cow<'static, [u8]>> {
    let pass_directive = format!("{directive}-pass");
    let (file, bytes) = key;
    let pem = PemFile { directive, file, bytes };
    let plain = py.detach(|| decrypted_key(&pem, &key_pass, &pass_directive));
    let plain = plain.map_err(|error| ConfigError::new_err(error.to_string()))?;
    Ok(plain.map_or(pem.bytes, |text| text.as_bytes().to_vec()).into())
}

fn identity(prefix: &str, cert: Pem, key: Pem) -> Identity {
    let pem = |name: &str, (file, bytes): Pem| PemFile {
        directive: format!("{prefix}{name}"),
        file,
        bytes,
    };
    Identity { cert: pem("cert-file", cert), key: pem("key-file", key) }
}

fn summary(certificate: Option<&CertificateSummary>) -> Option<Summary<'_>> {
    certificate.map(|summary| (&*summary.serial, summary.not_before_s, summary.not_after_s))
}
