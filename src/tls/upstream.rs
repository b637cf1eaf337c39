//! Upstream: TLS with servers, of which the gateway is the client.
//!
//! Lives here: [`Upstream`], whom a listener takes for its server, and what the connections of one session share. Not here: when that
//! TLS is spoken (`session`).

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Error, pem, provider};

/// TLS sessions with its server that a session remembers: it has one server, which may hand out several tickets.
const REMEMBERED: usize = 8;

/// How servers prove who they are.
pub struct Upstream {
    base: ClientConfig,
    /// The name that the certificate must have; the server's address if there is none.
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Servers must show a certificate that leads to one of `authorities` and has the name; or any at all, if there are none.
    ///
    /// # Errors
    /// The file cannot be used, or the name is none.
    pub fn new(authorities: Option<&Path>, name: Option<&str>) -> Result<Self, Error> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match authorities {
            None => Arc::new(Anybody(provider.clone())),
            Some(path) => {
                let what = "the server's authorities";
                let mut roots = RootCertStore::empty();
                let unfit = |error: &dyn fmt::Display| {
                    Error::new(format!(
                        "{what} {} cannot be used: {error}; see listeners[].tls.server_ca",
                        path.display()
                    ))
                };
                for certificate in pem::certificates(path, what)? {
                    roots.add(certificate).map_err(|error| unfit(&error))?;
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| unfit(&error))?
            }
        };
        let name = name.map(|name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| Error::new(format!("{name:?} can be the name of no server (listeners[].tls.server_name)")))
        });
        let base = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| Error::new(format!("TLS cannot be used: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { base, name: name.transpose()? })
    }

    /// What the connections of one session with that server share: they resume each other's TLS sessions, and nobody else's.
    pub(super) fn session(&self, server: IpAddr) -> (Arc<ClientConfig>, ServerName<'static>) {
        let mut config = self.base.clone();
        config.resumption = Resumption::in_memory_sessions(REMEMBERED);
        (Arc::new(config), self.name.clone().unwrap_or_else(|| ServerName::from(server)))
    }
}

/// Takes anybody for the server who has a certificate and its key. The administrator has asked for that.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
