//! Where a connection was going, and which server that means.
//!
//! Lives here: the original destination by way of capture, the choice of the server, and the guard against sessions to
//! ourselves. Not here: connecting (`upstream`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::{Capture, ListenerSettings, Route, Shared};
use crate::observe::limiter::Limiter;
use crate::observe::metrics::Rejection;
use crate::sys;

/// Every client would cause one.
static FAILURES: Limiter = Limiter::per_second(1);

/// Why a connection leads nowhere. The text is for the client, after `421 `, and for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The listener was dialled itself, or the rule that redirects is not there.
    #[error(
        "this connection was not redirected here; dial the FTP server, or have the gateway's redirect rule checked"
    )]
    NotRedirected,
    /// The server would be this host, and the session would come back.
    #[error("the gateway does not connect to itself")]
    Loop,
    /// The packet filter did not answer.
    #[error("the gateway cannot learn where this connection was going; its log says why")]
    Unknown,
    /// No server of the client's address family is configured.
    #[error("no server is configured for this address family")]
    Family,
}

impl Lost {
    /// What it counts as.
    pub fn counts_as(self) -> Rejection {
        match self {
            Self::NotRedirected => Rejection::NoDestination,
            Self::Loop => Rejection::Loop,
            Self::Family => Rejection::NoServer,
            Self::Unknown => Rejection::Internal,
        }
    }
}

/// Where a session begins and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// `O`.
    pub original: SocketAddr,
    /// `S`.
    pub server: SocketAddr,
}

/// Finds the way of a connection that was just accepted.
///
/// # Errors
/// It leads nowhere.
pub fn find(
    socket: &impl AsFd,
    client: SocketAddr,
    local: SocketAddr,
    listener: &ListenerSettings,
    shared: &Shared,
) -> Result<Way, Lost> {
    let redirected = match listener.capture {
        Capture::Redirect => match sys::original_destination(socket, client, local) {
            Ok(original) => canonical(original),
            // Nothing redirected it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => local,
            Err(error) => {
                if let Some(suppressed) = FAILURES.admit() {
                    tracing::error!(%client, %error, suppressed, "cannot learn where a connection was going");
                }
                return Err(Lost::Unknown);
            }
        },
        Capture::Tproxy | Capture::Divert | Capture::Direct => local,
    };
    match &listener.route {
        Route::Original => {
            // A connection that nothing redirected names our own listener here (with tproxy and divert it does so by its address).
            if shared.is_own(redirected.ip()) {
                let dialled_us = redirected == local && shared.listening.contains(&local.port());
                return Err(if dialled_us { Lost::NotRedirected } else { Lost::Loop });
            }
            Ok(Way { original: redirected, server: redirected })
        }
        Route::Servers(servers) => {
            let server = choose(servers, client, shared.can_translate).ok_or(Lost::Family)?;
            if shared.listening.contains(&server.port()) && shared.is_own(server.ip()) {
                return Err(Lost::Loop);
            }
            Ok(Way { original: redirected, server })
        }
    }
}

/// The first server of the client's address family; if there is none, and data connections can change their family on the way,
/// the first of all.
fn choose(servers: &[SocketAddr], client: SocketAddr, can_translate: bool) -> Option<SocketAddr> {
    let own = servers.iter().find(|server| server.is_ipv6() == client.is_ipv6());
    own.or_else(|| servers.first().filter(|_| can_translate)).copied()
}

/// The same address, never an IPv4-mapped IPv6 one.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The first address of the family of `like`.
pub fn of_family(addresses: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    addresses.iter().copied().find(|a| a.is_ipv6() == like.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_the_clients_family_comes_first_and_another_only_where_it_can_be_reached() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (v4, v6) = (address("10.0.0.5:21"), address("[fd00::5]:21"));
        let client6 = address("[2001:db8::7]:40001");
        for can_translate in [false, true] {
            assert_eq!(choose(&[v4, v6], client6, can_translate), Some(v6));
            assert_eq!(choose(&[v6, v4], address("192.0.2.7:40001"), can_translate), Some(v4));
            assert_eq!(choose(&[], client6, can_translate), None);
        }
        assert_eq!(choose(&[v4], client6, false), None);
        assert_eq!(choose(&[v4, address("10.0.0.6:21")], client6, true), Some(v4));
    }
}
