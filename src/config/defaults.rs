//! Every default value of the configuration, with its reason.
//!
//! Lives here: constants. Not here: what a key means (`mod.rs`), how it is written (`raw.rs`). A test holds
//! `deploy/ftpgate.yaml` against these.

use std::time::Duration;

use super::values::PortRange;

/// Where `ftpgate` looks for its configuration when `-c` is not given.
pub const CONFIG_FILE: &str = "/etc/ftpgate/ftpgate.yaml";

/// The port of a server given without one (RFC 959 §3.2).
pub const SERVER_PORT: u16 = 21;

/// The nftables table; the program's own name, so that `nft list ruleset` tells whose it is.
pub const NFT_TABLE: &str = "ftpgate";

/// The conntrack mark: one high bit, because administrators count their own marks from the low end.
pub const MARK: u32 = 0x1000_0000;

/// The same bit: everything else in the mark stays the administrator's.
pub const MASK: u32 = 0x1000_0000;

/// The pf anchor; the program's own name.
pub const PF_ANCHOR: &str = "ftpgate";

/// pfctl(8), in the same place on FreeBSD and OpenBSD.
pub const PFCTL: &str = "/sbin/pfctl";

/// Ports of entrances: the dynamic range of RFC 6335 §6, where no service is registered. `net.ipv4.ip_local_port_range`
/// may overlap with it: a pinhole matches before a local socket is looked up.
pub const DATA_PORTS: PortRange = PortRange { low: 49152, high: 65535 };

/// How long a pinhole waits for its connection. Clients connect within a round trip; RFC 6384 §12 asks for no less than 30 s.
pub const PINHOLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a data connection may be silent; RFC 1123 §4.1.3.2 asks for no less than five minutes.
pub const DATA_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How long transfers may go on once their control connection is gone, with `on_control_close: drain`: as long as a control
/// connection may be silent at least.
pub const DATA_DRAIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Sessions in all: two descriptors each, so this fits the usual hard limit of 20,000 and more.
pub const SESSIONS: u32 = 10_000;

/// Sessions in all where an ordinary user starts a relay by arguments: six descriptors each with a transfer under way, and an
/// ordinary user may have fewer open than a service.
pub const RELAYED_SESSIONS: u32 = 1000;

/// Sessions of one client address: room for an office behind NAT, and one client cannot take them all.
pub const SESSIONS_PER_CLIENT: u32 = 100;

/// Longest control line in bytes: a path of PATH_MAX fits.
pub const LINE_LENGTH: u32 = 4096;

/// Commands that may wait for their replies: well beyond what clients that pipeline send.
pub const PIPELINE: u32 = 32;

/// How long a load balancer's PROXY header may take: it is sent with the first packet, and one that is lost is repeated after 1
/// and 3 s.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting to the server may take: a lost SYN is repeated after 1, 3, 7 and 15 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to log in: a person must be able to type a password.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// How long a session may be silent: what servers themselves commonly allow, above the five minutes of RFC 1123 §4.1.3.2.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Where metrics are served: this machine only, because they tell who uses the gateway and how much.
pub const METRICS_LISTEN: &str = "127.0.0.1:9821";

/// Where the control socket is to be.
pub const CONTROL_SOCKET: &str = "/run/ftpgate/control.sock";

/// The user to become after binding: by the custom of each system.
pub const USER: &str = if cfg!(target_os = "linux") { "ftpgate" } else { "_ftpgate" };
