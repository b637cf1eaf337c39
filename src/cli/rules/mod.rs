//! The firewall rules that a configuration needs, as `ftpgate rules` prints them.
//!
//! Lives here: which packet filter they are for, and what the skeletons have in common. Below it, each a pure function from
//! configuration to text: `nftables`, `pf`, `relay`. Not here: the rules of pinholes (`firewall`), which ftpgate makes itself.

mod nftables;
mod pf;
mod relay;

use std::net::SocketAddr;
use std::path::Path;

use super::args::Filter;
use crate::config::{self, Backend, Config, Listener, Mode};
use crate::firewall::pf::rules::Dialect;

/// The rules, for the packet filter that was asked for or else that of the configuration. Interfaces are names that need no escaping;
/// without one, what such an interface is often called there.
pub(super) fn ruleset(
    config: &Config,
    filter: Option<Filter>,
    inside: Option<&str>,
    outside: Option<&str>,
    file: &Path,
) -> String {
    if config.firewall.backend == Backend::Relay {
        return relay::ruleset(config);
    }
    let filter = filter.unwrap_or_else(|| configured(config));
    let (usual_inside, usual_outside) = match filter {
        Filter::Nftables => ("eth1", "eth0"),
        Filter::PfOpenbsd | Filter::PfFreebsd => ("em1", "em0"),
    };
    let (inside, outside) = (inside.unwrap_or(usual_inside), outside.unwrap_or(usual_outside));
    match filter {
        Filter::Nftables => nftables::ruleset(config, inside, outside, file),
        Filter::PfOpenbsd => pf::ruleset(config, Dialect::OpenBsd, inside, outside, file),
        Filter::PfFreebsd => pf::ruleset(config, Dialect::FreeBsd, inside, outside, file),
    }
}

/// The packet filter of the configuration; for `dry-run` the one that this system has.
fn configured(config: &Config) -> Filter {
    let pf = config.firewall.backend != Backend::Nftables;
    match config.firewall.pf.dialect.filter(|_| pf) {
        None => Filter::Nftables,
        Some(config::Dialect::OpenBsd) => Filter::PfOpenbsd,
        Some(config::Dialect::FreeBsd) => Filter::PfFreebsd,
    }
}

/// What the rules of a listener are for.
fn sentence(listener: &Listener) -> String {
    match listener.mode {
        Mode::Forward => format!("Listener {}: clients behind the gateway to any server.", listener.name),
        Mode::Reverse => format!("Listener {}: clients outside to the servers behind the gateway.", listener.name),
        Mode::Login => {
            format!("Listener {}: clients inside, to the servers of policy.servers that they name.", listener.name)
        }
    }
}

/// The addresses that rules lead to: a second one of the same family would never be reached.
fn first_of_each_family(listener: &Listener) -> impl Iterator<Item = SocketAddr> {
    [false, true].into_iter().filter_map(|ipv6| listener.listen.iter().find(|listen| listen.is_ipv6() == ipv6).copied())
}
