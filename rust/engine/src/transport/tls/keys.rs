//! Private keys that are encrypted with a passphrase: PKCS#8, as openssl writes it.
//!
//! Must never put a passphrase, or anything of a key, into an error. How long a key takes to decrypt is the file's own
//! choice, so there is a limit; whoever reads keys should not be a thread that others wait for.

use pkcs8::der::zeroize::Zeroizing;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument};

use crate::limits::{KEY_ITERATIONS_MAX, KEY_SCRYPT_LEN_BYTES_MAX};
use crate::transport::tls::pem::{PemFile, TlsError};

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// In the head of keys that are encrypted as OpenSSL did it before PKCS#8, with one round of MD5.
const TRADITIONAL: &str = "Proc-Type: 4,ENCRYPTED";
const CONVERT: &str = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";

/// The key of the file as PEM without a passphrase; None if it has none already. `pass` is the passphrase, "" if there is
/// none; `pass_directive` is where it comes from. Takes up to some tenths of a second.
///
/// # Errors
/// [`TlsError`] names the directive and the file, and for what is not read here the command that converts it.
pub fn decrypted_key(
    pem: &PemFile,
    pass: &str,
    pass_directive: &str,
) -> Result<Option<Zeroizing<String>>, TlsError> {
    let text = String::from_utf8_lossy(&pem.bytes);
    if text.contains(TRADITIONAL) {
        let what =
            "is encrypted in the traditional form of OpenSSL, which is weak and not read here";
        return Err(pem.error(&format!("{what}; {CONVERT}")));
    }
    let Some(begin) = text.find(ENCRYPTED_BEGIN) else { return Ok(None) };
    let end = text[begin..].find(ENCRYPTED_END).map(|len| begin + len + ENCRYPTED_END.len());
    let (_, document) = end
        .and_then(|end| SecretDocument::from_pem(&text[begin..end]).ok())
        .ok_or_else(|| pem.error(&"holds an encrypted key that is damaged"))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| {
        pem.error(&format!("holds an encrypted key that cannot be read ({error}); {CONVERT}"))
    })?;
    check_cost(&info.encryption_algorithm).map_err(|reason| pem.error(&reason))?;
    if pass.is_empty() {
        return Err(pem.error(&format!("is encrypted, and {pass_directive} is not set")));
    }
    let wrong = || pem.error(&format!("cannot be decrypted with {pass_directive}"));
    let key = info.decrypt(pass).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            let what = "is encrypted by a method that is not known here";
            pem.error(&format!("{what} ({oid}); {CONVERT}"))
        }
        _ => wrong(),
    })?;
    key.to_pem("PRIVATE KEY", LineEnding::LF).map(Some).map_err(|_| wrong())
}

/// Refuses a key that would take too long, or too much memory, to decrypt.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), String> {
    match scheme.pbes2().map(|parameters| &parameters.kdf) {
        None => Err(format!(
            "is encrypted by a method of PKCS#5 v1.5, which is weak and not read here; {CONVERT}"
        )),
        Some(Kdf::Pbkdf2(parameters)) if parameters.iteration_count > KEY_ITERATIONS_MAX => {
            Err(format!(
                "is encrypted with {} iterations; at most {KEY_ITERATIONS_MAX} are read here",
                parameters.iteration_count
            ))
        }
        Some(Kdf::Scrypt(parameters)) => {
            let len_bytes = parameters
                .cost_parameter
                .saturating_mul(128)
                .saturating_mul(parameters.block_size.into())
                .saturating_mul(parameters.parallelization.into());
            if len_bytes > KEY_SCRYPT_LEN_BYTES_MAX {
                return Err(format!(
                    "is encrypted with scrypt over {len_bytes} bytes; at most {KEY_SCRYPT_LEN_BYTES_MAX} are read here"
                ));
            }
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pkcs8::pkcs5::pbes2::{Parameters, Salt, ScryptParams};

    use super::*;

    fn pbkdf2(iterations: u32) -> EncryptionScheme {
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(iterations, &[1; 8], [2; 16]);
        parameters.expect("valid").into()
    }

    fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> EncryptionScheme {
        let salt = Salt::new([1; 8]).expect("short");
        let kdf = Kdf::Scrypt(ScryptParams {
            salt,
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        });
        let mut parameters =
            Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[1; 8], [2; 16]).expect("valid");
        parameters.kdf = kdf;
        parameters.into()
    }

    #[test]
    fn what_a_key_may_cost_is_limited() {
        assert!(check_cost(&pbkdf2(KEY_ITERATIONS_MAX)).is_ok());
        assert!(check_cost(&pbkdf2(KEY_ITERATIONS_MAX + 1)).is_err());
        assert!(check_cost(&scrypt(1 << 16, 8, 1)).is_ok(), "64 MiB");
        assert!(check_cost(&scrypt(1 << 16, 8, 2)).is_err());
        assert!(check_cost(&scrypt(u64::MAX, u16::MAX, u16::MAX)).is_err());
    }
}
