//! Why a connection was turned away before it became a session.
//!
//! Lives here: the closed set of reasons and their words, for logs and metrics. Not here: who turns it away (`proxy`), why a session
//! ends (`session`).

/// The reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// `limits.sessions` is reached.
    Sessions,
    /// `limits.sessions_per_client` is reached.
    SessionsPerClient,
    /// The connection would have led back to the gateway itself.
    Loop,
    /// The original destination could not be learnt: no redirect rule.
    NoDestination,
    /// There is no server of the client's address family.
    NoServer,
    /// The server could not be reached.
    Connect,
    /// The server did not answer within `timeouts.connect`.
    ConnectTimeout,
    /// `policy.servers` does not allow the server.
    Policy,
    /// The name of the server could not be looked up.
    Resolve,
    /// No server was named within `timeouts.login`.
    LoginTimeout,
    /// Input that no FTP client sends, before a server was named.
    Hostile,
    /// The daemon is going down.
    Draining,
    /// A fault of the gateway's own, such as no descriptors left.
    Internal,
    /// A listener with `proxy_protocol.accept_from`, and an address that is not in it.
    ProxyUntrusted,
    /// A load balancer's own connection, such as a health check: `LOCAL`, `UNKNOWN`, itself as the client, or not one byte.
    ProxyLocal,
    /// No PROXY header, but something else.
    ProxyMissing,
    /// The PROXY header did not come within `timeouts.proxy_header`.
    ProxyTimeout,
    /// A PROXY header that breaks its format, or breaks off.
    ProxyMalformed,
    /// A PROXY header longer than is read.
    ProxyOversized,
    /// A PROXY header that is not about TCP over IPv4 or IPv6.
    ProxyFamily,
    /// A PROXY header with an address or a port that nobody has.
    ProxyAddress,
}

impl Rejection {
    /// All of them, for tables of metrics.
    pub const ALL: [Self; 21] = [
        Self::Sessions,
        Self::SessionsPerClient,
        Self::Loop,
        Self::NoDestination,
        Self::NoServer,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Policy,
        Self::Resolve,
        Self::LoginTimeout,
        Self::Hostile,
        Self::Draining,
        Self::Internal,
        Self::ProxyUntrusted,
        Self::ProxyLocal,
        Self::ProxyMissing,
        Self::ProxyTimeout,
        Self::ProxyMalformed,
        Self::ProxyOversized,
        Self::ProxyFamily,
        Self::ProxyAddress,
    ];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::SessionsPerClient => "sessions_per_client",
            Self::Loop => "loop",
            Self::NoDestination => "no_destination",
            Self::NoServer => "no_server",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Policy => "policy",
            Self::Resolve => "resolve",
            Self::LoginTimeout => "login_timeout",
            Self::Hostile => "hostile",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyLocal => "proxy_local",
            Self::ProxyMissing => "proxy_missing",
            Self::ProxyTimeout => "proxy_timeout",
            Self::ProxyMalformed => "proxy_malformed",
            Self::ProxyOversized => "proxy_oversized",
            Self::ProxyFamily => "proxy_family",
            Self::ProxyAddress => "proxy_address",
        }
    }
}
