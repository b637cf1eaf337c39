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
    /// The address of ours that the connection has arrived at.
    pub local: SocketAddr,
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
            Ok(Way { original: redirected, server: redirected, local })
        }
        Route::Servers(servers) => {
            let server = *servers.iter().find(|s| s.is_ipv6() == client.is_ipv6()).ok_or(Lost::Family)?;
            if shared.listening.contains(&server.port()) && shared.is_own(server.ip()) {
                return Err(Lost::Loop);
            }
            Ok(Way { original: redirected, server, local })
        }
    }
}

/// The same address, never an IPv4-mapped IPv6 one.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The first address of the family of `like`.
pub fn of_family(addresses: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    addresses.iter().copied().find(|a| a.is_ipv6() == like.is_ipv6())
}

/// What clients are told instead of the address they dialled, and where they then arrive if not there.
pub fn entrance(way: &Way, listener: &ListenerSettings, shared: &Shared) -> (Option<IpAddr>, Option<IpAddr>) {
    let announced = of_family(&listener.announced, way.original.ip());
    // Another name of this host is where packets for that name arrive. If it is no address of this host, a gateway before this
    // one translates it, and they arrive where the control connection did.
    let entrance = announced.filter(|address| shared.is_own(*address));
    if !shared.firewall.habits().listens || shared.is_own(way.original.ip()) {
        return (announced, entrance);
    }
    // What the client dialled is no address of ours, and where no packet filter translates, only ours can be dialled.
    let local = way.local.ip();
    (announced.or(Some(local)), entrance.or(Some(local)))
}
