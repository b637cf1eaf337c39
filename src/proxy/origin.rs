//! Where a connection was going, and which server that means.
//!
//! Lives here: the original destination by way of capture, the choice of the server, and the guard against sessions to
//! ourselves. Not here: connecting (`upstream`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::header::Told;
use super::{Capture, ListenerSettings, Route, Shared};
use crate::observe::limiter::Limiter;
use crate::observe::metrics::Rejection;
use crate::policy::Servers;
use crate::protocol::destination::Host;
use crate::protocol::nat64::Prefix;
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
    /// Below the prefix of NAT64 stands an address that nobody can have, or that the prefix may not hold.
    #[error("there is no server behind this address: its prefix must not hold the IPv4 address in it")]
    NotGlobal,
    /// No server of the client's address family is configured, or none is named.
    #[error("no server is configured for this address family")]
    Family,
    /// The server is of another address family than the client, and packet filters cannot lead from one to the other.
    #[error("the server {0} is of another address family than you are, and this gateway cannot lead there")]
    OtherFamily(SocketAddr),
    /// `policy.servers` does not have it.
    #[error("{0} is not a server that this gateway connects to")]
    Forbidden(SocketAddr),
}

impl Lost {
    /// What it counts as.
    pub fn counts_as(self) -> Rejection {
        match self {
            Self::NotRedirected => Rejection::NoDestination,
            Self::Loop => Rejection::Loop,
            Self::Family | Self::OtherFamily(_) | Self::NotGlobal => Rejection::NoServer,
            Self::Forbidden(_) => Rejection::Policy,
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
    /// Where the connection arrived: `O`, but for a load balancer's.
    pub arrived: SocketAddr,
    /// The load balancer that told `C` and `O`.
    pub via: Option<SocketAddr>,
    /// The address of ours that the connection has arrived at.
    pub local: SocketAddr,
}

/// What of this host the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    /// `O`, or the address of this host that stands for it.
    pub original: SocketAddr,
    /// What the client is told instead.
    pub announced: Option<IpAddr>,
    /// Where packets for that arrive, if not at `original`.
    pub entrance: Option<IpAddr>,
}

/// Finds the way of a connection that was just accepted. `told`: by whom and what, if `client` is not the peer of the socket.
/// `named`: the server that the client has named, in login mode.
///
/// # Errors
/// It leads nowhere.
pub fn find(
    socket: &impl AsFd,
    client: SocketAddr,
    local: SocketAddr,
    told: Option<Told>,
    named: Option<SocketAddr>,
    listener: &ListenerSettings,
    shared: &Shared,
) -> Result<Way, Lost> {
    let via = told.map(|told| told.sender);
    let redirected = match listener.capture {
        Capture::Redirect => match sys::original_destination(socket, via.unwrap_or(client), local) {
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
            // An address may be ours since a moment ago; it matters where the session would come back to us.
            if shared.listening.contains(&redirected.port()) {
                shared.look_at_own_addresses();
            }
            // A connection that nothing redirected names our own listener here (with tproxy and divert it does so by its address).
            if shared.is_own(redirected.ip()) {
                let dialled_us = redirected == local && shared.listening.contains(&local.port());
                return Err(if dialled_us { Lost::NotRedirected } else { Lost::Loop });
            }
            // A header does not choose a server: whoever may send one could reach any host by it.
            let server = server_of(redirected, listener.nat64, |address| shared.is_own(address))?;
            let host = Host::Address(server.ip());
            let allows = |servers: &Servers| servers.allows(&host, server.ip(), server.port(), false);
            if !listener.allowed.as_ref().is_none_or(allows) {
                return Err(Lost::Forbidden(server));
            }
            Ok(Way { original: redirected, server, arrived: redirected, local, via })
        }
        Route::Servers(servers) => {
            let server = choose(servers, client, listener.path.terminates()).ok_or(Lost::Family)?;
            arrived_at(server, redirected, told, local, shared)
        }
        Route::Login { .. } => {
            let server = named.ok_or(Lost::Family)?;
            if server.is_ipv6() != client.is_ipv6() && !listener.path.terminates() {
                return Err(Lost::OtherFamily(server));
            }
            arrived_at(server, redirected, told, local, shared)
        }
    }
}

/// The way to a server of clients that dial this host.
fn arrived_at(
    server: SocketAddr,
    arrived: SocketAddr,
    told: Option<Told>,
    local: SocketAddr,
    shared: &Shared,
) -> Result<Way, Lost> {
    if shared.listening.contains(&server.port()) && shared.is_own(server.ip()) {
        return Err(Lost::Loop);
    }
    let original = told.map_or(arrived, |told| told.dialled);
    Ok(Way { original, server, arrived, local, via: told.map(|told| told.sender) })
}

/// Forward mode: the server that the client has dialled, which below the prefix of NAT64 (RFC 6052) is an IPv4 one.
fn server_of(dialled: SocketAddr, nat64: Option<Prefix>, is_own: impl Fn(IpAddr) -> bool) -> Result<SocketAddr, Lost> {
    let (IpAddr::V6(address), Some(prefix)) = (dialled.ip(), nat64) else { return Ok(dialled) };
    let Some(embedded) = prefix.embedded(address) else { return Ok(dialled) };
    // 0.0.0.0 means this host to the kernel (RFC 1122 §3.2.1.3).
    if embedded.is_loopback() || embedded.octets().first() == Some(&0) || is_own(embedded.into()) {
        return Err(Lost::Loop);
    }
    let is_nobodys = embedded.is_multicast() || matches!(embedded.octets(), [240..=255, ..]);
    if is_nobodys || !prefix.may_hold(embedded) {
        return Err(Lost::NotGlobal);
    }
    Ok(SocketAddr::new(embedded.into(), dialled.port()))
}

/// What of this host a client on this way sees.
pub fn face(way: Way, listener: &ListenerSettings, shared: &Shared) -> Face {
    let announced = of_family(&listener.announced, way.original.ip());
    if listener.proxy_protocol.data && way.via.is_some() {
        // What was dialled is the load balancer's: from there data connections come where its control connection came.
        return Face { original: way.original, announced, entrance: Some(way.local.ip()) };
    }
    face_of(way, announced, listener.path.own_addresses_only(), |address| shared.is_own(address))
}

/// `listens`: no packet filter translates, so only an address of ours can be dialled.
fn face_of(way: Way, announced: Option<IpAddr>, listens: bool, is_own: impl Fn(IpAddr) -> bool) -> Face {
    // Another name of this host is where packets for that name arrive. If it is no address of this host, a gateway before this
    // one translates it, and they arrive where the control connection did.
    let entrance = announced.filter(|address| is_own(*address));
    let dialled = way.original.ip();
    if listens && !is_own(dialled) {
        let local = Some(way.local.ip());
        return Face { original: way.original, announced: announced.or(local), entrance: entrance.or(local) };
    }
    if way.via.is_none() || is_own(dialled) {
        return Face { original: way.original, announced, entrance };
    }
    // A load balancer on another host was dialled. What it passes on of data connections arrives where its control connections
    // do; and what a server sends must leave from an address of ours, or the client's answers would go to the load balancer.
    let arrived = Some(way.arrived.ip()).filter(|at| at.is_ipv6() == dialled.is_ipv6() && !at.is_loopback());
    let here = entrance.or(arrived).unwrap_or(dialled);
    Face { original: SocketAddr::new(here, way.original.port()), announced: announced.or(Some(dialled)), entrance }
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// What a client sees that dialled `dialled`, of a connection that arrived at `arrived`, by way of a load balancer or not.
    fn seen(
        dialled: &str,
        arrived: &str,
        via: bool,
        announced: Option<&str>,
    ) -> (String, Option<String>, Option<String>) {
        let own = ["198.51.100.2", "10.20.0.1", "127.0.0.1", "2001:db8:51::2"].map(ip);
        let way = Way {
            original: SocketAddr::new(ip(dialled), 21),
            server: "10.20.0.10:21".parse().unwrap(),
            arrived: SocketAddr::new(ip(arrived), 21),
            local: SocketAddr::new(ip(arrived), 21),
            via: via.then(|| "192.0.2.7:40000".parse().unwrap()),
        };
        let face = face_of(way, announced.map(ip), false, |address| own.contains(&address));
        assert_eq!(face.original.port(), 21);
        let text = |address: Option<IpAddr>| address.map(|address| address.to_string());
        (face.original.ip().to_string(), text(face.announced), text(face.entrance))
    }

    #[test]
    fn a_client_sees_the_address_that_it_dialled_or_the_one_that_stands_for_it() {
        let own = Some("198.51.100.2".to_owned());
        let outer = Some("203.0.113.1".to_owned());
        let of = |original: &str, announced: &Option<String>, entrance: &Option<String>| {
            (original.to_owned(), announced.clone(), entrance.clone())
        };
        // Nobody between.
        assert_eq!(seen("198.51.100.2", "198.51.100.2", false, None), of("198.51.100.2", &None, &None));
        assert_eq!(seen("10.20.0.1", "10.20.0.1", false, own.as_deref()), of("10.20.0.1", &own, &own));
        assert_eq!(seen("10.20.0.1", "10.20.0.1", false, outer.as_deref()), of("10.20.0.1", &outer, &None));
        assert_eq!(seen("192.0.2.1", "192.0.2.1", false, None), of("192.0.2.1", &None, &None));
        // A load balancer on this host: its address is ours.
        assert_eq!(seen("198.51.100.2", "127.0.0.1", true, None), of("198.51.100.2", &None, &None));
        assert_eq!(seen("198.51.100.2", "127.0.0.1", true, outer.as_deref()), of("198.51.100.2", &outer, &None));
        // On another host: data connections that it passes on arrive where its control connections do.
        let balancer = Some("203.0.113.80".to_owned());
        assert_eq!(seen("203.0.113.80", "10.20.0.1", true, None), of("10.20.0.1", &balancer, &None));
        // They come to us by themselves if we announce ourselves.
        assert_eq!(seen("203.0.113.80", "10.20.0.1", true, own.as_deref()), of("198.51.100.2", &own, &own));
        assert_eq!(seen("203.0.113.80", "10.20.0.1", true, outer.as_deref()), of("10.20.0.1", &outer, &None));
        // Nothing better is known where it speaks another family to us than to its client, or is the second in a row here.
        let six = Some("2001:db8::80".to_owned());
        assert_eq!(seen("2001:db8::80", "10.20.0.1", true, None), of("2001:db8::80", &six, &None));
        assert_eq!(seen("203.0.113.80", "127.0.0.1", true, None), of("203.0.113.80", &balancer, &None));
    }

    #[test]
    fn rfc6052_below_the_prefix_of_nat64_stands_an_ipv4_server_but_never_this_host() {
        let own = [ip("198.51.100.2"), ip("10.20.0.1")];
        let server = |dialled: &str, prefix: Option<&str>| {
            let prefix = prefix.map(|prefix| prefix.parse().unwrap());
            server_of(dialled.parse().unwrap(), prefix, |address| own.contains(&address))
        };
        let to = |text: &str| Ok(text.parse::<SocketAddr>().unwrap());
        let (known, local) = (Some("64:ff9b::/96"), Some("2001:db8:64::/96"));
        assert_eq!(server("[64:ff9b::203.0.113.5]:2121", known), to("203.0.113.5:2121"));
        assert_eq!(server("[2001:db8:64::10.0.0.5]:21", local), to("10.0.0.5:21"));
        for (other, prefix) in [
            ("[64:ff9b::203.0.113.5]:21", local),
            ("[64:ff9b::203.0.113.5]:21", None),
            ("[2001:db8::5]:21", known),
            ("192.0.2.5:21", known),
        ] {
            assert_eq!(server(other, prefix), to(other), "{prefix:?}");
        }
        for ours in ["198.51.100.2", "10.20.0.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3"] {
            assert_eq!(server(&format!("[2001:db8:64::{ours}]:21"), local), Err(Lost::Loop), "{ours}");
        }
        for (nobody, prefix) in [
            ("[2001:db8:64::224.0.0.1]:21", local),
            ("[2001:db8:64::255.255.255.255]:21", local),
            ("[64:ff9b::192.168.1.1]:21", known),
        ] {
            assert_eq!(server(nobody, prefix), Err(Lost::NotGlobal), "{nobody}");
        }
    }

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
