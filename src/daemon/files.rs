//! Files: the configuration and the transfer log, looked at again while the daemon runs.
//!
//! Lives here: reaching them, by oneself or through the keeper. Not here: what a reload does (`mod.rs`).

use std::io;
use std::path::{Path, PathBuf};

use super::keeper::Errands;
use crate::config::Config;
use crate::observe::xferlog::Xferlog;

/// Files that are looked at again while the daemon runs, possibly through the keeper: for the daemon itself they are out of
/// reach then.
#[derive(Debug)]
pub(super) struct Files {
    /// The configuration file, if there is one.
    pub(super) path: Option<PathBuf>,
    /// Whoever reaches them, if the daemon cannot.
    pub(super) errands: Option<Errands>,
}

impl Files {
    /// Reads the configuration file `path` as it is now.
    pub(super) fn load(&self, path: &Path) -> anyhow::Result<Config> {
        Ok(match &self.errands {
            Some(errands) => Config::parse(&errands.configuration()?, &path.display().to_string())?,
            None => Config::load(path)?,
        })
    }

    /// Opens the transfer log again.
    pub(super) fn reopen(&self, log: &Xferlog) -> io::Result<()> {
        match &self.errands {
            Some(errands) => log.replace(errands.transfers()?),
            None => log.reopen()?,
        }
        Ok(())
    }
}
