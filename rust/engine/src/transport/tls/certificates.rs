//! Certificates from PEM, and what an operator wants to know of one: its serial number and until when it is valid.
//!
//! Reads what this node's own files hold, never what a peer sent.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::transport::tls::pem::{PemFile, TlsError};

/// What INFO tells of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The first second of its validity, since 1970.
    pub not_before_s: u64,
    /// The last second of its validity, since 1970.
    pub not_after_s: u64,
}

impl CertificateSummary {
    /// None for a certificate that has no such fields in their places; rustls decides whether it can be used.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let body = certificate.tbs_certificate();
        let digits: String =
            body.serial_number().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        let serial = match digits.trim_start_matches("00") {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        };
        let validity = body.validity();
        Some(Self {
            serial,
            not_before_s: validity.not_before.to_unix_duration().as_secs(),
            not_after_s: validity.not_after.to_unix_duration().as_secs(),
        })
    }

    /// Of the first certificate of a chain.
    pub(super) fn of_leaf(chain: &[CertificateDer<'_>]) -> Option<Self> {
        chain.first().and_then(Self::of)
    }

    /// Of the one that expires first.
    pub(super) fn of_earliest(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        certificates.iter().filter_map(Self::of).min_by_key(|summary| summary.not_after_s)
    }
}

/// The certificates of a file, in its order; at least one.
pub(super) fn certificates(pem: &PemFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| pem.error(&error))?;
    if found.is_empty() {
        return Err(pem.error(&"holds no certificate"));
    }
    Ok(found)
}

/// The authorities that are trusted, and all that the files hold.
pub(super) fn authorities(
    files: &[PemFile],
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut roots = RootCertStore::empty();
    let mut all = Vec::new();
    for pem in files {
        for certificate in certificates(pem)? {
            roots.add(certificate.clone()).map_err(|error| pem.error(&error))?;
            all.push(certificate);
        }
    }
    Ok((roots, all))
}
