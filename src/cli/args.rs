//! What can be typed: subcommands, arguments, and the help that teaches them.
//!
//! Lives here: clap's structs, without effects. Not here: what the commands do (`mod.rs`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::defaults::CONFIG_FILE;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ftpgate",
    version,
    about = "A NAT-aware FTP gateway: lets FTP work through NAT and default-deny firewalls",
    long_about = LONG_ABOUT,
    after_help = "Exit codes: 0 done, 64 usage, 69 firewall unavailable, 77 no permission, 78 configuration, 1 anything else.\n\
        `ftpgate --help` explains more, `ftpgate COMMAND --help` explains one command.",
    after_long_help = AFTER_LONG_HELP,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

const LONG_ABOUT: &str = "\
A NAT-aware FTP gateway: lets FTP work through NAT and default-deny firewalls.

FTP opens a second connection for every listing and file, and announces its
address inside the control connection. NAT and firewalls break that. ftpgate
stands on the gateway: connections to port 21 are redirected to it, it passes
the control connection on, puts its own address in place of the announced one,
and opens the firewall for exactly the one data connection that was announced
(a pinhole). File data stays in the kernel. Where there is no firewall to open, it
can copy data connections itself (`backend: relay`).

Start with:
  ftpgate check    is the configuration right, and can the firewall be changed?
  ftpgate rules    the firewall rules that lead connections to ftpgate
  ftpgate run      the gateway";

const AFTER_LONG_HELP: &str = "\
Exit codes (those of sysexits.h):
  0   done
  64  the command line is wrong
  69  the firewall cannot do what is needed (old kernel, table of somebody else, …)
  77  no permission: needs CAP_NET_ADMIN, or a file may not be read
  78  the configuration is wrong; the message names file, line, key and remedy
  1   anything else

Signals to a running gateway:
  SIGTERM, SIGINT    let sessions finish; a second one ends at once
  SIGHUP             read the configuration again

Files:
  /etc/ftpgate/ftpgate.yaml    the configuration; every key is explained in docs/configuration.md";

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway in the foreground
    ///
    /// Reads the configuration, verifies the firewall, opens the listeners, writes
    /// the line `ready` to the log (and tells systemd), and serves until it is told
    /// to stop. Logs go to standard error.
    ///
    /// Without a file, --listen and --server make a gateway in front of one server
    /// that clients dial directly. It needs no firewall and no root: data connections
    /// end at ftpgate and are copied (`backend: relay`), unless --backend says otherwise.
    /// The server's name is looked up once, at the start:
    ///
    ///   ftpgate run --listen 127.0.0.1:2121 --server ftp.example.net
    ///   ftpgate run --listen 203.0.113.1:21 --server 192.0.2.10:21 --backend nftables
    #[command(verbatim_doc_comment)]
    Run(Run),
    /// Check the configuration and the firewall, without serving anybody
    ///
    /// Prints what is wrong with file, line, key and remedy; warnings about what is
    /// unwise or without effect; and whether pinholes could be opened here and now
    /// (needs the same permission as `run`).
    #[command(verbatim_doc_comment)]
    Check(Check),
    /// Print the firewall rules that this configuration needs
    ///
    /// A complete ruleset with comments, for nftables or pf: how connections reach the
    /// listeners, what must be accepted, where ftpgate's own rules come in, and with
    /// nftables and `ownership: sets` the sets and maps that ftpgate fills. Read it,
    /// give the interfaces, and take from it what your own ruleset lacks:
    ///
    ///   ftpgate rules --inside eth1 --outside eth0 > ftpgate.nft
    ///   nft -c -f ftpgate.nft
    ///
    ///   ftpgate rules --for pf-openbsd --inside em1 --outside em0 > pf.conf.new
    ///   pfctl -n -f pf.conf.new
    #[command(verbatim_doc_comment)]
    Rules(Rules),
    /// What `run` starts for itself with `backend: pf`: the process that stays root
    #[command(hide = true)]
    Keeper,
    /// Print the effective configuration, defaults filled in
    ///
    /// As YAML that can be used as a configuration file, or as JSON.
    #[command(verbatim_doc_comment)]
    ShowConfig(ShowConfig),
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub(super) struct File {
    /// The configuration file
    #[arg(short, long = "config", value_name = "FILE", default_value = CONFIG_FILE)]
    pub(super) config: PathBuf,
}

/// `run`.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) file: File,
    /// Without a file: address and port to listen on; may be repeated
    #[arg(long, value_name = "ADDR", requires = "server", conflicts_with = "config", value_delimiter = ',')]
    pub(super) listen: Vec<String>,
    /// Without a file: the FTP server, address or name, port 21 if it has none; once for each address family
    #[arg(long, value_name = "ADDR", requires = "listen", value_delimiter = ',')]
    pub(super) server: Vec<String>,
    /// Without a file: who lets data connections through; relay by default
    #[arg(long, value_name = "BACKEND", requires = "listen")]
    pub(super) backend: Option<Backend>,
    /// Without a file: address and port for Prometheus metrics; none by default
    #[arg(long, value_name = "ADDR", requires = "listen")]
    pub(super) metrics: Option<String>,
}

/// The words for `--backend`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Backend {
    /// The Linux kernel's packet filter
    Nftables,
    /// The packet filter of FreeBSD and OpenBSD
    Pf,
    /// Nobody: pinholes are logged and not opened
    DryRun,
    /// ftpgate itself, which copies data connections; needs no firewall and no root
    Relay,
}

impl Backend {
    /// The word of the configuration.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Pf => "pf",
            Self::DryRun => "dry-run",
            Self::Relay => "relay",
        }
    }
}

/// `check`.
#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) file: File,
    /// Only read the file; leave the firewall alone
    #[arg(long)]
    pub(super) no_verify: bool,
}

/// `rules`.
#[derive(Args, Debug)]
pub(super) struct Rules {
    #[command(flatten)]
    pub(super) file: File,
    /// For this packet filter; by default the one of the configuration
    #[arg(long = "for", value_name = "FILTER")]
    pub(super) filter: Option<Filter>,
    /// The interface where clients of `mode: forward` are [default: eth1; em1 for pf]
    #[arg(long, value_name = "INTERFACE", value_parser = interface)]
    pub(super) inside: Option<String>,
    /// The interface where clients of `mode: reverse` come from [default: eth0; em0 for pf]
    #[arg(long, value_name = "INTERFACE", value_parser = interface)]
    pub(super) outside: Option<String>,
}

/// The words for `--for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Filter {
    /// Linux: a file for `nft -f`
    Nftables,
    /// OpenBSD: a pf.conf with divert-to, rdr-to and nat-to
    PfOpenbsd,
    /// FreeBSD 14 and 15: a pf.conf with rdr and nat rules
    PfFreebsd,
}

/// `show-config`.
#[derive(Args, Debug)]
pub(super) struct ShowConfig {
    #[command(flatten)]
    pub(super) file: File,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The name of an interface goes into a ruleset, so it must not be able to end a string there (attack C93).
fn interface(text: &str) -> Result<String, String> {
    let fine = (1..=15).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '+'));
    fine.then(|| text.to_owned())
        .ok_or_else(|| "an interface has 1 to 15 letters, digits, or _ . - @ +; see `ip link` or `ifconfig`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn interfaces_cannot_carry_syntax() {
        for name in ["eth0", "br-lan", "wan.7", "enp0s31f6"] {
            assert!(interface(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "eth0\"", "eth0;", "$x", "{", "sixteencharacters"] {
            assert!(interface(name).is_err(), "{name}");
        }
    }
}
