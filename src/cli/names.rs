//! Names of servers on the command line.
//!
//! Lives here: [`look_up`], the one place where a name becomes addresses, once, before anything is opened. Not here: the
//! configuration file, in which names are refused (`config`), and addresses, which it reads as well.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use anyhow::Context;

use crate::config::defaults::SERVER_PORT;

/// The addresses of `ftp.example.net` or `ftp.example.net:2121`, the first of each family; `None` if that is not the form of a
/// name, so that it is an address, or neither.
///
/// # Errors
/// Nobody knows the name.
pub(super) fn look_up(server: &str) -> anyhow::Result<Option<Vec<SocketAddr>>> {
    let Some((name, port)) = split(server) else { return Ok(None) };
    let found: Vec<SocketAddr> = (name, port)
        .to_socket_addrs()
        .with_context(|| {
            format!("--server {server}: cannot look up {name:?}; check the spelling and the name server, or write an address")
        })?
        .collect();
    Ok(Some(first_of_each_family(&found)))
}

/// Name and port, if it looks like a name: letters, digits, `-`, `_` and `.`, and not an address.
fn split(server: &str) -> Option<(&str, u16)> {
    let (name, port) = match server.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (server, SERVER_PORT),
    };
    let fine = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && name.chars().any(|c| c.is_ascii_alphabetic());
    (fine && name.parse::<IpAddr>().is_err()).then_some((name, port))
}

fn first_of_each_family(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = |ipv6| found.iter().copied().find(|address| address.is_ipv6() == ipv6);
    [false, true].into_iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses_and_from_what_is_neither() {
        assert_eq!(split("ftp.example.net"), Some(("ftp.example.net", 21)));
        assert_eq!(split("ftp:2121"), Some(("ftp", 2121)));
        for other in
            ["192.0.2.1", "192.0.2.1:21", "2001:db8::1", "[2001:db8::1]:21", "2121", "", ":21", "a b", "ftp:x", "1.2.3"]
        {
            assert_eq!(split(other), None, "{other:?}");
        }
    }

    #[test]
    fn one_address_of_each_family_is_taken() {
        let all = ["192.0.2.1:21", "[2001:db8::1]:21", "192.0.2.2:21"].map(|text| text.parse().unwrap());
        assert_eq!(first_of_each_family(&all), all[..2]);
        let found = look_up("localhost:2121").unwrap().unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 2121));
    }
}
