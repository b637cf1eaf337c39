//! What a session is given at its start: its addresses, and what the administrator set.
//!
//! Lives here: plain data. Not here: the configuration file (`config`), from which `daemon` makes these.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The four addresses of a session, none of them an IPv4-mapped IPv6 address. Those that the client sees (`C`, `O`) are of one
/// family, and so are those that the server sees (`P`, `S`). Where the two families differ, the session translates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// `C`: peer of the client-side control connection.
    pub client: SocketAddr,
    /// `O`: the address the client believes it talks to.
    pub original: SocketAddr,
    /// `P`: what the server believes the client is.
    pub source: SocketAddr,
    /// `S`: peer of the server-side control connection.
    pub server: SocketAddr,
    /// Where the client's data connections take another way than its control connection. Few sessions have one.
    pub detour: Option<Box<Detour>>,
}

/// What is different for the data connections that a client dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detour {
    /// What to tell the client instead of `O`'s address, if the gateway is known under another one.
    pub announced: Option<IpAddr>,
    /// Where the packets that the client then sends arrive, if not at `O`'s address.
    pub entrance: Option<IpAddr>,
    /// The load balancer that brings them, each behind a PROXY header.
    pub balancer: Option<IpAddr>,
}

impl Detour {
    /// As a part of [`Ends`]: `None` if nothing is different.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl Ends {
    /// The address that the client is told.
    pub fn announced(&self) -> IpAddr {
        self.detour.as_ref().and_then(|detour| detour.announced).unwrap_or(self.original.ip())
    }

    /// Where what the client sends there arrives.
    pub fn entrance(&self) -> IpAddr {
        self.detour.as_ref().and_then(|detour| detour.entrance).unwrap_or(self.original.ip())
    }

    /// Whether a load balancer brings the client's data connections.
    pub fn is_balanced(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.balancer.is_some())
    }

    /// Who dials where the client is to: the initiator, and whom it must speak for.
    pub fn dialler(&self) -> (IpAddr, Option<IpAddr>) {
        let balancer = self.detour.as_ref().and_then(|detour| detour.balancer);
        balancer.map_or((self.client.ip(), None), |balancer| (balancer, Some(self.client.ip())))
    }

    /// Whether client and server are of different address families.
    pub fn differ(&self) -> bool {
        self.client.is_ipv6() != self.server.is_ipv6()
    }
}

/// How data connections with the server are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServerMode {
    /// As the client makes them.
    #[default]
    AsClient,
    /// The server listens, whatever the client says; and what the server lacks of EPSV is done with PASV.
    Passive,
    /// The server dials, whatever the client says.
    Active,
}

/// What is done about FTPS (RFC 4217).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ftps {
    /// Client and server speak TLS with each other; the session cannot be read then.
    #[default]
    Pass,
    /// AUTH gets 534, and FEAT does not name it.
    Refuse,
    /// The client speaks TLS with the gateway.
    Terminate,
    /// Both speak TLS with the gateway, if client and server want it.
    Bridge,
}

/// What the administrator set about FTPS for the sessions of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// What is done about it.
    pub ftps: Ftps,
    /// [`Ftps::Terminate`]: the gateway speaks TLS with the server too, from the greeting on, or not at all.
    pub server_tls: bool,
    /// [`Ftps::Terminate`]: the client begins with TLS (RFC 4217 appendix A), before anybody says a word.
    pub implicit: bool,
    /// No name and no password in clear text. [`Ftps::Terminate`], [`Ftps::Bridge`]: and no file.
    pub require: bool,
    /// [`Ftps::Terminate`]: the client may go back to clear commands once it has logged in (CCC).
    pub allow_ccc: bool,
    /// [`Ftps::Pass`]: the server's passive ports, the first and the last, to which the client may connect while its session
    /// cannot be read.
    pub range: Option<(u16, u16)>,
}

/// What the administrator set for the sessions of a listener. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Longest line without its line end, in bytes, either way.
    pub line_length: usize,
    /// Most commands awaiting an answer; beyond it the client is not read.
    pub pipeline: usize,
    /// How long a pinhole waits for its connection.
    pub pinhole_timeout: u64,
    /// From the start to the server's 230.
    pub login_timeout: u64,
    /// Without a line from either side, and without a transfer.
    pub idle_timeout: u64,
    /// Without a byte on a data connection.
    pub data_idle_timeout: u64,
    /// The firewall tells what becomes of data connections (`Event::Data`).
    pub tracked: bool,
    /// Live data connections end with the control connection (RFC 959 §3.2) rather than by themselves.
    pub reset_on_close: bool,
    /// How data connections with the server are made.
    pub server_mode: ServerMode,
}
