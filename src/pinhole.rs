//! The pinhole: plain data that the session asks for and a firewall backend carries out.
//!
//! Lives here: what a pinhole is, in FTP's words and without any firewall's syntax. Not here: how one is opened
//! (`firewall`), when one is wanted (`session`). Imports nothing of this crate.
//!
//! One rule covers all four commands and all modes. The *initiator* dials the *entrance*; the connection must arrive
//! at the *target*, and the target must see it come from the *source*:
//!
//! - passive (227, 229): `C` dials `O:q`, it arrives at `S:p`, and `S` sees `P`;
//! - active (PORT, EPRT): `S` dials `P:q`, it arrives at `C:p`, and `C` sees `O`.
//!
//! (`C` client, `O` original destination, `P` source of the control connection to the server, `S` server.)

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The four ways in which FTP announces a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Announcement {
    /// `PORT h1,h2,h3,h4,p1,p2`, RFC 959 §4.1.2.
    Port,
    /// `EPRT |family|address|port|`, RFC 2428 §2.
    Eprt,
    /// `227 Entering Passive Mode (h1,h2,h3,h4,p1,p2)`, RFC 959 §4.1.2.
    Pasv,
    /// `229 Entering Extended Passive Mode (|||port|)`, RFC 2428 §3.
    Epsv,
}

impl Announcement {
    /// All of them, for tables of metrics.
    pub const ALL: [Self; 4] = [Self::Port, Self::Eprt, Self::Pasv, Self::Epsv];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Eprt => "eprt",
            Self::Pasv => "pasv",
            Self::Epsv => "epsv",
        }
    }

    /// Whether the server dials (active mode) rather than the client (passive mode).
    pub fn is_active(self) -> bool {
        matches!(self, Self::Port | Self::Eprt)
    }
}

/// The port of an entrance, as far as the session can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntrancePort {
    /// The entrance is the target itself, or somebody else chose its port: take this one.
    Fixed(u16),
    /// The entrance is an address of the gateway: choose a port from `data.ports`.
    Any,
}

/// Which legs of a data connection are TLS. Only somebody who ends both connections can make it so: no packet filter can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Protection {
    /// Between the client and the gateway, which is the TLS server there whoever dials (RFC 4217 §7).
    pub client: bool,
    /// Between the gateway and the server; the gateway is the TLS client there.
    pub server: bool,
}

impl Protection {
    /// Whether one of them is.
    pub fn is_some(self) -> bool {
        self.client || self.server
    }
}

/// Names a session within the process: in the log, and to a packet filter that keeps the pinholes of sessions apart.
pub type SessionId = u64;

/// What a session asks of the firewall. Becomes a [`Pinhole`] once its entrance has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The command or reply that announces it.
    pub announcement: Announcement,
    /// The only host that may dial.
    pub initiator: IpAddr,
    /// The initiator is a load balancer, which must say by a PROXY header that it speaks for this client.
    pub on_behalf_of: Option<IpAddr>,
    /// The address that the initiator's packets carry as their destination when they reach the gateway.
    pub entrance: IpAddr,
    /// The port of the entrance.
    pub entrance_port: EntrancePort,
    /// Where the connection really goes.
    pub target: SocketAddr,
    /// The address that the target must see as the peer.
    pub source: IpAddr,
    /// How long the pinhole waits for its connection.
    pub lifetime: Duration,
    /// Which of its two legs are TLS.
    pub protection: Protection,
}

impl Request {
    /// The pinhole that this request of a session becomes when its entrance gets `port`.
    pub fn at_port(&self, session: SessionId, port: u16) -> Pinhole {
        Pinhole {
            session,
            announcement: self.announcement,
            initiator: self.initiator,
            on_behalf_of: self.on_behalf_of,
            entrance: SocketAddr::new(self.entrance, port),
            target: self.target,
            source: self.source,
            lifetime: self.lifetime,
            protection: self.protection,
        }
    }
}

/// One end of a data connection that somebody in the middle makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leg {
    /// The peer dials.
    Listen {
        /// The only host that may dial.
        initiator: IpAddr,
        /// The initiator is a load balancer, which must say that it speaks for this client.
        on_behalf_of: Option<IpAddr>,
        /// What it dials.
        entrance: IpAddr,
        /// The port of it.
        port: EntrancePort,
    },
    /// The gateway dials.
    Dial {
        /// Where it dials.
        target: SocketAddr,
        /// The address that the target must see as the peer.
        source: IpAddr,
    },
}

/// A data connection in two legs that are to be joined. A pinhole does so with one leg that the initiator dials and one
/// that the gateway dials. Where client and server are in different modes, the gateway dials both, or both dial
/// the gateway; no packet filter can do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joint {
    /// What the client calls it.
    pub announcement: Announcement,
    /// Towards the client.
    pub client: Leg,
    /// Towards the server.
    pub server: Leg,
    /// How long a leg waits for its connection, or the gateway for an answer.
    pub lifetime: Duration,
    /// Which of its two legs are TLS.
    pub protection: Protection,
}

/// Permission for any number of data connections to the passive ports of a server whose control connection cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The only host that may dial.
    pub initiator: IpAddr,
    /// The address that the initiator dials.
    pub entrance: IpAddr,
    /// Where the connections really go, at the port that was dialled.
    pub target: IpAddr,
    /// The address that the target must see as the peer.
    pub source: IpAddr,
    /// The first and the last of the ports, at the entrance and at the target.
    pub ports: (u16, u16),
}

impl RangeRequest {
    /// Whether the destination must be translated.
    pub fn needs_dnat(&self) -> bool {
        self.entrance != self.target
    }

    /// Whether the source must be translated.
    pub fn needs_snat(&self) -> bool {
        self.source != self.initiator
    }
}

impl fmt::Display for RangeRequest {
    /// One line for the log: the dialler, what it dials, where that leads, and what is seen there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { initiator, entrance, target, source, ports: (first, last) } = self;
        write!(f, "{initiator} -> {entrance}, ports {first}-{last}, leads to {target}, seen as {source}")
    }
}

impl fmt::Display for Leg {
    /// What happens, for a sentence in the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { initiator, entrance, port: EntrancePort::Fixed(port), .. } => {
                write!(f, "{initiator} dials {}", SocketAddr::new(*entrance, *port))
            }
            Self::Listen { initiator, entrance, port: EntrancePort::Any, .. } => {
                write!(f, "{initiator} dials {entrance}")
            }
            Self::Dial { target, source } => write!(f, "{target} is dialled, seen as {source}"),
        }
    }
}

/// Permission and translation for exactly one data connection. Initiator and entrance are of one family, source and target of
/// one: the same, unless client and server are of different families. No packet filter can bring such a connection across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinhole {
    /// Whose it is.
    pub session: SessionId,
    /// The command or reply that announces it.
    pub announcement: Announcement,
    /// The only host that may dial.
    pub initiator: IpAddr,
    /// The initiator is a load balancer, which must say by a PROXY header that it speaks for this client.
    pub on_behalf_of: Option<IpAddr>,
    /// What the initiator dials.
    pub entrance: SocketAddr,
    /// Where the connection really goes.
    pub target: SocketAddr,
    /// The address that the target must see as the peer.
    pub source: IpAddr,
    /// How long the pinhole waits for its connection.
    pub lifetime: Duration,
    /// Which of its two legs are TLS.
    pub protection: Protection,
}

impl Pinhole {
    /// Whether the destination must be translated.
    pub fn needs_dnat(&self) -> bool {
        self.entrance != self.target
    }

    /// Whether the source must be translated.
    pub fn needs_snat(&self) -> bool {
        self.source != self.initiator
    }

    /// Whether what the initiator dials is of the IPv6 family.
    pub fn is_ipv6(&self) -> bool {
        self.entrance.is_ipv6()
    }

    /// Whether the connection changes its address family on the way.
    pub fn changes_family(&self) -> bool {
        self.entrance.is_ipv6() != self.target.is_ipv6()
    }

    /// What the packet filter matches on. Two live pinholes never share a key.
    pub fn key(&self) -> Key {
        Key { initiator: self.initiator, entrance: self.entrance }
    }
}

/// What identifies a pinhole to a packet filter: who dials what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The only host that may dial.
    pub initiator: IpAddr,
    /// What it dials.
    pub entrance: SocketAddr,
}

/// What becomes of the data connection that comes through a pinhole, as far as the packet filter can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataEvent {
    /// Its first packet has passed: the pinhole is used up.
    Used {
        /// Where it comes from.
        dialler: SocketAddr,
    },
    /// It is over: closed both ways, reset, or gone from the kernel's table.
    Over(Option<Traffic>),
}

/// What a data connection has carried, in bytes of payload. The relay counts what it copied, exactly. A packet filter counts
/// whole packets: headers with TCP timestamps are taken off (RFC 7323; Linux, the BSDs and macOS send them), so between hosts
/// that do not send them it is up to 1 % too low, and what was sent twice counts twice. Absent where the kernel does not count
/// (`net.netfilter.nf_conntrack_acct`), never zero instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// From who dialled.
    pub from_initiator: u64,
    /// To who dialled.
    pub to_initiator: u64,
}

impl Traffic {
    /// Both ways.
    pub fn total(self) -> u64 {
        self.from_initiator.saturating_add(self.to_initiator)
    }
}

impl fmt::Display for Pinhole {
    /// One sentence for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} may dial {}", self.announcement.as_str(), self.initiator, self.entrance)?;
        if let Some(client) = self.on_behalf_of {
            write!(f, " for {client}")?;
        }
        if self.needs_dnat() {
            write!(f, ", goes to {}", self.target)?;
        }
        if self.needs_snat() {
            write!(f, ", comes from {}", self.source)?;
        }
        write!(f, ", for {:?}", self.lifetime)?;
        match (self.protection.client, self.protection.server) {
            (true, true) => write!(f, ", with TLS"),
            (true, false) => write!(f, ", with TLS to the client"),
            (false, true) => write!(f, ", with TLS to the server"),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passive(entrance: &str, target: &str, source: &str) -> Pinhole {
        Pinhole {
            session: 1,
            announcement: Announcement::Pasv,
            initiator: "192.0.2.10".parse().unwrap(),
            on_behalf_of: None,
            entrance: entrance.parse().unwrap(),
            target: target.parse().unwrap(),
            source: source.parse().unwrap(),
            lifetime: Duration::from_secs(60),
            protection: Protection::default(),
        }
    }

    #[test]
    fn translation_is_needed_only_where_an_address_changes() {
        let plain = passive("203.0.113.5:50000", "203.0.113.5:50000", "192.0.2.10");
        assert!(!plain.needs_dnat() && !plain.needs_snat());
        let forward = passive("203.0.113.5:50000", "203.0.113.5:50000", "198.51.100.1");
        assert!(!forward.needs_dnat() && forward.needs_snat());
        let reverse = passive("203.0.113.1:61000", "10.0.0.5:50000", "10.0.0.1");
        assert!(reverse.needs_dnat() && reverse.needs_snat());
        assert!(!reverse.changes_family());
        assert_eq!(
            reverse.to_string(),
            "pasv: 192.0.2.10 may dial 203.0.113.1:61000, goes to 10.0.0.5:50000, comes from 10.0.0.1, for 60s"
        );
    }

    #[test]
    fn a_pinhole_says_which_leg_is_tls() {
        let plain = passive("203.0.113.5:50000", "203.0.113.5:50000", "192.0.2.10");
        let with = |client, server| Pinhole { protection: Protection { client, server }, ..plain }.to_string();
        assert!(with(false, false).ends_with("for 60s"));
        assert!(with(true, true).ends_with("for 60s, with TLS"));
        assert!(with(true, false).ends_with(", with TLS to the client"));
        assert!(with(false, true).ends_with(", with TLS to the server"));
    }

    #[test]
    fn a_pinhole_can_lead_from_one_family_to_the_other() {
        let across = passive("[2001:db8::1]:61000", "10.0.0.5:50000", "10.0.0.1");
        let across = Pinhole { initiator: "2001:db8::7".parse().unwrap(), ..across };
        assert!(across.changes_family() && across.is_ipv6());
        assert_eq!(
            across.to_string(),
            "pasv: 2001:db8::7 may dial [2001:db8::1]:61000, goes to 10.0.0.5:50000, comes from 10.0.0.1, for 60s"
        );
    }
}
