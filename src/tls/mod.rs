//! TLS: what the gateway shows to clients, what it asks of servers, and the record layer of a control connection.
//!
//! - `identity`: the certificate and its key, looked at again while the daemon runs; `pem`: reading such files, faults in
//!   sentences; `expiry`: until when a certificate is valid;
//! - `upstream`: whom the gateway takes for the server;
//! - `channel`: one TLS connection without a socket: bytes in, bytes out;
//! - here: [`Terminator`], all that a listener has of it, and [`Sessions`], which TLS belongs to which session.
//!
//! Not here: sockets (`proxy`), when TLS is spoken (`session`). No key material is ever logged: errors name files and faults.

pub mod channel;
mod expiry;
pub mod identity;
mod pem;
pub mod upstream;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use self::channel::Channel;
use self::identity::Identity;
use self::upstream::Upstream;
use crate::pinhole::SessionId;

/// What is wrong, where, and what to do, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a listener has of TLS.
#[derive(Debug)]
pub struct Terminator {
    identity: Identity,
    upstream: Option<Upstream>,
}

impl Terminator {
    /// For a listener that shows this to clients, and speaks TLS with servers by `upstream`, if at all.
    pub fn new(identity: Identity, upstream: Option<Upstream>) -> Self {
        Self { identity, upstream }
    }

    /// What it shows to clients.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What a session with the server at this address goes by, with all its data connections.
    fn session(&self, server: IpAddr) -> SessionTls {
        SessionTls {
            shown: self.identity.current(),
            asked: self.upstream.as_ref().map(|upstream| upstream.session(server)),
        }
    }
}

/// The TLS of one session: its data connections can resume what its control connections began, on either side.
pub struct SessionTls {
    shown: Arc<ServerConfig>,
    asked: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for SessionTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTls").field("server", &self.asked.as_ref().map(|(_, name)| name)).finish_non_exhaustive()
    }
}

impl SessionTls {
    /// Towards the client: the gateway is the TLS server.
    pub fn shown(&self) -> Arc<ServerConfig> {
        self.shown.clone()
    }

    /// Towards the server: the gateway is the TLS client of whoever proves to have this name.
    pub fn asked(&self) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        self.asked.clone()
    }

    /// The TLS of the control connection with the client.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn with_client(&self) -> Result<Channel, Error> {
        Channel::server(self.shown())
    }

    /// The TLS of the control connection with the server.
    ///
    /// # Errors
    /// It cannot be begun, or the listener knows of no TLS with servers.
    pub fn with_server(&self) -> Result<Channel, Error> {
        let asked =
            self.asked().ok_or_else(|| Error::new("no TLS with servers is configured (listeners[].tls.server)"))?;
        Channel::client(asked.0, asked.1)
    }
}

/// Which TLS belongs to which session, for as long as it lasts.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<SessionId, Arc<SessionTls>>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<SessionTls>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session with the server at this address begins.
    pub fn begin(&self, session: SessionId, terminator: &Terminator, server: IpAddr) {
        let tls = Arc::new(terminator.session(server));
        self.lock().insert(session, tls);
    }

    /// Its TLS.
    pub fn of(&self, session: SessionId) -> Option<Arc<SessionTls>> {
        self.lock().get(&session).cloned()
    }

    /// It is over. Data connections that are under way keep what they have.
    pub fn end(&self, session: SessionId) {
        self.lock().remove(&session);
    }
}

#[cfg(test)]
mod tests;
