//! Keeper: the process that stays root, so that the one that reads strangers' bytes need not be.
//!
//! Lives here: [`Keeper`], which starts it and gives up privileges afterwards. Below it: `serve` (the process itself), `remote`
//! (the daemon's end), `protocol` (what they say). Not here: pf (`firewall::pf`).
//!
//! Only with `backend: pf`: there every change is a pfctl that must run as root. The daemon is then `user`, in an empty root
//! directory, and the keeper knows nothing but to open pinholes from plain addresses, to look at states, to read the one
//! configuration file and to open the one transfer log.

mod protocol;
mod remote;
mod serve;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use tokio::sync::watch;

use self::protocol::{Channel, Hello};
pub(super) use self::remote::Errands;
use self::remote::Remote;
pub use self::serve::serve;
use super::settings;
use crate::config::{Config, LogFormat, Source};
use crate::firewall::pf::tracker::Tracker;
use crate::firewall::tracking::Follow;
use crate::firewall::{Backend, Error};
use crate::sys::privilege;

/// An empty directory that belongs to root, on both systems (hier(7)).
const EMPTY: &str = "/var/empty";

/// What the daemon does on OpenBSD once everything is open: speak TCP, look at the addresses of this host, receive the
/// transfer log.
const PROMISES: &str = "stdio inet route recvfd";

/// A running keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    errands: Errands,
    child: Child,
}

impl Keeper {
    /// Starts it, and says by whom it changes pf. `file` may be read again later.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(config: &Config, file: Option<&Path>) -> anyhow::Result<(Self, Box<dyn Backend>)> {
        let (changes, changes_there) = UnixStream::pair()?;
        let (errands, errands_there) = UnixStream::pair()?;
        let program = std::env::current_exe().context("cannot find out which program this is")?;
        let child = Command::new(&program)
            .arg("keeper")
            .stdin(Stdio::from(OwnedFd::from(changes_there)))
            .stdout(Stdio::from(OwnedFd::from(errands_there)))
            // What a terminal sends to the daemon is none of its business: it ends when the daemon has.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} keeper", program.display()))?;
        let mut changes = Channel::new(changes);
        changes.send(&Hello {
            pf: settings::pf(config)?,
            pid: std::process::id(),
            configuration: file.map(fs::canonicalize).transpose()?,
            transfers: config.log.transfers.clone(),
            level: config.log.level.as_str().to_owned(),
            json: config.log.format == LogFormat::Json,
        })?;
        let errands = Errands::new(Channel::new(errands));
        Ok((Self { errands, child }, Box::new(Remote { channel: changes })))
    }

    /// Who follows data connections.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn tracker(&self) -> Result<Arc<dyn Follow>, Error> {
        Ok(Arc::new(Tracker::start(Box::new(self.errands.clone()))?))
    }

    /// What else it does.
    pub(super) fn errands(&self) -> Errands {
        self.errands.clone()
    }

    /// Tells when it has ended.
    pub(super) fn ended(mut self) -> anyhow::Result<watch::Receiver<bool>> {
        let (tell, told) = watch::channel(false);
        thread::Builder::new().name("keeper".into()).spawn(move || {
            let status = self.child.wait();
            tracing::debug!(?status, "the keeper has ended");
            let _ = tell.send(true);
        })?;
        Ok(told)
    }
}

/// Gives up everything that the keeper now has for us. Call it when all files and sockets are open.
///
/// # Errors
/// It cannot be given up completely.
pub(super) fn drop_privileges(config: &Config) -> anyhow::Result<()> {
    if config.listeners.iter().any(|listener| listener.source == Source::Client) {
        tracing::warn!(
            "the process stays root: to bind to clients' addresses (source: client) takes that, for each session anew"
        );
        return Ok(());
    }
    if let Some(user) = config.user.as_deref().filter(|_| nix::unistd::geteuid().is_root()) {
        privilege::drop_to(user, Some(Path::new(EMPTY))).with_context(|| {
            format!("cannot become the user of the configuration in {EMPTY}, which must be an empty directory of root")
        })?;
    }
    privilege::pledge(PROMISES).context("cannot promise to be harmless (pledge)")
}
