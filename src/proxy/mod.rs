//! Proxy: tokio at work between the sockets and the session.
//!
//! - `listener`: accepts, and turns away what is over a limit; never ends because of an accept error;
//! - `crew`: the threads that sessions run on;
//! - `limits`: who may still come in;
//! - `header`: who a load balancer's client is, by the PROXY header that comes first;
//! - `origin`: where a connection was going, and which server that means;
//! - `lobby`: clients that have yet to name a server (`mode: login`), and finding it for them;
//! - `upstream`: the connection to the server; `begin`: all of this in turn, until the session can begin;
//! - `drain`: data connections that may outlive their session for a while;
//! - `driver`: one task that owns one session and carries out its effects; `pipe`: one control connection with what is still
//!   to be sent on it; `busy`: what there is about data connections, while there is; `record`: what a session leaves in logs and
//!   metrics; `servers`: what sessions found out about servers; `herald`: tells sessions that the daemon is going down.
//!
//! Not here: what FTP lines mean (`session`), how a pinhole is made (`firewall`), reading the configuration (`config`).

pub mod begin;
mod busy;
pub mod crew;
pub mod drain;
pub mod driver;
pub mod header;
pub mod herald;
pub mod limits;
pub mod listener;
mod lobby;
pub mod origin;
pub mod pipe;
pub mod record;
pub mod servers;
pub mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::firewall::path::DataPath;
use crate::observe::metrics::Metrics;
use crate::observe::xferlog::Xferlog;
use crate::pinhole::SessionId;
use crate::policy::Servers;
use crate::protocol::nat64::Prefix;
use crate::session;
use crate::session::effect::Millis;

/// How connections reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// By netfilter's `redirect` or `dnat`, or pf's `rdr`: the packet filter knows the original destination.
    Redirect,
    /// By netfilter's `tproxy`: the local address is the original destination.
    Tproxy,
    /// By OpenBSD's `divert-to`: the local address is the original destination.
    Divert,
    /// The client dials the listener itself.
    Direct,
}

/// Which server a session goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Forward mode: to the original destination.
    Original,
    /// Reverse mode: to the first of these that is of the client's address family (or to the first, if data connections can
    /// lead from one address family to the other).
    Servers(Vec<SocketAddr>),
    /// Login mode: to the one that the client names.
    Login {
        /// Whether it may name it by name: not where the process cannot look names up.
        names: bool,
    },
}

/// What the server-side control connection is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The address that the route to the server suggests.
    Gateway,
    /// The client's own (transparent source); as `Gateway` where the server is of another address family.
    Client,
    /// The first of these that is of the server's address family; as `Gateway` if none is.
    Addresses(Vec<IpAddr>),
}

/// One listener's part of the configuration.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Its label in logs and metrics.
    pub name: String,
    /// How connections reach it.
    pub capture: Capture,
    /// Where they go.
    pub route: Route,
    /// Where they may go: nowhere else. `None` in forward mode: anywhere; in login mode: nowhere.
    pub allowed: Option<Servers>,
    /// What they come from.
    pub source: Source,
    /// The way of their data connections.
    pub path: DataPath,
    /// What clients are told instead of the address they dialled, by family.
    pub announced: Vec<IpAddr>,
    /// Headers that load balancers send, and that servers are sent.
    pub proxy_protocol: header::ProxyProtocol,
    /// Forward mode: an original destination below this prefix stands for an IPv4 server.
    pub nat64: Option<Prefix>,
    /// What is done about FTPS.
    pub security: session::Security,
}

/// What a reload may change; sessions take it as it is when they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Of every session whose data connections a packet filter carries.
    pub session: Arc<session::Settings>,
    /// Of every session whose data connections are relayed.
    pub relayed: Arc<session::Settings>,
    /// Until the server's side of the session is connected.
    pub connect_timeout: Duration,
    /// Until a load balancer's PROXY header is there.
    pub header_timeout: Duration,
    /// How long data connections may go on when their session has ended; `None` if nobody then looks after them.
    pub drain: Option<Duration>,
    /// Most sessions at a time.
    pub sessions: usize,
    /// Most sessions of one client address at a time.
    pub sessions_per_client: usize,
}

/// What all sessions share.
pub struct Shared {
    /// Counts.
    pub metrics: Metrics,
    /// The transfer log, if there is to be one.
    pub transfers: Option<Xferlog>,
    /// Who is in.
    pub limits: limits::Limits,
    /// Ports of all our listeners: a session to one of them on an address of ours would come back to us.
    pub listening: Vec<u16>,
    /// The addresses of this host when they were last looked at: at the start, at a reload, for a server that a client names.
    pub own_addresses: RwLock<Vec<IpAddr>>,
    /// What is known of servers.
    pub servers: servers::Servers,
    live: RwLock<Arc<Live>>,
    started: Instant,
    next_session: AtomicU64,
    /// Tells sessions how far the daemon is with stopping.
    pub herald: herald::Herald,
}

/// What [`Shared`] is made of.
pub struct Parts {
    /// Counts.
    pub metrics: Metrics,
    /// The transfer log, if there is to be one.
    pub transfers: Option<Xferlog>,
    /// What sessions go by until the first reload.
    pub live: Live,
    /// Ports of all listeners.
    pub listening: Vec<u16>,
}

/// How far the daemon is with stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoingDown {
    /// Not at all.
    #[default]
    No,
    /// Sessions end as soon as nothing is under way.
    Drain,
    /// Sessions end.
    Now,
}

impl Shared {
    /// Everything a session needs besides its own connection.
    pub fn new(parts: Parts) -> Self {
        let Parts { metrics, transfers, live, listening } = parts;
        Self {
            metrics,
            transfers,
            limits: limits::Limits::default(),
            listening,
            own_addresses: RwLock::new(crate::sys::own_addresses().unwrap_or_default()),
            servers: servers::Servers::default(),
            live: RwLock::new(Arc::new(live)),
            started: Instant::now(),
            next_session: AtomicU64::new(1),
            herald: herald::Herald::default(),
        }
    }

    /// What a new session goes by.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// New sessions go by this; running ones stay as they are.
    pub fn reload(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.look_at_own_addresses();
    }

    /// Looks again which addresses this host has.
    pub fn look_at_own_addresses(&self) {
        if let Ok(addresses) = crate::sys::own_addresses() {
            *self.own_addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
        }
    }

    /// Whether an address is this host's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own_addresses.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// Now, on the clock of the sessions.
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// That moment, on tokio's clock.
    fn instant(&self, at: Millis) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + Duration::from_millis(at.0))
    }

    fn session_id(&self) -> SessionId {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }
}
