//! PEM: certificates and keys out of files (RFC 7468), with faults that say which file, what is wrong, and what to do.
//!
//! Not here: whether they fit each other (`identity`), whom they convince (`upstream`).

use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;

/// The text of a file.
fn read(path: &Path, what: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        Error::new(format!(
            "cannot read {what} {}: {error}; the user that ftpgate runs as must be able to read it",
            path.display()
        ))
    })
}

/// All certificates of a file, in their order.
///
/// # Errors
/// It cannot be read, has none, or is no PEM.
pub(super) fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path, what)?;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| {
        Error::new(format!("{what} {} is no PEM: {}; write it again from its source", path.display(), explain(&error)))
    })?;
    if all.is_empty() {
        let text = format!(
            "{what} {} has no certificate: it must have a block -----BEGIN CERTIFICATE-----, the host's own first, then those of \
             the authorities between",
            path.display()
        );
        return Err(Error::new(text));
    }
    Ok(all)
}

/// The first private key of a file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
///
/// # Errors
/// It cannot be read, has none, or has one that is encrypted.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(path, "the key")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = text.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED");
        let why = if encrypted {
            "is encrypted, and nobody is there to type its password; write it without one: openssl pkey -in KEY -out PLAIN"
                .to_owned()
        } else if matches!(error, pem::Error::NoItemsFound) {
            "has no private key: it must have a block -----BEGIN PRIVATE KEY-----".to_owned()
        } else {
            format!("is no PEM: {}; write it again from its source", explain(&error))
        };
        Error::new(format!("the key {} {why}", path.display()))
    })
}

/// Without the bytes themselves, which could be those of a key.
fn explain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block has a faulty first line",
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is no base64",
        _ => "it cannot be read as such",
    }
}
