//! Config: YAML in, validated meaning out.
//!
//! Lives here: [`Config`] and its parts: plain data that makes sense as it stands, so nobody downstream checks it again. Below
//! it: `raw` (the shape of the file), `validate` (from shape to meaning), `render` (back again), `review` (warnings, what a
//! reload can change), `system` (for which system it is), `values` (durations, port ranges), `words` (keys with
//! a few words), `error` and `locate` (what is wrong, and where), `defaults`.
//! Not here: the settings types of other layers; `daemon` makes those from these.

pub mod defaults;
mod error;
mod ftps;
mod locate;
mod raw;
mod render;
mod review;
pub mod system;
mod validate;
mod values;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::Servers;
use crate::protocol::nat64::Prefix;

pub use error::{Error, Place};
pub use review::{ReloadChanges, reload_changes};
pub use values::{PortRange, format_duration};
pub use words::*;

/// The configuration: what `ftpgate` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients arrive. At least one; names and addresses differ.
    pub listeners: Vec<Listener>,
    /// How pinholes are opened.
    pub firewall: Firewall,
    /// Data connections.
    pub data: Data,
    /// Bounds on what clients can use up.
    pub limits: Limits,
    /// Bounds on how long things take.
    pub timeouts: Timeouts,
    /// Who may do what.
    pub policy: Policy,
    /// The Prometheus endpoint, if there is to be one.
    pub metrics: Option<Metrics>,
    /// The program's own log.
    pub log: Log,
    /// The control socket.
    pub control: Control,
    /// The user to become after binding, if any.
    pub user: Option<String>,
}

/// A place where clients arrive, and what to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Label in logs and metrics: letters, digits, `_`, `.`, `-`.
    pub name: String,
    /// Addresses to listen on. At least one.
    pub listen: Vec<SocketAddr>,
    /// On which side the server stands.
    pub mode: Mode,
    /// How connections get here.
    pub capture: Capture,
    /// What the server sees as the client.
    pub source: Source,
    /// What happens to sessions that want TLS.
    pub ftps: Ftps,
    /// [`Ftps::Terminate`]: what TLS goes by.
    pub tls: Option<Tls>,
    /// Reverse mode: the servers, at least one. Forward mode: none.
    pub servers: Vec<SocketAddr>,
    /// Reverse mode: what is announced to clients, at most one address of each family.
    pub external: Vec<IpAddr>,
    /// The server's own passive range: open to the client of a session that became opaque, as long as that lasts.
    pub passive_ports: Option<PortRange>,
    /// Headers that load balancers send, and that servers are sent.
    pub proxy_protocol: ProxyProtocol,
    /// Whether its data connections are relayed: always with [`Backend::Relay`], else behind the packet filter.
    pub relayed: bool,
    /// Forward mode: below this prefix IPv6 clients find IPv4 servers. Only where data connections are relayed.
    pub nat64: Option<Prefix>,
    /// Its own in place of [`Config::policy`]. Nothing of it in reverse mode.
    pub policy: Policy,
}

/// TLS that ends at the gateway. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// What clients are shown: certificates in PEM, the gateway's own first.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Clients begin with TLS (port 990).
    pub implicit: bool,
    /// No name, no password and no file in clear text.
    pub require: bool,
    /// Clients may go back to clear commands once they have logged in.
    pub ccc: bool,
    /// What servers are spoken to in.
    pub server: ServerTls,
    /// Whose certificates servers must have. There is one, or they are not verified.
    pub server_ca: Option<PathBuf>,
    /// The name in the server's certificate; if there is none, its address.
    pub server_name: Option<String>,
    /// Whether servers must prove who they are.
    pub server_verify: bool,
}

/// PROXY headers on control connections. Nothing of it in forward mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whose connections must begin with one; if there is anybody, nobody else is let in.
    pub accept_from: Vec<IpNet>,
    /// Whether clients' data connections come from there too.
    pub data: bool,
    /// What servers are sent.
    pub send: SendHeader,
}

impl Listener {
    /// Reverse mode: the server for clients of a family: the first of that family.
    pub fn server_for(&self, ipv6: bool) -> Option<SocketAddr> {
        self.servers.iter().find(|server| server.is_ipv6() == ipv6).copied()
    }

    /// Reverse mode: the address to announce to clients of a family; `None` is the one they dialled.
    pub fn external_for(&self, ipv6: bool) -> Option<IpAddr> {
        self.external.iter().find(|address| address.is_ipv6() == ipv6).copied()
    }
}

/// What the server sees as the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Whatever address of the gateway the route to the server suggests.
    Gateway,
    /// The client's own address (transparent).
    Client,
    /// These addresses of the gateway, at most one of each family; [`Source::Gateway`] for a family that has none.
    Address(Vec<IpAddr>),
}

impl Source {
    /// The configured address of a family, if there is one.
    pub fn address_for(&self, ipv6: bool) -> Option<IpAddr> {
        match self {
            Self::Gateway | Self::Client => None,
            Self::Address(list) => list.iter().find(|address| address.is_ipv6() == ipv6).copied(),
        }
    }
}

/// How pinholes are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Who opens them.
    pub backend: Backend,
    /// For [`Backend::Nftables`].
    pub nftables: Nftables,
    /// For the pf backend.
    pub pf: Pf,
}

/// The nftables backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// The name of the `inet` table: a letter or `_`, then letters, digits and `_`, 32 at most.
    pub table: String,
    /// Whose it is.
    pub ownership: Ownership,
    /// The bits of the conntrack mark that ftpgate sets; not zero, and within `mask`.
    pub mark: u32,
    /// The bits of the conntrack mark that belong to ftpgate.
    pub mask: u32,
}

/// The pf backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pf {
    /// The name of the anchor: as an nftables table, and also with `-`.
    pub anchor: String,
    /// The tag that data connections get.
    pub tag: Option<String>,
    /// The queue that data connections are put in.
    pub queue: Option<String>,
    /// The routing table that data connections are routed by.
    pub rtable: Option<u16>,
    /// Whether the rules log to pflog(4).
    pub log: bool,
    /// Which pf. `None` only if the backend is another one.
    pub dialect: Option<Dialect>,
    /// The absolute path of pfctl(8).
    pub pfctl: PathBuf,
}

/// Data connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Ports for entrances on the gateway's addresses; 1024 and above.
    pub ports: PortRange,
    /// How long a pinhole waits for its connection.
    pub pinhole_timeout: Duration,
    /// How long a data connection may be silent.
    pub idle_timeout: Duration,
    /// What happens to live ones when the control session ends.
    pub on_control_close: OnControlClose,
    /// [`OnControlClose::Drain`]: how long they may take.
    pub drain_timeout: Duration,
    /// Who follows live ones.
    pub tracking: Tracking,
    /// Whether the kernel is told to count what connections carry.
    pub accounting: Accounting,
    /// How those with servers are made.
    pub server_mode: ServerMode,
}

/// Bounds on what clients can use up. None is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in all.
    pub sessions: u32,
    /// Sessions of one client address.
    pub sessions_per_client: u32,
    /// Longest control line in bytes: 64 to 65536.
    pub line_length: u32,
    /// Commands that may wait for their replies: 1 to 1024.
    pub pipeline: u32,
}

/// Bounds on how long things take. None is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a load balancer's connection to the end of its PROXY header.
    pub proxy_header: Duration,
    /// Connecting to the server.
    pub connect: Duration,
    /// From the connection to a successful login.
    pub login: Duration,
    /// Silence on the control connection.
    pub idle: Duration,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The servers that may be reached; not empty. `None` in forward mode: all; in login mode there is a list.
    pub servers: Option<Servers>,
}

/// The Prometheus endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address that answers `/metrics`, `/healthz` and `/readyz`.
    pub listen: SocketAddr,
}

/// The program's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: Level,
    /// How.
    pub format: LogFormat,
    /// The transfer log, xferlog(5), if there is to be one.
    pub transfers: Option<PathBuf>,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its absolute path, if there is to be one.
    pub socket: Option<PathBuf>,
}

impl Config {
    /// The servers that a listener's sessions may lead to: its own list, or else that of all.
    pub fn servers_for<'a>(&'a self, listener: &'a Listener) -> Option<&'a Servers> {
        let policies = [&listener.policy, &self.policy];
        policies.into_iter().find_map(|policy| policy.servers.as_ref()).filter(|_| listener.mode != Mode::Reverse)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read, or what [`Config::parse`] finds.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::unreadable(path, &cause))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a configuration from its text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// The first fault, with its place in the text.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let raw = serde_yaml::from_str(text).map_err(|error| Error::from_yaml(name, text, &error))?;
        validate::config(raw).map_err(|(key, fault)| {
            let place = locate::locate(text, &key);
            let error = Error::new(name, key, fault);
            match place {
                Some((line, column)) => error.at(text, line, column),
                None => error,
            }
        })
    }

    /// The configuration of a gateway in front of servers, as `ftpgate run --listen … --server …` starts it: one listener that
    /// clients dial, and data connections relayed unless another backend is given. It needs no privilege, no firewall and no
    /// folder. Metrics are off unless an address is given, so that a second one can run beside it.
    ///
    /// # Errors
    /// The first fault; its key is the name of the argument.
    pub fn from_arguments(
        listen: &[String],
        servers: &[String],
        backend: Option<&str>,
        metrics: Option<&str>,
    ) -> Result<Self, Error> {
        validate::config(raw::Raw::from_arguments(listen, servers, backend, metrics)).map_err(|(key, fault)| {
            let plain = key.strip_prefix("listeners[0].").unwrap_or(&key);
            let argument = match plain.split('[').next().unwrap_or(plain) {
                "server" => "--server",
                "listen" => "--listen",
                "firewall.backend" => "--backend",
                "metrics.listen" => "--metrics",
                other => other,
            };
            Error::new("command line", argument.to_owned(), fault)
        })
    }

    /// The configuration as a file: every key, defaults filled in. [`Config::parse`] reads the same back.
    pub fn to_yaml(&self) -> String {
        // Strings, numbers and lists always have a YAML form.
        serde_yaml::to_string(&raw::Raw::from(self)).unwrap_or_default()
    }

    /// The same as [`Config::to_yaml`], as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(raw::Raw::from(self)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
