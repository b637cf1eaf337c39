//! Identity: the certificate that clients are shown, and its key.
//!
//! Lives here: [`Identity`], which loads both files, and looks at them again: at a reload, and when a session begins and they have
//! changed. A faulty new pair changes nothing. Not here: reading PEM (`pem`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::server::ProducesTickets;
use rustls::{InconsistentKeys, ServerConfig, version};

use super::{Error, expiry, pem, provider};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// When the two files were changed last.
type Stamp = [Option<SystemTime>; 2];

/// A certificate and its key, as they are now. TLS 1.2 and 1.3. Sessions can be resumed with tickets, also those of before a
/// change of the files: many clients and servers insist on it for data connections.
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    tickets: Arc<dyn ProducesTickets>,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    looked: Instant,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Identity {
    /// Loads both files.
    ///
    /// # Errors
    /// One of them cannot be used, or they do not belong to each other.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let tickets = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| Error::new(format!("cannot make keys for session tickets: {error}")))?;
        let stamp = stamp(certificate, key);
        let config = build(certificate, key, tickets.clone())?;
        let state = Mutex::new(State { config, stamp, looked: Instant::now() });
        Ok(Self { certificate: certificate.into(), key: key.into(), tickets, state })
    }

    /// What is to be told about the certificate, if anything is: that it is not valid today.
    pub fn warning(&self) -> Option<String> {
        let chain = pem::certificates(&self.certificate, "the certificate").ok()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let (before, after) = expiry::validity(chain.first()?)?;
        let now = i64::try_from(now).ok()?;
        let name = self.certificate.display();
        if now > after {
            let days = (now - after) / 86_400;
            return Some(format!(
                "the certificate {name} expired {days} days ago: clients that verify it refuse to log in; renew it"
            ));
        }
        (now < before).then(|| format!("the certificate {name} is not valid yet: is the clock of this host right?"))
    }

    /// What clients are shown now. The files are looked at, once a second at most, and used if they have changed.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            if stamp(&self.certificate, &self.key) != state.stamp {
                self.renew(&mut state);
            }
        }
        state.config.clone()
    }

    /// Loads both files again, whether they have changed or not. If that fails, the log says why, and the old ones stay in use.
    pub fn reload(&self) {
        self.renew(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// As if a second had passed.
    #[cfg(test)]
    pub(super) fn look_again(&self) {
        let long_ago = Instant::now().checked_sub(LOOK).unwrap();
        self.state.lock().unwrap().looked = long_ago;
    }

    fn renew(&self, state: &mut State) {
        // Looked at before they are read: a change in between is seen the next time.
        let stamp = stamp(&self.certificate, &self.key);
        let name = self.certificate.display();
        match build(&self.certificate, &self.key, self.tickets.clone()) {
            Ok(config) => {
                state.config = config;
                tracing::info!("the certificate {name} was loaded again; it holds for new sessions");
                if let Some(warning) = self.warning() {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => tracing::error!("the certificate in use stays as it was: {error}"),
        }
        state.stamp = stamp;
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}

fn build(certificate: &Path, key: &Path, tickets: Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, Error> {
    let chain = pem::certificates(certificate, "the certificate")?;
    let secret = pem::key(key)?;
    let (certificate, key) = (certificate.display(), key.display());
    let versions = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| Error::new(format!("TLS cannot be used: {error}")))?;
    let built = versions.with_no_client_auth().with_single_cert(chain, secret);
    let mut config = built.map_err(|error| {
        Error::new(match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "the key {key} does not belong to the certificate {certificate}: the first certificate of that file must be the \
                 one that was made for this key"
            ),
            error => format!("the certificate {certificate} and the key {key} cannot be used: {error}"),
        })
    })?;
    config.ticketer = tickets;
    Ok(Arc::new(config))
}
