//! Daemon: start and stop order.

use std::path::PathBuf;

use crate::config::Config;

/// Runs the gateway until it is told to stop. `file`: where the configuration came from, to be read again on SIGHUP.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    let _ = (config, file);
    anyhow::bail!("the daemon is not built yet")
}

/// Verifies what can be verified without taking clients: the firewall backend.
///
/// # Errors
/// What would keep [`run`] from starting.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let _ = config;
    anyhow::bail!("the daemon is not built yet")
}
