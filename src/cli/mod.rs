//! Cli: subcommands and human output.
//!
//! Lives here: [`main`], what each subcommand does, exit codes. Below it: `args` (what can be typed), `names` (looking
//! a server up), `rules` (the rulesets that `ftpgate rules` prints). Not here: the gateway (`daemon`), what is wrong with a configuration (`config`).

mod args;
mod names;
mod rules;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind as ClapKind;

use crate::config::{self, Config};
use crate::{daemon, firewall};
use args::{Cli, Command};

// The exit codes of sysexits.h that service managers and scripts know.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const NO_PERMISSION: u8 = 77;
const CONFIG: u8 = 78;
const OTHER: u8 = 1;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Fails only if nobody reads.
            let _ = error.print();
            let help = matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion);
            return ExitCode::from(if help { 0 } else { USAGE });
        }
    };
    let done = match cli.command {
        Command::Run(run) => self::run(run),
        Command::Check(check) => self::check(&check),
        Command::Rules(rules) => self::rules(&rules),
        Command::Keeper => daemon::keep(),
        Command::ShowConfig(show) => show_config(&show),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("ftpgate: {error:#}"));
            ExitCode::from(code(&error))
        }
    }
}

/// A configuration that came from the command line, and is wrong.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Usage(config::Error);

fn run(run: args::Run) -> anyhow::Result<()> {
    if run.listen.is_empty() {
        let config = load(&run.file.config)?;
        return daemon::run(config, Some(run.file.config));
    }
    let backend = run.backend.map(args::Backend::as_str);
    let mut servers = Vec::new();
    for server in &run.server {
        match names::look_up(server)? {
            None => servers.push(server.clone()),
            Some(found) => {
                let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
                complain(&format!("{server} is {} for as long as this runs", addresses.join(", ")));
                servers.extend(addresses);
            }
        }
    }
    let config = Config::from_arguments(&run.listen, &servers, backend, run.metrics.as_deref()).map_err(Usage)?;
    daemon::run(config, None)
}

fn check(check: &args::Check) -> anyhow::Result<()> {
    let path = &check.file.config;
    let config = load(path)?;
    for warning in config.warnings() {
        complain(&format!("warning: {warning}"));
    }
    for hint in config.hints() {
        complain(&format!("note: {hint}"));
    }
    print(&format!("{}: the configuration is valid\n", path.display()))?;
    if check.no_verify {
        return Ok(());
    }
    daemon::check(&config)?;
    for advice in daemon::advice(&config) {
        complain(&format!("warning: {advice}"));
    }
    print(&format!("firewall: {} is ready\n", config.firewall.backend.as_str()))
}

fn rules(rules: &args::Rules) -> anyhow::Result<()> {
    let file = &rules.file.config;
    let config = load(file)?;
    print(&rules::ruleset(&config, rules.filter, rules.inside.as_deref(), rules.outside.as_deref(), file))
}

fn show_config(show: &args::ShowConfig) -> anyhow::Result<()> {
    let config = load(&show.file.config)?;
    if show.json { print(&format!("{:#}\n", config.to_json())) } else { print(&config.to_yaml()) }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(path)?)
}

/// Writes to standard output. A reader that has seen enough (`ftpgate rules | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error; if nobody reads it, nothing can be done.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The exit code for an error, by the first cause that has one.
fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(OTHER)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<Usage>() {
        Some(USAGE)
    } else if cause.is::<config::Error>() {
        Some(CONFIG)
    } else if let Some(error) = cause.downcast_ref::<firewall::Error>() {
        Some(if error.kind() == firewall::ErrorKind::Permission { NO_PERMISSION } else { UNAVAILABLE })
    } else if let Some(error) = cause.downcast_ref::<io::Error>() {
        (error.kind() == io::ErrorKind::PermissionDenied).then_some(NO_PERMISSION)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_exit_code_of_what_to_do_about_them() {
        let firewall = |kind| anyhow::Error::new(firewall::Error::new(kind, "x"));
        let io = |kind| anyhow::Error::new(io::Error::from(kind)).context("cannot listen on 0.0.0.0:21");
        let config = || Config::parse("", "x").unwrap_err();
        for (error, expected) in [
            (anyhow::Error::new(config()), CONFIG),
            (anyhow::Error::new(config()).context("reload"), CONFIG),
            (anyhow::Error::new(Usage(config())), USAGE),
            (firewall(firewall::ErrorKind::Permission), NO_PERMISSION),
            (firewall(firewall::ErrorKind::Permission).context("start"), NO_PERMISSION),
            (firewall(firewall::ErrorKind::Taken), UNAVAILABLE),
            (firewall(firewall::ErrorKind::Other), UNAVAILABLE),
            (io(io::ErrorKind::PermissionDenied), NO_PERMISSION),
            (io(io::ErrorKind::AddrInUse), OTHER),
            (anyhow::anyhow!("something else"), OTHER),
        ] {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }
}
